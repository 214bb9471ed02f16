"""Is this data set fit for training? Everything wrong with it, named, with what to do about it.

The full audit decodes every picture. The quick one, run before training, looks at folders, lists and annotations, and
at the headers of a sample of the files; it stays fast with a million of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from phonecv.data.audit_folders import audit_folders
from phonecv.data.coco_audit import audit_coco, audit_coco_file, has_coco
from phonecv.data.findings import FIXES, SEVERITIES, AuditReport, Finding, Look, Notes, Numbers
from phonecv.data.images import printable
from phonecv.data.labelmaps import has_label_maps
from phonecv.data.segmentation_audit import audit_labels
from phonecv.errors import UserError

__all__ = ["FIXES", "SEVERITIES", "AuditReport", "Finding", "audit"]

#: Kinds of data sets that are told by what is in the folder: how, and what looks at them. One folder may hold several;
#: where none is found it is one for classification.
KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Notes, Path, Look], Numbers]], ...] = (
    (has_coco, audit_coco),
    (has_label_maps, audit_labels),
)


def audit(
    root: Path | str,
    *,
    quick: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Look for whatever is wrong with the data set at `root`.

    Args:
        root: data folder, or one COCO annotation file.
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
    audits = [audit_coco_file] if root.is_file() else [run for fits, run in KINDS if fits(root)] or [audit_folders]
    splits: dict[str, dict[str, int]] = {}
    checked = 0
    for run in audits:
        numbers, opened = run(notes, root, look)
        splits |= numbers
        checked += opened
    return AuditReport(
        root=printable(root),
        quick=quick,
        findings=tuple(sorted(dict.fromkeys(notes.findings), key=lambda finding: SEVERITIES.index(finding.severity))),
        splits=splits,
        checked=checked,
        seconds=round(time.perf_counter() - started, 3),
    )
