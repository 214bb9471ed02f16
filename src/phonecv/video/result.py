"""What an evaluation of a classifier of clips found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from phonecv.whole.result import WholeResult


@dataclass(frozen=True, slots=True)
class VideoResult(WholeResult):
    """What an evaluation found; `images` are the clips."""

    task: ClassVar[str] = "video"
    left_out: ClassVar[str] = "unreadable clips"
