"""What a model does (classify, detect, segment), told without building it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phonecv.errors import UserError

#: Task -> what a model of it is called.
TASKS = {"classify": "a classifier", "detect": "a detector", "segment": "a segmenter"}


def task_of(model: Any) -> str:
    """The task of a network, of a runner, or of whatever a path or name stands for.

    Only files of ours, checkpoints and exported ones, can hold detectors and segmenters, and they say so in their
    record; everything else classifies. A file that cannot be read counts as a classifier too: loading it will say what
    is wrong.
    """
    if not isinstance(model, Path | str):
        return getattr(model, "task", "classify")
    path = Path(model)
    if not path.exists():
        return "classify"
    if path.suffix != ".safetensors":
        return _exported_task(path)
    from safetensors import SafetensorError, safe_open

    from phonecv.weights.record import KEY

    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {}).get(KEY, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return "classify"
    return _task_in(record)


def _exported_task(path: Path) -> str:
    from phonecv.exporting import exporter_for
    from phonecv.exporting.record import find_record

    if exporter_for(path) is None:
        return "classify"
    try:
        return _task_in(find_record(path))
    except UserError:
        return "classify"


def _task_in(record: object) -> str:
    task = record.get("task", "classify") if isinstance(record, dict) else "classify"
    return task if task in TASKS else "classify"


def check_options(model: Any, task: str, options: dict[str, Any], known: dict[str, tuple[str, ...]]) -> None:
    """Refuse options that belong to another task.

    Args:
        model: for the message.
        task: of the model.
        options: as given.
        known: names of the options that only some tasks have, by task.

    Raises:
        UserError: naming the option and whose it is.
    """
    for name in options:
        owners = [other for other, names in known.items() if name in names]
        if owners and task not in owners:
            named = f"{str(model)!r}" if isinstance(model, Path | str) else "this model"
            raise UserError(f"{name} is for {' and '.join(TASKS[owner] for owner in owners)}; {named} is {TASKS[task]}")
