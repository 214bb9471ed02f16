"""Data without a validation split: a share of it is held out, the same in every process and whenever a run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from PIL import Image

from phonecv.data.folders.list_file import read_list
from phonecv.data.folders.listing import Listing
from phonecv.data.split_names import SPLITS, WHOLE
from phonecv.data.splitting.alike import small_picture, together
from phonecv.data.splitting.lists import Division, list_of, read_division, write_division
from phonecv.data.splitting.stratified import SHARE, check_share, hold_out
from phonecv.errors import UserError
from phonecv.text import printable, some_names
from phonecv.training.config import TrainConfig
from phonecv.training.recipe import CONFIG


class Undivided(Protocol):
    """All samples of a data set, whatever they are.

    Attributes:
        class_sets: classes of each sample.
        classes: names of the classes.
        label_digest: another one for other labels.
    """

    @property
    def label_digest(self) -> str: ...  # noqa: D102
    @property
    def class_sets(self) -> Sequence[Collection[int]]: ...  # noqa: D102
    @property
    def classes(self) -> Sequence[str]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def select(self, indices: Any, /) -> Self: ...  # noqa: D102


W = TypeVar("W", bound=Undivided)


@dataclass(frozen=True)
class Divided(Generic[W]):
    """Both parts of what was undivided.

    Attributes:
        train: what is trained on.
        val: what is held out.
        division: both as lists; None where other lists said it.
        words: the class of each sample by its name, where the lists hold them.
    """

    train: W
    val: W
    division: Division | None = None
    words: dict[str, str] = field(default_factory=dict)

    def told(self, folder: Path) -> list[str]:
        """What was done and how to choose, for people."""
        if self.division is None:
            return []
        lists = list_of(folder, "val")
        if not self.division.note:
            return [f"held out for validation are those in {lists}, as this run began"]
        first, *others = self.division.note.splitlines()
        return [f"{first}. They are listed in {lists}; --val SHARE holds out another share, val/ your own", *others]

    def write(self, folder: Path) -> None:
        """Write the lists into the run folder, where they are not there already."""
        if self.division is not None and read_division(folder) is None:
            write_division(folder, self.division, self.words)


def share_of(config: TrainConfig) -> float:
    """What is held out of undivided data."""
    return config.data.val if config.data.val is not None else SHARE


def refuse_share(config: TrainConfig, there: str) -> None:
    """Refuse `data.val` where there is a validation split already: `there` says where."""
    if config.data.val is not None:
        raise UserError(
            f"data.val={config.data.val:g} holds a share of the training pictures out, but there is a validation split"
            f" already ({there}); leave data.val out to use that"
        )


def check_division(config: TrainConfig, whole: Undivided, noun: str = "pictures", *, decoded: bool = True) -> None:
    """Refuse what cannot be divided, before anything is looked at; without `decoded` by the number of samples alone."""
    if read_division(Path(config.run.out)) is None:
        classes = whole.class_sets if decoded else [()] * len(whole)
        check_share(classes, whole.classes, share_of(config), noun)


def divide(
    config: TrainConfig,
    whole: W,
    paths: Sequence[Path],
    names: Sequence[str],
    *,
    words: Callable[[], dict[str, str]] = dict,
    picture: Callable[[Path], Image.Image] | None = small_picture,
    noun: str = "pictures",
) -> Divided[W]:
    """Both parts of undivided data: as the lists of the run say, else anew.

    Args:
        config: the training.
        whole: all samples.
        paths: their files.
        names: of the samples, relative to the data folder; one that a list repeats is there several times.
        words: gives the class of each sample by its name, for the lists.
        picture: of a sample, to keep those together that look alike; None goes by their names.
        noun: what the samples are called.

    Raises:
        UserError: there is too little of something, or of the samples held out then none is left.
    """
    folder, share = Path(config.run.out), share_of(config)
    before = read_division(folder) if config.run.out else None
    if before is not None:
        held = np.isin(names, before.val) if before.val else np.zeros(len(names), dtype=bool)
        if not 0 < held.sum() < len(names):
            raise UserError(
                f"of the {len(before.val)} {noun} that {list_of(folder, 'val')} holds out {held.sum()} are in"
                f" {printable(config.data.path)}, which has {len(names)}; bring them back to go on with that run, or"
                " choose another --out (run.out)"
            )
        return Divided(*_parts(whole, held), before)
    if config.run.out and (folder / CONFIG).is_file():
        raise UserError(
            f"{folder} holds a run, but not the lists of what it trained on and held out ({list_of(folder, 'train')},"
            f" {list_of(folder, 'val').name}); divided anew, {noun} that it has learned would judge it. Bring the lists"
            " back to go on with that run, or choose another --out (run.out)"
        )
    classes = whole.class_sets
    check_share(classes, whole.classes, share, noun)
    unique = {name: place for place, name in reversed([*enumerate(names)])}
    first = sorted(unique.values())
    found = together(
        [paths[place] for place in first], [names[place] for place in first], picture=picture, progress=_shown
    )
    chosen = hold_out(
        [classes[one] for one in first], [names[one] for one in first], found.groups, share, config.run.seed
    )
    held_names = {names[place] for place, held in zip(first, chosen.tolist(), strict=True) if held}
    held = np.array([name in held_names for name in names], dtype=bool)
    if not 0 < held.sum() < len(names):
        raise UserError(
            f"data.val={share:g}: all {len(names)} {noun} are so much alike that none can be held out by itself; put"
            " some into val/ by hand"
        )
    note = _note(config, whole, classes, held, found.notes, noun)
    lists = [tuple(names[place] for place in np.flatnonzero(part)) for part in (~held, held)]
    return Divided(*_parts(whole, held), Division(*lists, note=note), words())


def divide_listing(
    config: TrainConfig,
    train: Listing,
    val: Listing | None,
    *,
    picture: Callable[[Path], Image.Image] | None = small_picture,
    noun: str = "pictures",
) -> Divided[Listing]:
    """Both parts of what `phonecv.training.checks.read_listings` gave."""
    if val is not None:
        return Divided(train, val)
    paths = [sample.path for sample in train.samples]
    return divide(config, train, paths, train.names, words=lambda: train.words, picture=picture, noun=noun)


def chosen_by_lists(config: TrainConfig, whole: W, names: Sequence[str]) -> Divided[W] | None:
    """Both parts as `data.train_list` and `data.val_list` name them, for data whose lists hold names alone.

    Without a list of its own a part takes what the other one leaves; None where neither is set.
    """
    wanted = (config.data.train_list, config.data.val_list)
    if not any(wanted):
        return None
    listed = [None if file is None else listed_rows(names, file, Path(config.data.path)) for file in wanted]
    train, val = (np.zeros(len(whole), dtype=bool) for _ in SPLITS)
    for part, rows in zip((train, val), listed, strict=True):
        part[rows if rows is not None else []] = True
    train, val = (train if listed[0] is not None else ~val), (val if listed[1] is not None else ~train)
    if (both := train & val).any():
        some = some_names([names[place] for place in np.flatnonzero(both)])
        raise UserError(f"data.train_list and data.val_list share {both.sum()} pictures: {some}")
    return Divided(whole.select(np.flatnonzero(train)), whole.select(np.flatnonzero(val)))


def listed_rows(names: Sequence[str], file: Path | str, root: Path) -> np.ndarray:
    """Places of the samples that a list names, in the order of `names`.

    Raises:
        UserError: a line that can't be used, or a sample that is not among them.
    """
    path = next((one for one in (root / file, Path(file)) if one.is_file()), None)
    if path is None:
        raise UserError(f"{printable(file)}: no such list file, neither below {printable(root)} nor here")
    entries = read_list(path, root, WHOLE)
    if entries.errors:
        raise entries.refusal()
    wanted = set(entries.paths)
    if strange := sorted(wanted - set(names)):
        raise UserError(f"{printable(path)}: {len(strange)} files have no annotations: {some_names(strange)}")
    return np.array([place for place, name in enumerate(names) if name in wanted], dtype=np.int64)


def _parts(whole: W, held: np.ndarray) -> tuple[W, W]:
    return whole.select(np.flatnonzero(~held)), whole.select(np.flatnonzero(held))


def _note(
    config: TrainConfig,
    whole: Undivided,
    classes: Sequence[Collection[int]],
    held: np.ndarray,
    notes: Sequence[str],
    noun: str,
) -> str:
    """How the samples were divided, for people and for the head of the lists."""
    lines = [
        f"held out for validation are {held.sum():,} of {len(held):,} {noun} of {printable(config.data.path)}, of every"
        f" class its share, look-alikes on one side (data.val={share_of(config):g} run.seed={config.run.seed})"
    ]
    there = [set().union(*(classes[place] for place in np.flatnonzero(part))) for part in (held, ~held)]
    for lacking, what in ((there[1] - there[0], "held out"), (there[0] - there[1], "trained on")):
        if lacking:
            some = some_names([whole.classes[label] for label in sorted(lacking)])
            lines.append(f"of {len(lacking)} classes nothing could be {what}, there is too little that differs: {some}")
    return "\n".join([*lines, *notes])


def _shown(done: int, count: int) -> None:
    """One line that counts, on a terminal, for large data sets."""
    if count >= 1000 and sys.stderr.isatty() and (done % 100 == 0 or done == count):
        print(f"\rlooking for look-alikes: {done:,} of {count:,}", end="\n" if done == count else "", file=sys.stderr)
