"""What a bundle asks of a task: the module ``bundling`` of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from phonecv.bundles.records import task_of
from phonecv.exporting.fields import FileRecord
from phonecv.task import Task


@dataclass(frozen=True, slots=True)
class OutputMeaning:
    """What an output of a file is.

    Attributes:
        text: its axes and numbers, in words.
        whole: its numbers are whole ones, where the format has such.
        full_size: its last two axes are those of the input.
    """

    text: str
    whole: bool = False
    full_size: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a file gives for the test picture.

    Attributes:
        numbers: for expected.json.
        what: the app has to find, such as "these classes".
        header: of a table of it.
        rows: of that table.
        total: how many rows there are, the table may hold the first alone; None for as many.
        note: a sentence about the table; empty for none.
        files: name -> what it is, of the files that were written, the drawing apart.
    """

    numbers: Mapping[str, Any]
    what: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    total: int | None = None
    note: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


class BundlingRoom(Protocol):
    """How files of its networks are fed and read, and what they give for a picture. Records are those of such files.

    Attributes:
        NEEDED_FIELDS: of a record, beside those that every file needs.
        READERS_TESTED: a sentence on the readers' tests, and on what a language asks for.
        WHY_NO_APPS: why no app is made of its networks, and what to do; empty where one is.
    """

    NEEDED_FIELDS: tuple[str, ...]
    READERS_TESTED: str
    WHY_NO_APPS: str

    def preparation(self, record: FileRecord) -> list[tuple[str, str]]:
        """How a picture becomes the input: the name of each step, and the step."""

    def reading(self, record: FileRecord) -> list[str]:
        """How the outputs become a result, step by step."""

    def output_meanings(self, record: FileRecord) -> Mapping[str, OutputMeaning]:
        """Of the outputs, by name; those that are left out are feature maps."""

    def why_no_readers(self, record: FileRecord) -> str:
        """Why there are no readers for a file, and what to do; empty if there are."""

    def reader_files(self, record: FileRecord, name: str) -> dict[str, str]:
        """File name -> source text, for a file that `why_no_readers` has nothing against.

        Args:
            record: of the file.
            name: of the file or files, for the comments.

        Raises:
            UserError: the record contradicts itself.
        """

    def app_sources(self, record: FileRecord) -> dict[str, str]:
        """What apps show of a file that has readers: `draw.js`, `Answers.kt` and `Answers.swift`, and their texts."""

    def find(self, file: Path, given: Path, record: FileRecord, folder: Path) -> Found | None:
        """What a file gives for a picture, as `phonecv predict` has it; None where that says nothing.

        Args:
            file: exported.
            given: the picture to run it on, or the inputs as safetensors where the network takes none.
            record: of the file.
            folder: for a drawing (`phonecv.bundles.expected.save_drawing`) and further files.
        """

    def write_class_files(self, names: Sequence[str], folder: Path) -> Mapping[str, str]:
        """Write what the classes have beside their names: name of each file -> what it is; mostly none."""


def bundling_of(record: FileRecord) -> BundlingRoom:
    """The hooks of the task of a file."""
    return bundling_room(task_of(record))


def bundling_room(task: Task) -> BundlingRoom:
    """The hooks of a task."""
    return cast(BundlingRoom, task.room("bundling"))


def no_class_files(names: Sequence[str], folder: Path) -> Mapping[str, str]:
    """`write_class_files` of a task whose classes have names alone."""
    return {}


def no_sources(record: FileRecord, name: str = "") -> dict[str, str]:
    """`reader_files` and `app_sources` of a task that has none."""
    return {}
