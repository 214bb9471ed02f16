"""Training a classifier of clips: its data, its network, and cross entropy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from phonecv.data.clips.transforms import EvalClips, TrainClips
from phonecv.data.folders.listing import Listing
from phonecv.data.loading.loader import ClassificationDataset, make_loader
from phonecv.training.loaders import SplitData
from phonecv.training.objective import Objective
from phonecv.training.optim import freeze
from phonecv.training.setup import ListedSetup, class_count, with_settings
from phonecv.training.start import starting_file
from phonecv.training.world import World
from phonecv.video.checks import read_splits
from phonecv.video.config import VideoConfig
from phonecv.video.create import create_video_classifier
from phonecv.video.network import VideoClassifier
from phonecv.whole.objective import WholeObjective


class VideoSetup(ListedSetup):
    """Of clips with a class each."""

    audited = "video"
    config: VideoConfig

    def network(self) -> VideoClassifier:
        """The network with its starting weights, class names and preprocessing; frozen parts marked."""
        wanted, own = self.config.model, self.config.video
        classes = class_count(self.config, len(self.train.classes))
        net = create_video_classifier(
            f"v_{wanted.name}",
            num_classes=classes,
            weights=starting_file(self.config) or wanted.weights,
            frames=own.frames,
            dropout=own.dropout,
            **wanted.arguments,
        )
        net.class_names = tuple(self.train.classes) if len(self.train.classes) == classes else None
        net.preprocessing = with_settings(net.preprocessing, self.config, "size", "crop", "mean", "std")
        freeze(net, wanted.freeze, net.head)
        return net

    def data(self, net: VideoClassifier, world: World, workers: int) -> VideoData:
        """The loaders."""
        return VideoData(self.config, self.train, self.val, net, world, workers, self.rates)

    def objective(self, net: VideoClassifier, world: World) -> Objective:
        """Cross entropy; top-1 of the middle crop."""
        return WholeObjective(net.num_classes, self.config.video.smoothing)


def open_setup(config: VideoConfig) -> VideoSetup:
    """See `phonecv.training.setup.TrainingRoom`."""
    return VideoSetup(config, read_splits(config))


class VideoData(SplitData):
    """Loaders of clips."""

    noun = "clips"

    def __init__(
        self,
        config: VideoConfig,
        train: Listing,
        val: Listing,
        net: VideoClassifier,
        world: World,
        workers: int,
        rates: np.ndarray | None,
    ) -> None:
        files = [[sample.path for sample in listing.samples] for listing in (train, val)]
        super().__init__(config, world, workers, train=files[0], val=files[1], rates=rates)
        reader = TrainClips(config.clips, net.preprocessing, net.frames)
        self.train_set = ClassificationDataset(train, reader, config.run.seed)
        self.val_set = ClassificationDataset(val, EvalClips(net.preprocessing, net.frames), substitute=False)

    def loader(self, dataset: ClassificationDataset, batches: Any) -> Iterable[Any]:
        """A loader of clips with a class each."""
        return make_loader(dataset, batches, self.workers, pin_memory=self.pinned)
