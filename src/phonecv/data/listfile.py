"""List files: one picture a line, with or without its label."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phonecv.data.images import is_image_name, printable
from phonecv.errors import UserError

_WHOLE_NUMBER = re.compile(r"[+-]?\d+")
_LONGEST_PATH = 4096
#: Without a class list, a label from here on is taken for a mistake rather than for that many classes.
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True, slots=True)
class ListProblem:
    """What is wrong with one line.

    Attributes:
        kind: "line" (can't be understood), "label", "outside" (leaves the data folder), "missing", "conflict" or
            "repeat". All but the last make the list unusable.
    """

    line: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list file as read: the good lines and what is wrong with the others.

    Attributes:
        prefix: folder, relative to the data folder, that the paths start from; "" or for instance "val/".
        paths: relative to the data folder, "/" between folders.
        labels: one per path, or None where the list holds paths only.
        lines: line number of each path.
    """

    path: Path
    prefix: str
    paths: tuple[str, ...]
    labels: tuple[int, ...] | None
    lines: tuple[int, ...]
    problems: tuple[ListProblem, ...]

    @property
    def errors(self) -> tuple[ListProblem, ...]:
        """The problems that make the list unusable."""
        return tuple(problem for problem in self.problems if problem.kind != "repeat")

    def describe(self, problems: Sequence[ListProblem], most: int = 8) -> str:
        """``file:line: message`` for the first of `problems`, and how many there are beyond."""
        shown = [f"{printable(self.path)}:{problem.line}: {problem.message}" for problem in problems[:most]]
        if len(problems) > most:
            shown.append(f"... and {len(problems) - most} more lines like these")
        return "\n".join(shown)


def read_list(path: Path | str, root: Path | str, split: str, *, classes: int | None = None) -> ListFile:
    """Read ``path label`` or ``path`` lines; nothing wrong with a line raises, it becomes a problem.

    The last blank or tab separates path and label, so names may hold blanks. Empty lines, lines that start with ``#``,
    a byte-order mark and Windows line ends are fine. Names are bytes: what is not UTF-8 names the same file as on disk.
    A line given twice counts twice and is noted.

    Args:
        path: the list file.
        root: the data folder; paths in the list are relative to it, or to its sub-folder `split`.
        split: "train" or "val".
        classes: number of classes, to check the labels; None if the list itself defines them.

    Raises:
        UserError: the file can't be read, or is not text.
    """
    path = Path(path)
    problems: list[ListProblem] = []
    rows: list[tuple[int, str, str | None]] = []  # line number, path, label as text
    for number, line in _lines(path):
        if len(line) > _LONGEST_PATH:
            problems.append(ListProblem(number, "line", f"{len(line)} characters; a line is `path label`"))
            continue
        if "\0" in line:
            problems.append(ListProblem(number, "line", "holds a NUL byte; is this a text file?"))
            continue
        rows.append((number, *_split_label(line)))

    labelled = any(label is not None for _, _, label in rows)
    good: list[tuple[int, str, int]] = []
    for number, name, label in rows:
        if labelled or label is not None or not is_image_name(name.rsplit("/", 1)[-1]):
            problem = _label_problem(name, label, classes)
        else:
            problem = None
        if problem:
            problems.append(ListProblem(number, "label", problem))
            continue
        name = name.removeprefix("./")
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", name) or ".." in name.split("/"):
            problems.append(ListProblem(number, "outside", f"{_short(name)} leaves the data folder"))
            continue
        good.append((number, name, int(label) if label is not None else -1))

    present = _Present(Path(root))
    prefix = _choose_prefix([name for _, name, _ in good[:100]], present, split)
    kept: list[tuple[int, str, int]] = []
    first: dict[str, tuple[int, int]] = {}
    for number, name, value in good:
        full = prefix + name
        if full not in present:
            problems.append(ListProblem(number, "missing", f"no such file: {_short(full)}"))
            continue
        earlier = first.setdefault(full, (number, value))
        if earlier[1] != value:
            problems.append(
                ListProblem(
                    number, "conflict", f"{_short(full)} has label {value}, but {earlier[1]} on line {earlier[0]}"
                )
            )
            continue
        if earlier[0] != number:
            problems.append(ListProblem(number, "repeat", f"{_short(full)} is already on line {earlier[0]}"))
        kept.append((number, full, value))
    return ListFile(
        path=path,
        prefix=prefix,
        paths=tuple(name for _, name, _ in kept),
        labels=tuple(value for _, _, value in kept) if labelled else None,
        lines=tuple(number for number, _, _ in kept),
        problems=tuple(sorted(problems, key=lambda problem: problem.line)),
    )


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines without blank ones and comments."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{printable(path)}: the list can't be read ({error.strerror})") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{printable(path)}: the list is UTF-16 text; save it as UTF-8")
    text = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))
    # Not str.splitlines: it also breaks at form feeds and at Unicode separators, which names may hold.
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def _split_label(line: str) -> tuple[str, str | None]:
    """Path and label as text; None where the line is a path alone."""
    columns = line.rsplit("\t", 1) if "\t" in line else line.rsplit(None, 1)
    if len(columns) == 1 or (not _WHOLE_NUMBER.fullmatch(columns[1].strip()) and is_image_name(columns[1].strip())):
        return line, None
    return columns[0].strip(), columns[1].strip()


def _label_problem(name: str, label: str | None, classes: int | None) -> str | None:
    if label is None:
        return f"{_short(name)}: no label; a line is `path label`"
    if not _WHOLE_NUMBER.fullmatch(label):
        return f"label {_short(label)} is not a whole number; a line is `path label`"
    most = classes or _MOST_CLASSES
    if len(label) > 10 or not 0 <= int(label) < most:
        return f"label {_short(label)} is not in 0..{most - 1}" + (f" ({classes} classes)" if classes else "")
    return None


def _short(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= 120 else f"{shown[:80]}... ({len(shown)} characters)"


def _choose_prefix(names: Sequence[str], present: _Present, split: str) -> str:
    """Whether paths start at the data folder or inside its split folder: wherever more of the first ones are found."""
    return max(("", f"{split}/"), key=lambda prefix: sum(prefix + name in present for name in names))


class _Present:
    """Which files are there; reads each folder once, as asking for every file takes minutes on a network disk."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._folders: dict[str, frozenset[str]] = {}

    def __contains__(self, name: str) -> bool:
        folder, _, leaf = name.rpartition("/")
        if folder not in self._folders:
            try:
                self._folders[folder] = frozenset(os.listdir(os.path.join(self._root, folder)))  # noqa: PTH118, PTH208
            except OSError:
                self._folders[folder] = frozenset()
        # The second question is for file systems that do not tell upper from lower case, and for "a//b.jpg".
        return leaf in self._folders[folder] or os.path.isfile(os.path.join(self._root, name))  # noqa: PTH113, PTH118
