"""`phonecv compare`: trainings beside each other."""

from __future__ import annotations

from pathlib import Path

from phonecv.cli.options import check_there
from phonecv.cli.output import say_found


def compare(*runs: Path, out: Path | None = None, json: bool = False) -> None:
    """Put trainings beside each other: settings that differ, figures with their errors, curves.

    Runs of other tasks, or judged by other pictures, are refused: their figures say nothing about each other.

    For example:

    - `phonecv compare runs/photos runs/large`
    - `phonecv compare runs/photos runs/large --out compared`

    Args:
        runs: Run folders of trainings, two or more.
        out: Folder for a page with the curves over each other (compare.html) and the picture of them.
        json: Print JSON.
    """
    check_there(*runs)
    from phonecv.comparing import compare as run

    found = run(*runs, out=out)
    say_found(found.to_dict, found, None if out is None else f"\npage: {out / 'compare.html'}", json=json)
