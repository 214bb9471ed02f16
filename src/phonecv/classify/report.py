"""The folder of a classifier's evaluation."""

from __future__ import annotations

from functools import partial

from phonecv.data.pictures.opening import reopen
from phonecv.whole import report
from phonecv.whole.report import CLASSES, FIGURES, PICTURES, tiles

write_files = partial(report.write_files, show=reopen)

__all__ = ["CLASSES", "FIGURES", "PICTURES", "tiles", "write_files"]
