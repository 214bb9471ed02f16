"""What can be wrong with the training of a segmenter, said before torch is loaded."""

from __future__ import annotations

from phonecv.dense.config import check_teacher
from phonecv.segment.config import SegmentConfig
from phonecv.segment.training_data import check_data
from phonecv.training.checks import data_folder

DATA = "a folder with pictures and label maps"


def check_training(config: SegmentConfig, *, keep: bool) -> None:
    """Check that pictures and label maps are there and teach something; nothing is kept."""
    check_teacher(config)
    data_folder(config, DATA)
    check_data(config)
