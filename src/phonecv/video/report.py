"""The folder of an evaluation of clips; a clip is shown by the frame in its middle."""

from __future__ import annotations

from functools import partial

from phonecv.data.clips.reading import middle_frame
from phonecv.whole import report
from phonecv.whole.report import CLASSES, FIGURES, PICTURES, tiles

write_files = partial(report.write_files, show=middle_frame)

__all__ = ["CLASSES", "FIGURES", "PICTURES", "tiles", "write_files"]
