"""The two splits of a training: listings, transforms, loaders, and a tally of unreadable files."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from phonecv.data.folder import Listing, read_split
from phonecv.data.loader import Batch, ClassificationDataset, TrainBatches, eval_batches, make_loader
from phonecv.data.transforms import eval_transform, train_transform
from phonecv.errors import UserError
from phonecv.files import atomic_path
from phonecv.preprocessing import Preprocessing
from phonecv.train.config import TrainConfig
from phonecv.train.world import World


class Data:
    """Loaders for training and validation.

    Attributes:
        train: listing of the training split.
        val: listing of the validation split.
        steps_per_epoch: optimizer steps; an incomplete last one is left out.
        eval_steps: batches this process evaluates.
        channels_last: layout in which the pictures come.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: Listing,
        val: Listing,
        preprocessing: Preprocessing,
        world: World,
        workers: int,
    ) -> None:
        self.config, self.train, self.val, self.world, self.workers = config, train, val, world, workers
        self.channels_last = False
        accumulate = config.optimizer.accumulate
        self.batches = TrainBatches(
            len(train),
            part_size(config, world.size),
            seed=config.run.seed,
            rank=world.rank,
            world=world.size,
            repeats=config.data.repeats,
        )
        self.steps_per_epoch = len(self.batches) // accumulate
        if not self.steps_per_epoch:
            raise UserError(
                f"{len(train)} training pictures do not fill one batch of data.batch_size={config.data.batch_size};"
                f" set data.batch_size={max(1, 2 ** (len(train) // 4).bit_length() // 2)} or less"
            )
        size = preprocessing.size
        stages = [
            train_transform(
                replace(config.augment, magnitude_scale=config.augment.magnitude_scale * stage.magnitude),
                stage.size or size,
                preprocessing,
            )
            for stage in config.stages()
        ]
        self.train_set = ClassificationDataset(train, stages, config.run.seed)
        self.val_set = ClassificationDataset(val, eval_transform(preprocessing), substitute=False)
        self.val_batches = eval_batches(len(val), config.data.eval_batch_size, world.rank, world.size)
        self.eval_steps = len(self.val_batches)

    def train_loader(self, epoch: int, start: int) -> Iterable[Batch]:
        """Batches of an epoch (from 0) for this process, from part number `start` on."""
        batches = self.batches.epoch(epoch, start, self.config.stage(epoch))
        return self._loader(self.train_set, batches)

    def eval_loader(self) -> Iterable[Batch]:
        """This process's share of the validation split."""
        return self._loader(self.val_set, self.val_batches)

    def _loader(self, dataset: ClassificationDataset, batches: Any) -> Iterable[Batch]:
        pinned = self.world.device.type == "cuda"
        return make_loader(  # type: ignore[return-value]
            dataset, batches, self.workers, pin_memory=pinned, channels_last=self.channels_last
        )

    def note_errors(self, batch: Batch, bad: dict[str, str], split: str) -> None:
        """Remember the unreadable files of a batch in `bad` (relative path to reason).

        Raises:
            UserError: they are more than data.max_bad of the split.
        """
        if not any(batch.errors):
            return
        listing = self.train if split == "train" else self.val
        for index, error in zip(batch.indices.tolist(), batch.errors, strict=True):
            if error:
                bad[str(listing.samples[index].path)] = error
        images, folder = len(self.train) + len(self.val), Path(self.config.run.out)
        if len(bad) > self.config.data.max_bad * images:
            write_bad_images(folder, bad)
            shown = "\n  ".join(list(bad.values())[:3])
            raise UserError(
                f"{len(bad)} of {images} pictures cannot be read so far, more than"
                f" data.max_bad={self.config.data.max_bad:g} allows; the first:\n  {shown}\n"
                f"all of them are in {folder / 'bad_images.csv'}; mend or remove them"
                " (`phonecv audit` finds more), or raise data.max_bad"
            )


def part_size(config: TrainConfig, processes: int) -> int:
    """Images that one process takes at once: the batch divided by processes and accumulated parts.

    Raises:
        UserError: it does not divide.
    """
    batch, parts = config.data.batch_size, processes * config.optimizer.accumulate
    if batch % parts:
        raise UserError(
            f"data.batch_size={batch} does not divide by {processes} processes x"
            f" optimizer.accumulate={config.optimizer.accumulate}; set data.batch_size={max(1, batch // parts) * parts}"
        )
    size = batch // parts
    if size % 2 and (config.loss.mixup or config.loss.cutmix):
        raise UserError(f"mixup and cutmix pair images, so each part needs an even number of them, not {size}")
    return size


def read_data(config: TrainConfig) -> tuple[Listing, Listing]:
    """Both splits, with the same classes.

    Raises:
        UserError: no data folder was given, or it cannot be used.
    """
    if not config.data.path:
        raise UserError("no data set was given; pass --data DIR (data.path), a folder with train/ and val/")
    train = read_split(config.data.path, "train", list_file=config.data.train_list)
    val = read_split(config.data.path, "val", list_file=config.data.val_list, classes=train.classes)
    return train, val


def class_count(config: TrainConfig, train: Listing) -> int:
    """Classes of the network: as set, else as many as the data has.

    Raises:
        UserError: fewer are set than the data has.
    """
    wanted, there = config.model.num_classes, len(train.classes)
    if wanted is not None and wanted < there:
        raise UserError(
            f"model.num_classes={wanted}, but the data has {there} classes; leave it out to follow the data"
        )
    return wanted or there


def preprocessing_for(config: TrainConfig, own: Preprocessing) -> Preprocessing:
    """The network's preprocessing with what the configuration sets."""
    names = ("size", "crop", "interpolation", "mean", "std")
    chosen = {name: value for name in names if (value := getattr(config.data, name)) is not None}
    return replace(own, **chosen)


def write_bad_images(folder: Path, bad: dict[str, str]) -> None:
    """bad_images.csv: path and reason."""
    with atomic_path(folder / "bad_images.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "reason"))
        writer.writerows(sorted(bad.items()))
