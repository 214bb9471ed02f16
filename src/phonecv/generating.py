"""Generating, whatever the task: what a model makes of noise, and the folder it leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from phonecv.verbs import Steps


class Generation(ABC):
    """What a model has made. It prints what it is."""

    __slots__ = ()

    @property
    @abstractmethod
    def images(self) -> Any:
        """The pictures, in order."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """How each was made, as plain values for JSON."""


class GenerateRoom(Protocol):
    """The room "generate" of a task whose models make something."""

    def generated(
        self, runner: Any, steps: Steps, options: Any, on_progress: Callable[[int, int], None] | None
    ) -> Generation:
        """Make what is asked for.

        Args:
            runner: the model.
            steps: how many at a time.
            options: the task's.
            on_progress: called with (done, all) after every step.

        Raises:
            UserError: the model cannot make that.
        """

    def write_generated(self, made: Any, out: Path) -> None:
        """Write pictures and how each was made into a folder; what an earlier call left there goes."""
