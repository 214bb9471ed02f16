"""What a segmenter learns from, and what can be wrong with its training, said before torch is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from phonecv.data.coco.paths import has_split
from phonecv.data.labelmaps.drawn import has_outlines, read_split
from phonecv.data.labelmaps.folders import label_splits
from phonecv.data.labelmaps.listing import LabelSplit
from phonecv.data.labelmaps.reading import MapReading
from phonecv.data.labelmaps.suspicions import check_content
from phonecv.data.split_names import ALIASES, WHOLE
from phonecv.dense.config import check_teacher
from phonecv.errors import UserError
from phonecv.files import relative_name
from phonecv.segment.config import SegmentConfig
from phonecv.text import printable
from phonecv.training.balance import class_weights
from phonecv.training.checks import data_folder
from phonecv.training.dividing import Divided, check_division, chosen_by_lists, divide, refuse_share

DATA = "a folder with pictures and label maps"


def check_training(config: SegmentConfig, *, keep: bool) -> None:
    """Refuse data that aren't there, can't be listed or divided, or that teach nothing; few label maps are decoded."""
    check_teacher(config)
    data_folder(config, DATA)
    train, val = list_data(config)
    class_weights(config.segment.class_weights, train.classes, (), len(train.classes))
    check_content(train)
    if val is not None:
        check_content(val)
    elif not (config.data.train_list or config.data.val_list):
        check_division(config, train, decoded=False)


def list_data(config: SegmentConfig) -> tuple[LabelSplit, LabelSplit | None]:
    """Both splits of a segmenter's data, with the same classes; without a validation split all pictures and None.

    Raises:
        UserError: there is no such data, or too little to hold a share out.
    """
    wanted, root = config.segment, Path(config.data.path)

    def read(
        split: str,
        images: str | None,
        labels: str | None,
        classes: Sequence[str] | int | None,
        reading: MapReading | None = None,
    ) -> LabelSplit:
        return read_split(
            root,
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

    drawn = has_outlines(root)
    there = [one for one in ALIASES if has_split(root, one)] if drawn else label_splits(root)
    divided = bool("train" in there or wanted.train_images or wanted.train_labels)
    val = bool(wanted.val_images or wanted.val_labels or (divided and "val" in there))
    if val:
        refuse_share(config, f"{printable(root)}: val")
    split = "train" if divided else WHOLE
    train = read(split, wanted.train_images, wanted.train_labels, config.model.num_classes)
    if not val:
        return train, None
    return train, read("val", wanted.val_images, wanted.val_labels, train.classes, train.reading)


def read_splits(config: SegmentConfig) -> Divided[LabelSplit]:
    """Both splits of a segmenter's data, with the same classes."""
    train, val = list_data(config)
    if val is not None:
        if config.data.train_list or config.data.val_list:
            raise UserError("data.train_list and data.val_list divide one set of pictures, but there is a split val")
        return Divided(train, val)
    names = [relative_name(path, train.root) for path in train.images]
    parts = chosen_by_lists(config, train, names) or divide(config, train, train.images, names)
    return replace(parts, train=replace(parts.train, split="train"), val=replace(parts.val, split="val"))
