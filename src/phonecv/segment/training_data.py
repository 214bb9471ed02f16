"""What a segmenter learns from: both splits, listed without torch."""

from __future__ import annotations

from collections.abc import Sequence

from phonecv.data.labelmaps.drawn import read_split
from phonecv.data.labelmaps.listing import LabelSplit
from phonecv.data.labelmaps.reading import MapReading
from phonecv.segment.config import SegmentConfig


def read_splits(config: SegmentConfig) -> tuple[LabelSplit, LabelSplit]:
    """Both splits of a segmenter's data, with the same classes."""
    wanted = config.segment

    def read(
        split: str,
        images: str | None,
        labels: str | None,
        classes: Sequence[str] | int | None,
        reading: MapReading | None = None,
    ) -> LabelSplit:
        return read_split(
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
