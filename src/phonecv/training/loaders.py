"""What the data of every task have in common: which samples make a step, and a tally of unreadable files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from phonecv.data.loading.loader import TrainBatches, eval_batches
from phonecv.errors import UserError
from phonecv.tables import write_csv
from phonecv.text import counted
from phonecv.training.batches import StreamBatches
from phonecv.training.checks import part_size
from phonecv.training.config import TrainConfig
from phonecv.training.interrupt import Interrupts
from phonecv.training.log import RunLog
from phonecv.training.state import Progress
from phonecv.training.world import World


class UnderWay(Protocol):
    """What the data's preparing needs of a run: `phonecv.training.engine.Run` without its data.

    Attributes:
        log: shows how far it is.
        interrupts: tells whether somebody wants the run to stop.
        at: progress; takes the unreadable files.
    """

    log: RunLog
    interrupts: Interrupts
    at: Progress


class TaskBatch(Protocol):
    """What the engine knows of a batch.

    Attributes:
        indices: places in the split.
        errors: one text for each picture, empty where all is well.
    """

    indices: Tensor
    errors: list[str]

    @property
    def images(self) -> Tensor | Sequence[Tensor]:
        """Stacked pictures, or pictures of different sizes."""

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Self:
        """The batch on another device."""


class SplitData:
    """Loaders for training and validation; a task adds the data sets and `loader`.

    Attributes:
        train_set: samples to train on, for `loader`.
        val_set: samples to evaluate on.
        files: of both splits, "train" and "val".
        steps_per_epoch: optimizer steps; an incomplete last one is left out.
        eval_steps: batches this process evaluates.
        channels_last: layout in which stacked pictures should come.
        batches: which samples this process takes in which step.
        val_batches: which ones it evaluates.
        noun: what the samples are called.
        note: what the person should know of how pictures reach the network, or empty.

    Args:
        train: files of the training split, in its order; it has to fill one batch.
        val: files of the validation split.
        kinds: per training sample a number; batches hold samples of one kind where they can.
        rates: how often each training sample comes in an epoch; None: once.
    """

    train_set: Any
    val_set: Any
    noun: str = "pictures"

    def __init__(
        self,
        config: TrainConfig,
        world: World,
        workers: int,
        *,
        train: Sequence[Path],
        val: Sequence[Path],
        kinds: np.ndarray | None = None,
        rates: np.ndarray | None = None,
    ) -> None:
        self.config, self.world, self.workers = config, world, workers
        self.files: Mapping[str, Sequence[Path]] = {"train": train, "val": val}
        self.train_size, self.val_size = len(train), len(val)
        self.channels_last, self.note = False, ""
        self.batches = make_batches(config, world, len(train), kinds, rates)
        self.steps_per_epoch = len(self.batches) // config.optimizer.accumulate
        if not self.steps_per_epoch:
            raise UserError(
                f"{counted(len(train), 'training pictures do')} not fill one batch of"
                f" data.batch_size={config.data.batch_size}; set"
                f" data.batch_size={max(1, 2 ** (len(train) // 4).bit_length() // 2)} or less"
            )
        self.val_batches = eval_batches(len(val), config.data.eval_batch_size, world.rank, world.size)
        self.eval_steps = len(self.val_batches)

    def prepare(self, run: UnderWay) -> None:
        """What has to be done once before the first step: nothing."""

    def loader(self, dataset: Any, batches: Any) -> Iterable[Any]:
        """A loader of these batches of one of the data sets."""
        raise NotImplementedError

    def train_loader(self, epoch: int, start: int) -> Iterable[Any]:
        """Batches of an epoch (from 0) for this process, from part number `start` on."""
        return self.loader(self.train_set, self.batches.epoch(epoch, start, self.config.stage(epoch)))

    def eval_loader(self) -> Iterable[Any]:
        """This process's share of the validation split."""
        return self.loader(self.val_set, self.val_batches)

    @property
    def pinned(self) -> bool:
        """Whether batches should come in pinned memory."""
        return self.world.device.type == "cuda"

    def placed(self, batch: Any) -> Any:
        """The batch where the network is, in the layout it wants."""
        return batch.to(self.world.device)

    def note_errors(self, batch: TaskBatch, bad: dict[str, str], split: str) -> None:
        """Remember the unreadable files of a batch in `bad` (path to reason); raise when they are too many."""
        if not any(batch.errors):
            return
        for index, error in zip(batch.indices.tolist(), batch.errors, strict=True):
            if error:
                bad[str(self.files[split][index])] = error
        images, folder = self.train_size + self.val_size, Path(self.config.run.out)
        if len(bad) > self.config.data.max_bad * images:
            write_bad_images(folder, bad)
            shown = "\n  ".join(list(bad.values())[:3])
            raise UserError(
                f"{len(bad)} of {images} pictures cannot be read so far, more than"
                f" data.max_bad={self.config.data.max_bad:g} allows; the first:\n  {shown}\n"
                f"all of them are in {folder / 'bad_images.csv'}; mend or remove them"
                " (`phonecv audit` finds more), or raise data.max_bad"
            )


def make_batches(
    config: TrainConfig,
    world: World,
    samples: int,
    kinds: np.ndarray | None = None,
    rates: np.ndarray | None = None,
) -> TrainBatches:
    """Which samples this process takes in which step."""
    data, steps = config.data, config.schedule.epoch_steps
    common: dict[str, Any] = {"seed": config.run.seed, "rank": world.rank, "world": world.size, "rates": rates}
    part = part_size(config, world.size)
    if steps is None and data.passes == 1 and kinds is None:
        return TrainBatches(samples, part, repeats=data.repeats, **common)
    parts = None if steps is None else steps * config.optimizer.accumulate
    return StreamBatches(samples, part, passes=data.passes, steps=parts, kinds=kinds, **common)


def write_bad_images(folder: Path, bad: dict[str, str]) -> None:
    """bad_images.csv: path and reason."""
    write_csv(folder / "bad_images.csv", ("path", "reason"), sorted(bad.items()))
