"""What an evaluation of a classifier found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from phonecv.classify.attention import Look
from phonecv.whole.result import WholeResult


@dataclass(frozen=True, slots=True)
class ClassificationResult(WholeResult):
    """What an evaluation found.

    Attributes:
        look: where the network looks in pictures for outputs, see `phonecv.classify.attention`; None for files.
    """

    task: ClassVar[str] = "classify"

    look: Look | None = field(default=None, repr=False, compare=False)
