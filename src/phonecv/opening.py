"""What a network, a runner, a file or a name is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from phonecv.errors import UserError
from phonecv.exporting.formats import exporter_for
from phonecv.exporting.record import find_record
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.weights.record import KEY


def task_of(model: Any) -> str:
    """The task of a network, of a runner, or of whatever a path or name stands for.

    Only files of ours, checkpoints and exported ones, can be for another task than the default, and they say so in
    their record. A file that cannot be read counts as of the default, too: loading it will say what is wrong.
    """
    if not isinstance(model, Path | str):
        return getattr(model, "task", DEFAULT_TASK)
    path = Path(model)
    record: Any = {}
    try:
        if path.suffix == ".safetensors" and path.exists():
            with safe_open(path, "pt") as file:
                record = json.loads((file.metadata() or {}).get(KEY, "{}"))
        elif exporter_for(path) is not None and path.exists():
            record = find_record(path)
    except (SafetensorError, OSError, ValueError, RecursionError, UserError):
        return DEFAULT_TASK
    task = record.get("task") if isinstance(record, dict) else None
    return task if isinstance(task, str) and task in TASKS else DEFAULT_TASK
