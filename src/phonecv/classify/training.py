"""Training a classifier: its data, its network and its task."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from phonecv.classify.checks import loss_weights, read_splits
from phonecv.classify.config import ClassifyConfig
from phonecv.classify.distilling import FeatureObjective, FeatureTeacher, Projected, TaughtData, taught_views
from phonecv.classify.features import FeatureData, PictureData, Pictures, kept_views
from phonecv.classify.many_objective import ManyObjective
from phonecv.classify.objective import ClassifyObjective
from phonecv.classify.teacher import load_teacher
from phonecv.data.class_mapping import map_classes
from phonecv.data.folders.listing import Listing
from phonecv.data.folders.transforms import eval_transform, train_transform
from phonecv.data.loading.loader import Batch, ClassificationDataset
from phonecv.errors import UserError
from phonecv.models import VisionModel, build_model
from phonecv.preprocessing import Preprocessing
from phonecv.text import some_names
from phonecv.training.objective import Objective
from phonecv.training.optim import freeze
from phonecv.training.setup import ListedSetup, class_count, quick_findings, with_settings
from phonecv.training.start import starting_form
from phonecv.training.world import World
from phonecv.weights import load_public_or_file

_log = logging.getLogger("phonecv")


class ClassifySetup(ListedSetup):
    """Of pictures with a class each."""

    audited = "classify"
    config: ClassifyConfig

    def findings(self) -> list[str]:
        """What the quick audit finds, pictures having as many labels as the training reads."""
        return quick_findings(self.config, self.root, self.audited, labels=self.config.data.labels)

    @property
    def many(self) -> bool:
        """Whether pictures have several labels or none."""
        return self.train.sets is not None

    def network(self) -> VisionModel:
        """The network with its starting weights, class names and preprocessing; frozen parts marked."""
        wanted = self.config.model
        classes = class_count(self.config, len(self.train.classes))
        net = build_model(wanted.name, num_classes=classes, **wanted.arguments)
        if wanted.weights is not None:
            form = starting_form(wanted.weights)
            net = load_public_or_file(net, wanted.weights, form=form, ema=wanted.ema_weights)
            if classes:
                follow_classes(net, self.train)
        net.class_names = tuple(self.train.classes) if 0 < len(self.train.classes) == classes else None
        if self.many and net.class_names is None:
            raise UserError(
                f"model.num_classes={classes}, but the data has {len(self.train.classes)} labels; where pictures have"
                " several each output is one of them, so leave it out"
            )
        net.thresholds = (0.5,) * classes if self.many else None  # the first evaluation chooses them
        net.preprocessing = with_settings(
            net.preprocessing, self.config, "size", "crop", "interpolation", "mean", "std", "bits"
        )
        freeze(net, wanted.freeze, net.get_classifier())
        return net

    def data(self, net: VisionModel, world: World, workers: int) -> ClassifyData | FeatureData:
        """The loaders: of pictures, or of features that are computed once."""
        config, rates = self.config, self.rates
        data = ClassifyData(config, self.train, self.val, net.preprocessing, world, workers, rates)
        views, data.note = kept_views(config, len(self.train), net.num_features)
        if not views:
            return data
        plain = ClassificationDataset(self.train, data.val_set.transforms, config.run.seed)
        pictures = Pictures(plain, data.train_set, data.val_set)
        features = FeatureData(config, world, workers, pictures, net, width=net.num_features, views=views, rates=rates)
        features.note = data.note
        return features

    def trained(self, net: VisionModel) -> nn.Module:
        """The network, or its classifier where that takes kept features."""
        return net.get_classifier() if self._keeps(net) else net

    def _keeps(self, net: VisionModel) -> bool:
        return kept_views(self.config, len(self.train), net.num_features)[0] > 0

    def objective(self, net: VisionModel, world: World) -> Objective:
        """Cross entropy, of each label by itself where there are several, with a teacher where one is named."""
        config = self.config
        factors = loss_weights(config, self.train, net.num_classes)
        weights = None if factors is None else torch.tensor(factors, device=world.device)
        teacher = None
        if config.distill.teacher is not None:
            teacher = load_teacher(config.distill, net.preprocessing, many=self.many).to(world.device)
        kind = ManyObjective if self.many else ClassifyObjective
        objective = kind(net.num_classes, config.loss, weights, teacher, config.distill)
        objective.on_features = self._keeps(net)
        return objective


class UnlabelledSetup(ClassifySetup):
    """The same for pictures without labels, of which a teacher knows features."""

    teacher: FeatureTeacher

    def findings(self) -> list[str]:
        """What was left out of the folder."""
        return [f"{problem.severity}: {problem}" for problem in self.train.problems]

    def network(self) -> VisionModel:
        """The network, with a projection to the teacher's features in the place of the classifier."""
        net, wanted = super().network(), self.config.distill
        self.teacher = FeatureTeacher(load_teacher(wanted, net.preprocessing), maps=wanted.maps > 0)
        net.reset_classifier(self.teacher.outputs)
        return net

    def data(self, net: VisionModel, world: World, workers: int) -> TaughtData:
        """The loaders: of pictures, with features that are computed once."""
        config, plain = (
            self.config,
            ClassifyData(self.config, self.train, self.val, net.preprocessing, world, workers, None),
        )
        width = self.teacher.width(net.preprocessing.size)
        views, note = taught_views(config, len(self.train), len(self.val), width)
        pictures = Pictures(plain.train_set, plain.train_set, plain.val_set)
        data = TaughtData(
            config, world, workers, pictures, self.teacher.to(world.device), width=width, views=views, rates=None
        )
        data.note = note
        return data

    def trained(self, net: VisionModel) -> nn.Module:
        """The network, asked for what it makes of each place of its map."""
        return Projected(net)

    def objective(self, net: VisionModel, world: World) -> Objective:
        """The distance from the teacher's features."""
        return FeatureObjective(self.config.distill, self.teacher.to(world.device))


def open_setup(config: ClassifyConfig) -> ClassifySetup:
    """See `phonecv.training.setup.TrainingRoom`."""
    return (ClassifySetup if config.distill.kind != "features" else UnlabelledSetup)(config, read_splits(config))


class ClassifyData(PictureData):
    """The same of two listings, augmented by the stages of the curriculum."""

    def __init__(
        self,
        config: ClassifyConfig,
        train: Listing,
        val: Listing,
        preprocessing: Preprocessing,
        world: World,
        workers: int,
        rates: np.ndarray | None,
    ) -> None:
        files = [[sample.path for sample in listing.samples] for listing in (train, val)]
        super().__init__(config, world, workers, train=files[0], val=files[1], rates=rates)
        self.train, self.val = train, val
        size = preprocessing.size
        stages = [
            train_transform(
                replace(config.augment, magnitude_scale=config.augment.magnitude_scale * stage.magnitude),
                stage.size or size,
                preprocessing,
            )
            for stage in config.stages()
        ]
        self.train_set = ClassificationDataset(train, stages, config.run.seed, bits=preprocessing.bits)
        self.val_set = ClassificationDataset(val, eval_transform(preprocessing), substitute=False)

    def placed(self, batch: Batch) -> Batch:
        """The batch where the network is, in the layout it wants."""
        batch = batch.to(self.world.device)
        if self.channels_last:
            batch.images = batch.images.contiguous(memory_format=torch.channels_last)
        return batch


def follow_classes(net: VisionModel, data: Listing) -> None:
    """Give every class of the data the classifier's row that means it, where the starting weights name their classes.

    The same number of classes says nothing of their order. Where some of the names are others, all rows start fresh.
    """
    known, classes = net.class_names, data.classes
    if known is None or tuple(known) == tuple(classes):
        return
    try:
        outputs = map_classes(range(len(classes)), data.class_ids or classes, classes, known, net.num_classes)
    except UserError:
        net.reset_classifier(net.num_classes)
        theirs, ours = some_names(list(known), 3), some_names(list(classes), 3)
        _log.warning("the weights' classes (%s) are not the data's (%s): the classifier stays fresh", theirs, ours)
        return
    rows = list(outputs.values())
    if rows == sorted(rows):
        return
    rows += [row for row in range(net.num_classes) if row not in outputs.values()]
    for parameter in net.get_classifier().parameters():
        parameter.data = parameter.data[rows]
    _log.info("the classifier's rows follow the data's classes, which the weights have in another order")
