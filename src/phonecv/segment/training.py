"""Training a segmenter: label maps, the segmenter, its losses, and mIoU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.data.labelmaps.listing import LabelSplit
from phonecv.data.labelmaps.loading import SegmentationBatch, SegmentationDataset, make_segmentation_loader
from phonecv.data.labelmaps.suspicions import EFFECTS, check_content
from phonecv.data.labelmaps.transforms import light_transform, train_transform
from phonecv.data.pictures.opening import ImageError
from phonecv.dense.distilling import Taught, make_taught
from phonecv.dense.training import frozen_note, make_dense
from phonecv.preprocessing import COARSEST_STRIDE
from phonecv.segment.base import Segmenter
from phonecv.segment.checks import DATA, read_splits
from phonecv.segment.config import SegmentConfig
from phonecv.segment.create import create_segmenter
from phonecv.segment.layers import PixelClassifier
from phonecv.segment.losses import balanced_weights
from phonecv.segment.metrics import SegmentMeter
from phonecv.training.balance import class_weights
from phonecv.training.checks import data_folder
from phonecv.training.loaders import SplitData
from phonecv.training.objective import Objective
from phonecv.training.setup import Setup, quick_findings
from phonecv.training.world import World

#: Label maps that are counted for `segment.balance`.
COUNTED = 500


class SegmentSetup(Setup):
    """Of pictures with a label map each."""

    config: SegmentConfig

    def __init__(self, config: SegmentConfig) -> None:
        self.config, wanted = config, config.segment
        self.architecture = str(wanted.architecture)
        self.root = data_folder(config, DATA)
        self.divided = read_splits(config)
        self.train, self.val = self.divided.train, self.divided.val
        self.notes = [note for split in (self.train, self.val) if (note := check_content(split))]

    @property
    def pictures(self) -> Sequence[Path]:
        """Files of the training split."""
        return self.train.images

    def findings(self) -> list[str]:
        """What the quick audit finds; in folders named by the person, what has no partner; splits of one class."""
        wanted = self.config.segment
        notes = [f"warning: {note}" for note in self.notes]
        if wanted.train_images or wanted.train_labels or wanted.val_images or wanted.val_labels:
            problems = [problem for split in (self.train, self.val) for problem in split.problems]
            return notes + [f"note: {problem}" for problem in dict.fromkeys(problems)]
        return notes + [
            line for line in quick_findings(self.config, self.root, "segment") if EFFECTS[False] not in line
        ]

    def network(self) -> Segmenter:
        """The segmenter with its starting weights, class names and preprocessing; frozen parts marked."""
        wanted = self.config.segment
        net = make_dense(self.config, create_segmenter, self.architecture, wanted.options, self.train.classes)
        multiple = wanted.multiple or (1 if wanted.transform == "published" else COARSEST_STRIDE)
        net.preprocessing = replace(net.preprocessing, multiple=multiple)
        if wanted.class_weights:
            factors = class_weights(wanted.class_weights, self.train.classes, (), net.num_classes)
            net.class_factors = torch.tensor(factors)
        if wanted.balance:
            pixels = count_pixels(self.train, net.num_classes)
            net.class_weights = balanced_weights(pixels, wanted.balance)
            shares = torch.tensor(pixels, dtype=torch.float32) / max(1, sum(pixels))
            for module in net.modules():
                if isinstance(module, PixelClassifier):
                    module.expect(shares)
        return net

    def data(self, net: Segmenter, world: World, workers: int) -> SegmentData:
        """The loaders."""
        return SegmentData(self.config, self.train, self.val, net, world, workers)

    def objective(self, net: Segmenter, world: World) -> SegmentObjective:
        """Pixel cross entropy, perhaps a teacher's loss, and mIoU."""
        taught = make_taught(self.config.distill, net, world, same_heads=False)
        return SegmentObjective(net.num_classes, auxiliary=net.aux_head is not None, taught=taught)


#: See `phonecv.training.setup.TrainingRoom`.
open_setup = SegmentSetup


def count_pixels(split: LabelSplit, num_classes: int) -> list[int]:
    """Pixels of each class in up to `COUNTED` label maps, evenly picked; what cannot be read is told in training."""
    counts = np.zeros(num_classes, np.int64)
    for index in range(0, len(split), max(1, len(split) // COUNTED)):
        try:
            labels = split.read_label(index)
        except ImageError:
            continue
        counts += np.bincount(labels[labels < num_classes].ravel(), minlength=num_classes)[:num_classes]
    return counts.tolist()


class SegmentData(SplitData):
    """Loaders of pictures with label maps."""

    def __init__(
        self, config: SegmentConfig, train: LabelSplit, val: LabelSplit, net: Segmenter, world: World, workers: int
    ) -> None:
        super().__init__(config, world, workers, train=train.images, val=val.images)
        self.note = frozen_note(config)
        wanted = config.segment
        crop = wanted.crop or net.preprocessing.size
        if wanted.transform == "published":
            transform = train_transform(crop, net.preprocessing, ratio=wanted.ratio, hflip=wanted.hflip)
        else:
            transform = light_transform(
                crop,
                net.preprocessing,
                ratio=wanted.ratio,
                hflip=wanted.hflip,
                aspect=wanted.aspect,
                rotate=wanted.rotate,
                shear=wanted.shear,
                elastic=wanted.elastic,
                color=wanted.color,
            )
        bits = net.preprocessing.bits
        self.train_set = SegmentationDataset(train, transform, config.run.seed, substitute=True, bits=bits)
        self.val_set = SegmentationDataset(val, None, substitute=False, bits=bits)

    def loader(self, dataset: SegmentationDataset, batches: Any) -> Iterable[Any]:
        """A loader of pictures with their label maps."""
        return make_segmentation_loader(dataset, batches, self.workers, pin_memory=self.pinned)


class SegmentObjective(Objective):
    """The segmenter's losses; mean intersection over union on the validation split."""

    score = "miou"
    figures: tuple[str, ...] = ("miou", "aacc", "macc")

    def __init__(self, num_classes: int, *, auxiliary: bool, taught: Taught | None = None) -> None:
        self.num_classes, self.taught = num_classes, taught
        names = ("ce", "aux") if auxiliary else ("ce",)
        self.loss_names: tuple[str, ...] = (*names, "kd") if taught else names

    def losses(self, model: nn.Module, batch: SegmentationBatch) -> dict[str, Tensor]:
        """{"ce": ..., "aux": ..., "kd": ...}, weights included."""
        return model(batch.images, batch.labels, self.taught and self.taught.losses)

    def predict(self, net: nn.Module, batch: SegmentationBatch) -> Tensor | list[Tensor]:
        """Logits at the label maps' sizes."""
        return net(batch.images)

    def meter(self, device: torch.device) -> SegmentMeter:
        """Counts pixels."""
        return SegmentMeter(self.num_classes, device)
