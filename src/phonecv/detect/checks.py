"""What can be wrong with the training of a detector, said before torch is loaded."""

from __future__ import annotations

from phonecv.data.coco.paths import find_coco
from phonecv.detect.config import DetectConfig
from phonecv.training.checks import data_folder

DATA = "a folder with COCO annotations and pictures"


def check_training(config: DetectConfig, *, keep: bool) -> None:
    """Check that annotations and pictures are there; nothing is kept."""
    root, wanted = data_folder(config, DATA), config.detect
    find_coco(root, "train", annotations=wanted.train_annotations, images=wanted.train_images)
    find_coco(root, "val", annotations=wanted.val_annotations, images=wanted.val_images)
