"""Is this data set fit for training? Everything wrong with it, named, with what to do about it.

The full audit decodes every picture. The quick one, run before training, looks at folders, lists and annotations, and
at the headers of a sample of the files; it stays fast with a million of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from phonecv.data.coco.audit import audit_coco_file
from phonecv.data.findings import FIXES, SEVERITIES, AuditReport, Finding, Look, Notes
from phonecv.data.folders.splits import class_folders
from phonecv.data.foreign import foreign_layout
from phonecv.data.labelmaps.folders import paired_folders
from phonecv.data.layouts import FOLDERS, LAYOUTS, Layout, Task, find_layouts
from phonecv.errors import UserError
from phonecv.text import printable, printable_name

#: Folders of a folder that are looked into where it is no data set itself.
_LOOKED_INTO = 50

__all__ = ["FIXES", "SEVERITIES", "AuditReport", "Finding", "audit"]


def audit(
    root: Path | str,
    *,
    task: Task | None = None,
    quick: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Look for whatever is wrong with the data set at `root`.

    Args:
        root: data folder, or one COCO annotation file.
        task: look at the data of this task alone, as its training does; None looks at all that the folder holds.
        quick: do not decode all pictures and do not look for duplicates.
        workers: processes that decode; 0 does it in this one.
        progress: called with the number of files done and their total.

    Raises:
        UserError: there is no data set at `root`.
    """
    started = time.perf_counter()
    root, look = Path(root), Look(quick, workers, progress)
    if root.is_file() and root.suffix.lower() != ".json":
        raise UserError(f"{printable(root)}: not a folder, nor a COCO annotation file (.json)")
    if not root.exists():
        raise UserError(f"{printable(root)}: no such folder; name a data set folder")
    notes = Notes(root.parent if root.is_file() else root)
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
        layouts=tuple(f"{layout.name} ({layout.task})" for layout in layouts),
    )


def _layouts(notes: Notes, root: Path, task: Task | None) -> Sequence[Layout]:
    """What is looked at: what the folder holds, or what `task` reads; what is not read is told."""
    found = find_layouts(root)
    wanted = [layout for layout in found if task in (None, layout.task)]
    if wanted and task is not None:
        return wanted
    foreign = foreign_layout(root)
    if wanted:
        if foreign is not None:
            notes.add("foreign", "note", foreign.evidence, f"there is also {foreign.name}, which is not read")
        return wanted
    if foreign is not None:
        notes.add("foreign", "error", foreign.evidence, foreign.message(root))
        return []
    if task is None:
        other = _inner(root) or _paired(root)
        if other:
            notes.add("structure", "error", root, other)
            return []
    if task in (None, "classify"):
        return [FOLDERS]
    others = ", ".join(layout.name for layout in found) or "nothing that is read"
    name = next(layout.name for layout in LAYOUTS if layout.task == task)
    notes.add("structure", "error", root, f"no {name} here, but {others}")
    return []


def _inner(root: Path) -> str:
    """Folders in `root` that are data sets for detectors or segmenters themselves, for people."""
    found = [
        f"{printable_name(name)}/ ({layout.name})"
        for name in class_folders(root)[:_LOOKED_INTO]
        for layout in find_layouts(root / name)
        if layout.task != "classify"
    ]
    return f"no data set here, but in {', '.join(found[:6])}; audit such a folder by itself" if found else ""


def _paired(root: Path) -> str:
    """Folders of pictures and label maps under other names than those that are known, for people."""
    pair = paired_folders(root)
    if pair is None:
        return ""
    images, labels = (printable_name(folder.name) for folder in pair)
    return (
        f"{images}/ and {labels}/ seem to be pictures and their label maps: call them images/ and masks/, each with"
        f" train/ and val/, or name them in training (segment.train_images={images} segment.train_labels={labels} and"
        " so on)"
    )
