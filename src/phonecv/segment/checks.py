"""What can be wrong with the training of a segmenter, said before torch is loaded."""

from __future__ import annotations

from phonecv.data.labelmaps.content import check_content
from phonecv.segment.config import SegmentConfig
from phonecv.segment.training_data import read_splits
from phonecv.training.balance import class_weights
from phonecv.training.checks import data_folder

DATA = "a folder with pictures and label maps"


def check_training(config: SegmentConfig, *, keep: bool) -> None:
    """Check that pictures and label maps are there and teach something; nothing is kept."""
    data_folder(config, DATA)
    splits = read_splits(config)
    class_weights(config.segment.class_weights, splits[0].classes, (), len(splits[0].classes))
    for split in splits:
        check_content(split)
