"""What a task brings to a training; the rest of the package knows tasks by this alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from phonecv.models.headed import Network
from phonecv.training.config import TrainConfig
from phonecv.training.loaders import TaskData
from phonecv.training.task import Task
from phonecv.training.world import World


class Setup(Protocol):
    """The data of a training, read but not loaded, and what follows from it.

    Attributes:
        root: folder of the data.
    """

    root: Path

    @property
    def classes(self) -> Sequence[str]:
        """Names of the data's classes, in label order."""
        ...

    @property
    def pictures(self) -> Sequence[Path]:
        """Files of the training split."""
        ...

    def findings(self) -> list[str]:
        """What a quick look over the data finds."""
        ...

    def network(self) -> Network:
        """The network with its starting weights, class names and preprocessing; frozen parts marked."""
        ...

    def family(self) -> str:
        """Family of the network or backbone, as the catalog has it; empty for foreign ones."""
        ...

    def trained(self, net: Any) -> nn.Module:
        """What runs in training: the network, or a part of it that takes what the rest gave once."""
        ...

    def data(self, net: Any, world: World, workers: int) -> TaskData:
        """The loaders."""
        ...

    def task(self, net: Any, world: World) -> Task:
        """Losses and figures."""
        ...


def open_setup(config: TrainConfig) -> Setup:
    """The setup for what `config` trains; reads the data's listings.

    Raises:
        UserError: the data cannot be used.
    """
    # Imported late: a classifier needs neither the detectors nor COCO's tools.
    if config.task == "detect":
        from phonecv.detect.training import Detection

        return Detection(config)
    if config.task == "segment":
        from phonecv.segment.training import Segmentation

        return Segmentation(config)
    from phonecv.classify.training import Classification

    return Classification(config)
