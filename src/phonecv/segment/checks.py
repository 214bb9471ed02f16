"""What can be wrong with the training of a segmenter, said before torch is loaded."""

from __future__ import annotations

from phonecv.data.labelmaps.content import check_content
from phonecv.segment.config import SegmentConfig
from phonecv.segment.training_data import read_splits
from phonecv.training.checks import data_folder

DATA = "a folder with pictures and label maps"


def check_training(config: SegmentConfig, *, keep: bool) -> None:
    """Check that pictures and label maps are there and teach something; nothing is kept."""
    data_folder(config, DATA)
    for split in read_splits(config):
        check_content(split)
