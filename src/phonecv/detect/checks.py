"""What a detector learns from, and what can be wrong with its training, said before torch is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phonecv.data.coco.paths import CocoPaths, has_split, undivided
from phonecv.data.coco.reader import CocoReading, CocoSplit, find_coco, read_coco
from phonecv.data.coco.sizes import SizeCheck
from phonecv.data.pictures.audit import sampled
from phonecv.dense.config import check_teacher
from phonecv.detect.config import DetectConfig
from phonecv.errors import UserError
from phonecv.files import relative_name
from phonecv.text import counted, printable
from phonecv.training.checks import data_folder
from phonecv.training.dividing import Divided, check_division, chosen_by_lists, divide, refuse_share

DATA = "a folder with COCO annotations and pictures"


def check_training(config: DetectConfig, *, keep: bool) -> None:
    """Check that annotations and pictures are there; nothing is kept."""
    check_teacher(config)
    root, wanted = data_folder(config, DATA), config.detect
    if wanted.val_annotations or wanted.val_images or has_split(root, "val"):
        refuse_share(config, f"{printable(root)}: val")
        find_coco(root, "val", annotations=wanted.val_annotations, images=wanted.val_images)
    elif not wanted.train_annotations and undivided(root) is not None:
        return
    find_coco(root, "train", annotations=wanted.train_annotations, images=wanted.train_images)


def read_splits(config: DetectConfig, root: Path, *, masks: bool) -> Divided[CocoSplit]:
    """Training and validation split, whole.

    Raises:
        UserError: they can't be read, teach nothing, or too many pictures are missing or of other sizes than told.
    """
    wanted = config.detect

    def read(
        split: str,
        annotations: str | None,
        images: str | None,
        classes: Sequence[str] | None,
        paths: CocoPaths | None = None,
    ) -> CocoSplit:
        paths = paths or find_coco(root, split, annotations=annotations, images=images)
        reading = CocoReading(wanted.boxes, wanted.sizes, wanted.stored)
        return read_coco(paths, masks=masks, classes=classes, reading=reading)

    given, val = bool(wanted.val_annotations or wanted.val_images), None
    if given or has_split(root, "val"):
        refuse_share(config, f"{printable(root)}: {'detect.val_*' if given else 'val'}")
        train = read("train", wanted.train_annotations, wanted.train_images, None)
        val = read("val", wanted.val_annotations, wanted.val_images, train.classes)
    else:
        whole = undivided(root) if wanted.train_annotations is None else None
        train = read("train", wanted.train_annotations, wanted.train_images, None, whole)
    check_learnable(train)
    check_missing(config, train, *([val] if val is not None else []))
    for split in (train, val):
        if split is not None:
            check_sizes(config, split)
    if val is not None:
        if config.data.train_list or config.data.val_list:
            raise UserError("data.train_list and data.val_list divide one set of pictures, but there is a split val")
        return Divided(train, val)
    check_division(config, train)
    paths = [train.path(place) for place in range(len(train))]
    names = [relative_name(path, root) for path in paths]
    parts = chosen_by_lists(config, train, names) or divide(config, train, paths, names)
    check_learnable(parts.train)
    return parts


def check_learnable(train: CocoSplit) -> None:
    """Refuse data that teach nothing."""
    if train.learnable:
        return
    why = f"none of its {counted(len(train), 'pictures')} has an object"
    if train.crowds:
        why = f"all of its {train.crowds} objects are crowds (iscrowd=1), which teach nothing; single objects have 0"
    raise UserError(f"{train.description}: nothing to learn: {why}")


def check_missing(config: DetectConfig, *splits: CocoSplit) -> None:
    """Refuse data with more missing pictures than may be unreadable."""
    missing = [problem for split in splits for problem in split.problems if problem.kind == "missing-file"]
    pictures = sum(map(len, splits))
    if len(missing) > config.data.max_bad * pictures:
        raise UserError(
            f"{len(missing)} of {pictures} pictures are not there, more than data.max_bad={config.data.max_bad:g}"
            f" allows; the first: {missing[0]}; add them, take them out of the annotations, or raise data.max_bad"
        )


def check_sizes(config: DetectConfig, split: CocoSplit) -> None:
    """Refuse data whose pictures have other sizes than the annotations say: nearly all would be left out."""
    check = SizeCheck.of(split, sampled(len(split)))
    wrong = sum(map(len, check.wrong.values()))
    if wrong > max(0.5, config.data.max_bad) * check.looked:
        index, message = check.messages()[0]
        raise UserError(f"{printable(split.path(index))}: {message}")
