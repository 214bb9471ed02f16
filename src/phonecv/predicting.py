"""Predicting, whatever the task: the pictures that are named, through a model, and what it says about each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from phonecv.text import printable
from phonecv.verbs import Steps

#: Called with {"frame", "time", ...} of each frame of a video or camera.
OnFrame = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Prediction(ABC):
    """What a model says about one picture, or about a video.

    Attributes:
        path: the file.
        error: why it could not be used, or an empty text.
    """

    #: Heads of the table that `row` belongs to; empty where each prints a line.
    columns: ClassVar[tuple[str, ...]] = ()

    path: Path
    error: str = field(default="", kw_only=True)

    @abstractmethod
    def said(self) -> str:
        """What the model says, in words."""

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """The same as plain values for JSON."""

    def row(self) -> tuple[object, ...]:
        """A line of the table with the heads `columns`."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"path": printable(self.path), **self.values(), "error": self.error}

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.error or self.said()}"


class Stream(Protocol):
    """A video or a camera that a task can go through."""

    def __call__(self, runner: Any, *, out: Path | None, on_frame: OnFrame | None) -> Prediction:
        """Every frame through a model.

        Args:
            runner: the model.
            out: folder for the video with what was found; None for none.
            on_frame: see `OnFrame`.
        """


class PredictRoom(Protocol):
    """The room "predict" of a task."""

    def streams(self, sources: Sequence[Path | str], options: Any) -> tuple[Sequence[Path | str], Sequence[Stream]]:
        """What is named, parted into pictures (with folders and patterns of them) and streams.

        Raises:
            UserError: a stream that is not there.
        """

    def find_samples(self, source: Path | str, /) -> Sequence[Path]:
        """The pictures, or what else the task takes, that a path, a folder or a pattern names.

        Raises:
            UserError: nothing there, or none in it.
        """

    def predictions(
        self, runner: Any, paths: Sequence[Path], steps: Steps, options: Any, out: Path | None
    ) -> Iterator[Sequence[Prediction]]:
        """What the model says about pictures, those of a step at a time; an unreadable one has an error.

        Args:
            runner: the model.
            paths: the pictures.
            steps: how they are taken.
            options: the task's.
            out: folder for what would fill the memory if it waited for `write_predictions`; None for none.
        """

    def write_predictions(self, predictions: Sequence[Any], out: Path | str) -> Path:
        """Write tables and pictures of some predictions into a folder."""


def pictures_only(sources: Sequence[Path | str], options: object) -> tuple[Sequence[Path | str], Sequence[Stream]]:
    """`PredictRoom.streams` of a task that takes none."""
    return sources, ()
