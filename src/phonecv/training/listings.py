"""The data of a training as far as they are listed, without torch: checked before it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phonecv.data.folders.listing import Listing, read_split
from phonecv.errors import UserError
from phonecv.training.config import TrainConfig

if TYPE_CHECKING:
    from phonecv.data.labelmaps.listing import LabelSplit
    from phonecv.data.labelmaps.reading import MapReading

#: The listing made by `check_data`, for the training that follows it in this process.
_LISTED: list[tuple[TrainConfig, tuple[Listing, Listing]]] = []


def check_data(config: TrainConfig, *, keep: bool) -> None:
    """Check that the data are there.

    Args:
        config: the training.
        keep: whether the training follows in this process, so that what was listed need not be listed again.

    Raises:
        UserError: they are not, or cannot be used.
    """
    if config.task == "classify":
        _LISTED[:] = [(config, read_data(config))][: int(keep)]
        return
    kind = "COCO annotations and pictures" if config.task == "detect" else "pictures and label maps"
    if not config.data.path:
        raise UserError(f"no data set was given; pass --data DIR (data.path), a folder with {kind}")
    root = Path(config.data.path)
    if not root.is_dir():
        what = "not a folder" if root.exists() else "no such folder"
        raise UserError(f"data.path={str(root)!r}: {what}; a data set here is a folder with {kind}")
    if config.task == "segment":
        from phonecv.data.labelmaps.content import check_content

        for split in read_label_data(config):
            check_content(split)
        return
    from phonecv.data.coco.paths import find_coco

    detect = config.detect
    for split, file, images in (
        ("train", detect.train_annotations, detect.train_images),
        ("val", detect.val_annotations, detect.val_images),
    ):
        find_coco(root, split, annotations=file, images=images)


def read_data(config: TrainConfig) -> tuple[Listing, Listing]:
    """Both splits of a classifier's data, with the same classes.

    Raises:
        UserError: no data folder was given, or it cannot be used.
    """
    for known, listed in _LISTED:
        if known is config:
            _LISTED.clear()
            return listed
    if not config.data.path:
        raise UserError("no data set was given; pass --data DIR (data.path), a folder with train/ and val/")
    train = read_split(config.data.path, "train", list_file=config.data.train_list)
    for problem in train.problems:
        if problem.severity == "error":
            raise UserError(problem)
    val = read_split(config.data.path, "val", list_file=config.data.val_list, classes=train.classes)
    return train, val


def read_label_data(config: TrainConfig) -> tuple[LabelSplit, LabelSplit]:
    """Both splits of a segmenter's data, with the same classes.

    Raises:
        UserError: they cannot be used.
    """
    from phonecv.data.labelmaps.listing import read_label_split

    wanted = config.segment

    def read(
        split: str,
        images: str | None,
        labels: str | None,
        classes: Sequence[str] | int | None,
        reading: MapReading | None = None,
    ) -> LabelSplit:
        return read_label_split(
            config.data.path,
            split,
            reduce_zero_label=wanted.reduce_zero_label,
            classes=classes,
            ignore=wanted.ignore,
            threshold=wanted.threshold,
            images=images,
            labels=labels,
            stored=wanted.stored,
            reading=reading,
        )

    train = read("train", wanted.train_images, wanted.train_labels, config.model.num_classes)
    return train, read("val", wanted.val_images, wanted.val_labels, train.classes, train.reading)
