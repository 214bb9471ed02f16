"""What a detector learns from: both splits, refused where nothing could come of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phonecv.data.coco.paths import CocoPaths, undivided
from phonecv.data.coco.reader import CocoReading, CocoSplit, find_coco, read_coco
from phonecv.data.coco.sizes import SizeCheck
from phonecv.data.pictures.audit import sampled
from phonecv.detect.config import DetectConfig
from phonecv.errors import UserError
from phonecv.text import printable


def read_splits(config: DetectConfig, root: Path, *, masks: bool) -> tuple[CocoSplit, CocoSplit]:
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

    if wanted.hold_out:
        if wanted.val_annotations or wanted.val_images:
            raise UserError("detect.hold_out takes validation pictures from the training split; leave out detect.val_*")
        whole = undivided(root) if wanted.train_annotations is None else None
        every = read("train", wanted.train_annotations, wanted.train_images, None, whole)
        held = held_out([every.images.name(index) for index in range(len(every))], wanted.hold_out)
        train, val = (every.select(np.flatnonzero(part)) for part in (~held, held))
    else:
        train = read("train", wanted.train_annotations, wanted.train_images, None)
        val = read("val", wanted.val_annotations, wanted.val_images, train.classes)
    check_learnable(train)
    check_missing(config, train, val)
    for split in (train, val):
        check_sizes(config, split)
    return train, val


def held_out(names: Sequence[str], share: float) -> np.ndarray:
    """Which of the pictures are held out: N bool. A picture's name decides, so that they stay when others come."""
    digests = [hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest() for name in names]
    held = np.array([int.from_bytes(digest, "big") < share * 2**64 for digest in digests], dtype=bool)
    if not 0 < held.sum() < len(names):
        raise UserError(
            f"detect.hold_out={share:g} of {len(names)} pictures leaves nothing to train on or to judge by;"
            " choose another share"
        )
    return held


def check_learnable(train: CocoSplit) -> None:
    """Refuse data that teach nothing."""
    if train.learnable:
        return
    why = f"none of its {len(train)} pictures has an object"
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
