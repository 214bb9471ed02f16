"""What a task brings to a training; the rest of the package knows tasks by this alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast

import numpy as np
from torch import nn

from phonecv.data.findings import SEVERITIES, Finding, group_findings
from phonecv.data.folders.listing import Listing
from phonecv.errors import UserError
from phonecv.models.headed import Network
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.task import TASKS
from phonecv.text import counted
from phonecv.training.balance import pick_rates
from phonecv.training.config import TrainConfig
from phonecv.training.dividing import Divided
from phonecv.training.loaders import SplitData
from phonecv.training.objective import Objective
from phonecv.training.world import World

P = TypeVar("P", bound=Preprocessing | DensePreprocessing)

#: Kinds of notes of the audit that a training shows.
TOLD = ("spelling", "helper", "reading", "turned", "labels")


class Setup(ABC):
    """The data of a training, read but not loaded, and what follows from it; two splits with the same classes.

    Attributes:
        config: of the class that room "config" of the task has.
        root: folder of the data.
        train: the training split.
        val: the validation split.
        divided: both; how undivided data was divided is written into the run folder.
    """

    config: Any
    root: Path
    train: Any
    val: Any
    divided: Divided[Any]

    @property
    def classes(self) -> Sequence[str]:
        """Names of the data's classes, in label order."""
        return self.train.classes

    @property
    @abstractmethod
    def pictures(self) -> Sequence[Path]:
        """Files of the training split."""

    @abstractmethod
    def findings(self) -> list[str]:
        """What a quick look over the data finds."""

    @abstractmethod
    def network(self) -> Network:
        """The network with its starting weights, class names and preprocessing; frozen parts marked."""

    def trained(self, net: Any) -> nn.Module:
        """What runs in training: the network, or a part of it that takes what the rest gave once."""
        return net

    @abstractmethod
    def data(self, net: Any, world: World, workers: int) -> SplitData:
        """The loaders."""

    @abstractmethod
    def objective(self, net: Any, world: World) -> Objective:
        """Losses and figures."""


class TrainingRoom(Protocol):
    """Room "training" of a task."""

    def open_setup(self, config: Any) -> Setup:
        """The setup for a configuration of the class that room "config" has; reads the data's listings.

        Raises:
            UserError: the data cannot be used.
        """


class ListedSetup(Setup):
    """Of splits that are listings, a class for each file; `audited` is the task whose audit looks at their folder."""

    audited: ClassVar[str]
    train: Listing
    val: Listing

    def __init__(self, config: TrainConfig, divided: Divided[Listing]) -> None:
        self.config, self.divided = config, divided
        self.train, self.val = divided.train, divided.val
        self.root = Path(self.train.root)

    @property
    def pictures(self) -> Sequence[Path]:
        """Files of the training split."""
        return [sample.path for sample in self.train.samples]

    @property
    def rates(self) -> np.ndarray | None:
        """How often each training sample comes in an epoch."""
        train = self.train
        pictures, labels = (np.arange(len(train)), train.labels) if train.sets is None else np.nonzero(train.sets)
        return pick_rates(pictures, labels, len(train), self.config.data.balance)

    def findings(self) -> list[str]:
        """What the quick audit finds, notes left out."""
        return quick_findings(self.config, self.root, self.audited)


def open_setup(config: TrainConfig) -> Setup:
    """The setup for what `config` trains; reads the data's listings."""
    return cast(TrainingRoom, TASKS[config.task].room("training")).open_setup(config)


def quick_findings(config: TrainConfig, root: Path, task: str, **how: Any) -> list[str]:
    """What the quick audit of the data of a task finds, equal findings in one line.

    Of its notes those that say what was read otherwise, or not; they come last. `how` goes to the audit.
    """
    from phonecv.data.audit import audit

    found = audit(root, task=cast(Any, task), quick=True, **how).findings
    return finding_lines([one for one in found if one.kind != "test-for-val" or config.data.val is None])


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """The findings that a training says, worst first and equal ones in one line."""
    told = [one for one in findings if one.severity != "note" or one.kind in TOLD]
    told.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return [f"{group.first.severity}: {group}" for group in group_findings(told)]


def with_settings(own: P, config: TrainConfig, *names: str) -> P:
    """A network's preprocessing with what is set of these fields of ``data``.

    Raises:
        UserError: a value out of range, or one number for a network of three colours.
    """
    changes: Any = {name: value for name in names if (value := getattr(config.data, name)) is not None}
    changed = replace(own, **changes).of_channels(own.channels)
    if changed.channels != own.channels:
        raise UserError(
            f"data.mean={list(changed.mean)} is of gray pictures, and the network takes RGB; give three numbers, or set"
            " model.in_chans=1"
        )
    return changed


def class_count(config: TrainConfig, there: int) -> int:
    """Classes of the network: as set, else as many as the data has."""
    wanted = config.model.num_classes
    if wanted is not None and wanted < there:
        raise UserError(
            f"model.num_classes={wanted}, but the data has {counted(there, 'classes')}; leave it out to follow the data"
        )
    return wanted or there
