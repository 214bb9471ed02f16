"""What is taken for granted about an exported file that nothing describes, and telling so."""

from __future__ import annotations

import logging
from pathlib import Path

from phonecv.data.class_mapping import IMAGENET_CLASSES
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.record import record_path
from phonecv.preprocessing import Preprocessing
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.text import counted

_log = logging.getLogger("phonecv")


def tell_assumed(path: Path, record: FileRecord, preprocessing: Preprocessing, num_classes: int | None = None) -> None:
    """Log what a classifier's file does not say and how it is taken instead; nothing if it says how it is fed."""
    if isinstance(record.get("preprocessing"), dict):
        return
    beside = record_path(path).name
    missing = "its record lacks the preprocessing" if record else f"no record within, no {beside} beside it"
    names = ""
    if not record.get("classes") and num_classes is not None:
        names = f"; {counted(num_classes, 'classes')} called by number"
        if num_classes == IMAGENET_CLASSES:
            names = "; ImageNet's 1000 classes in their usual order"
    _log.warning(
        "%s: %s. Assumed: %s; %s%s. If that is wrong, put its %s back or write one, such as "
        '{"preprocessing": {"size": 224, "mean": [0, 0, 0], "std": [1, 1, 1]}, "classes": ["a", "b"]}',
        path, missing, TASKS[DEFAULT_TASK].noun, preprocessing.in_words(), names, beside,
    )  # fmt: skip
