"""Is this data set fit for training? Everything wrong with it, named, with what to do about it.

The full audit decodes every picture. The quick one, run before training, looks at folders, lists and annotations, and
at the headers of a sample of the files; it stays fast with a million of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from phonecv.data.coco.audit import COCO_FIXES, audit_coco_file, foreign_name
from phonecv.data.findings import FIXES, SEVERITIES, AuditReport, Finding, Look, Notes
from phonecv.data.folders.splits import class_folders
from phonecv.data.foreign.layouts import foreign_layout
from phonecv.data.layouts import Layout, find_layouts, fixes_of, known_layouts
from phonecv.errors import UserError, near_path
from phonecv.task import find_task
from phonecv.text import printable, printable_name

#: Folders of a folder that are looked into where it is no data set itself.
_LOOKED_INTO = 50

__all__ = ["FIXES", "SEVERITIES", "AuditReport", "Finding", "audit"]


def audit(
    root: Path | str,
    *,
    task: str | None = None,
    quick: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    labels: Literal["auto", "one", "many"] = "auto",
) -> AuditReport:
    """Look for whatever is wrong with the data set at `root`.

    Args:
        root: data folder, or one COCO annotation file.
        task: look at the data of the task of this name alone, as its training does; None looks at all that is there.
        quick: do not decode all pictures and do not look for duplicates.
        workers: processes that decode; 0 does it in this one.
        progress: called with the number of files done and their total.
        labels: how many a picture of a list has; "auto" goes by the list.

    Raises:
        UserError: there is no data set at `root`, or no task of this name.
    """
    if task is not None:
        find_task(task)
    started = time.perf_counter()
    root, look = Path(root), Look(quick, workers, progress, labels=labels)
    if root.is_file() and root.suffix.lower() != ".json" and not foreign_name(root):
        raise UserError(f"{printable(root)}: not a folder, nor a file of annotations that is read")
    if not root.exists():
        raise UserError(f"{printable(root)}: no such folder; name a data set folder{near_path(root)}")
    notes = Notes(root.parent, COCO_FIXES) if root.is_file() else Notes(root, fixes_of(known_layouts()))
    if root.is_file():
        splits, checked = audit_coco_file(notes, root, look)
        layouts: Sequence[Layout] = ()
    else:
        layouts = _layouts(notes, root, task)
        splits, checked = {}, 0
        for layout in layouts:
            numbers, opened = layout.run(notes, root, replace(look, alone=len(layouts) == 1))
            splits |= numbers
            checked += opened
    return AuditReport(
        root=printable(root),
        quick=quick,
        findings=tuple(sorted(dict.fromkeys(notes.findings), key=lambda finding: SEVERITIES.index(finding.severity))),
        splits=splits,
        checked=checked,
        seconds=round(time.perf_counter() - started, 3),
        layouts=tuple(f"{layout.describe(root)} ({layout.task})" for layout in layouts),
    )


def _layouts(notes: Notes, root: Path, task: str | None) -> Sequence[Layout]:
    """What is looked at: what the folder holds, or what `task` reads; what is not read is told."""
    found = find_layouts(root)
    wanted = [layout for layout in found if task in (None, layout.task)]
    if task is None and len(wanted) > 1:
        wanted = [layout for layout in wanted if layout.surely(root)] or wanted
    if wanted and task is not None:
        return wanted
    foreign = foreign_layout(root)
    if wanted:
        if foreign is not None:
            tasks = [layout.task for layout in found if layout.describe(root) == foreign.name]
            what = f"which --task {tasks[0]} audits" if tasks else "which is not read beside it"
            if not any(layout.describe(root) == foreign.name for layout in wanted):
                notes.add("foreign", "note", foreign.evidence, f"there is also {foreign.name}, {what}")
        return wanted
    if foreign is not None:
        notes.add("foreign", "error", foreign.evidence, foreign.message(root))
        return []
    if task is None:
        other = _inner(root) or next(filter(None, (layout.nearly(root) for layout in known_layouts())), "")
        if other:
            notes.add("structure", "error", root, other)
            return []
    assumed = [layout for layout in known_layouts() if layout.assumed and task in (None, layout.task)]
    if assumed:
        return assumed
    others = ", ".join(layout.name for layout in found) or "nothing that is read"
    names = " or ".join(layout.name for layout in known_layouts() if layout.task == task)
    notes.add("structure", "error", root, f"no {names or 'data of this task'} here, but {others}")
    return []


def _inner(root: Path) -> str:
    """Folders in `root` that are data sets themselves, and no classes, for people."""
    doubtful = {layout.task for layout in known_layouts() if layout.assumed}
    found = [
        f"{printable_name(name)}/ ({layout.describe(root / name)})"
        for name in class_folders(root)[:_LOOKED_INTO]
        for layout in find_layouts(root / name)
        if layout.task not in doubtful and layout.surely(root / name)
    ]
    return f"no data set here, but in {', '.join(found[:6])}; audit such a folder by itself" if found else ""
