"""What a classifier learns from, and what can be wrong with its training, said before torch is loaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from phonecv.classify.config import ClassifyConfig
from phonecv.data.findings import Problem
from phonecv.data.folders.listing import PICTURES, Listing, SampleTable
from phonecv.data.folders.splits import find_split
from phonecv.data.pictures.opening import Passed, scan_images
from phonecv.errors import UserError
from phonecv.models.catalog import MODELS
from phonecv.text import counted, printable
from phonecv.training.balance import class_weights
from phonecv.training.checks import check_file, data_folder, read_listings
from phonecv.training.dividing import Divided, divide_listing

DATA = "a folder with train/ and val/, or with a folder of pictures for each class"

#: Share that is held out where none is set, and the most of it: these pictures tell how near the student comes.
HELD_OUT, MOST = 0.05, 2000

#: The listing made by `check_training`, for the training that follows it in this process.
_LISTED: list[tuple[ClassifyConfig, tuple[Listing, Listing | None]]] = []


def check_training(config: ClassifyConfig, *, keep: bool) -> None:
    """Check that the teacher is known or there, and that the data can be listed.

    With `keep` the next `read_splits` of the same configuration takes what was found.
    """
    teacher = config.distill.teacher
    if teacher is None and config.distill.kind == "features":
        raise UserError(
            "distill.kind=features needs a teacher; pass --teacher (distill.teacher): timm:NAME, a network's name or a"
            " checkpoint"
        )
    if teacher is not None and not teacher.startswith("timm:") and teacher not in MODELS:
        check_file(teacher, f"distill.teacher={teacher!r}", [f"timm:NAME, {len(MODELS)} of `phonecv models`"])
    listed = _list(config)
    loss_weights(config, listed[0], len(listed[0].classes))
    _LISTED[:] = [(config, listed)][: int(keep)]


def loss_weights(config: ClassifyConfig, train: Listing, outputs: int) -> list[float] | None:
    """Factors on the loss for each output of the network, or None; of several labels, of those that are there."""
    total = len(train) if train.sets is not None else None
    return class_weights(config.loss.class_weights, train.classes, train.counts.tolist(), outputs, total)


def read_splits(config: ClassifyConfig) -> Divided[Listing]:
    """Both splits of a classifier's data, with the same classes; without any where a teacher's features are learned."""
    listed = next((listed for known, listed in _LISTED if known is config), None)
    _LISTED.clear()
    return divide_listing(config, *(listed or _list(config)))


def _list(config: ClassifyConfig) -> tuple[Listing, Listing | None]:
    if config.distill.kind == "features":
        return read_pictures(config)
    return read_listings(config, data_folder(config, DATA), PICTURES, config.data.labels)


def read_pictures(config: ClassifyConfig) -> tuple[Listing, Listing]:
    """The pictures to learn from and those held out; what folders they lie in says nothing.

    A folder with train/ and val/ is taken by its splits. Else a share (`data.val`) is held out by names: the same
    pictures each time, and most of them the same when others are added.

    Raises:
        UserError: there is no such folder, or it does not hold two pictures.
    """
    root = data_folder(config, "a folder of pictures, in folders of any kind or none")
    passed = Passed()
    train, val = (find_split(root, split) for split in ("train", "val"))
    if train is not None and val is not None:
        names, held = ([f"{one.name}/{name}" for name in scan_images(one, passed)] for one in (train, val))
    else:
        every = list(scan_images(root, passed))
        share = HELD_OUT if config.data.val is None else config.data.val
        drawn = sorted(every, key=lambda name: hashlib.blake2b(os.fsencode(name), digest_size=8).digest())
        chosen = set(drawn[: min(MOST, max(1, round(share * len(every))))])
        names, held = [name for name in every if name not in chosen], sorted(chosen)
    if not names or not held:
        raise UserError(f"{printable(root)}: {counted(len(names) + len(held), 'pictures are')} too few to learn from")
    kinds = ", ".join(f"{count} x {suffix}" for suffix, count in passed.unread.most_common(6))
    text = f"pictures of a kind that is not read are left out: {kinds}; save them as JPEG or PNG"
    problems = (Problem(text, place=root),) if kinds else ()
    return _listing(root, "train", names, problems), _listing(root, "val", held)


def _listing(root: Path, split: str, names: list[str], problems: tuple[Problem, ...] = ()) -> Listing:
    return Listing(root, split, (), SampleTable(root, names, [0] * len(names)), problems)
