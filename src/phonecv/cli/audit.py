"""`phonecv audit`: what is wrong with a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from phonecv.cli.output import progress, say_found


def audit(
    data: Path,
    /,
    *,
    task: str | None = None,
    quick: bool = False,
    labels: Literal["auto", "one", "many"] = "auto",
    json: bool = False,
) -> int:
    """Look a data set over before training on it.

    Finds unreadable and misnamed files, duplicates and leaks between splits, unequal class lists, errors in list
    files, COCO annotations and label maps, and says as what the folder is read. Equal findings are one line. The exit
    status is 1 when there are errors; warnings alone leave it 0.

    For example:

    - `phonecv audit photos`
    - `phonecv audit photos --json`
    - `phonecv audit cells --task segment`
    - `phonecv audit coco/annotations/instances_val2017.json`

    Args:
        data: Folder with `train/<class>/<picture>` and `val/<class>/<picture>` or list files (classification), or with
            annotations/instances_train.json and the like (COCO), or images/ and masks/ (label maps); or one COCO
            annotation file.
        task: Of a folder that holds data of several tasks only what this one is trained on, as `segment`.
        quick: Only what training checks before it starts: lists, folders and annotations, not every picture.
        labels: How many a picture of a list has, as `data.labels` of a training; auto goes by the list.
        json: Print JSON.
    """
    from phonecv.data.audit import audit as run

    report = run(data, task=task, quick=quick, labels=labels, progress=progress("checked"))
    say_found(report.to_json, report, json=json)
    return int(bool(report.errors))
