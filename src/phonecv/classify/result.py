"""What an evaluation of a classifier found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from phonecv.whole.result import WholeResult


@dataclass(frozen=True, slots=True)
class ClassificationResult(WholeResult):
    """What an evaluation found."""

    task: ClassVar[str] = "classify"
