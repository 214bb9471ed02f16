"""What a task brings to a training; the rest of the package knows tasks by this alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from phonecv.train.config import TrainConfig
from phonecv.train.loaders import TaskData
from phonecv.train.task import Network, Task
from phonecv.train.world import World


class Setup(Protocol):
    """The data of a training, read but not loaded, and what follows from it.

    Attributes:
        root: folder of the data.
    """

    root: Path

    def findings(self) -> list[str]:
        """What a quick look over the data finds."""
        ...

    def network(self) -> Network:
        """The network with its starting weights, class names and preprocessing; frozen parts marked."""
        ...

    def family(self) -> str:
        """Family of the network or backbone, as the catalog has it; empty for foreign ones."""
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
        from phonecv.train.detect import Detection

        return Detection(config)
    if config.task == "segment":
        from phonecv.train.segment import Segmentation

        return Segmentation(config)
    from phonecv.train.classify import Classification

    return Classification(config)
