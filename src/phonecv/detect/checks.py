"""What can be wrong with the training of a detector, said before torch is loaded."""

from __future__ import annotations

from phonecv.data.coco.paths import find_coco, has_split, undivided
from phonecv.dense.config import check_teacher
from phonecv.detect.config import DetectConfig
from phonecv.text import printable
from phonecv.training.checks import data_folder
from phonecv.training.dividing import refuse_share

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
