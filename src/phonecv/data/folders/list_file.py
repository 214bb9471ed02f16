"""List files: one picture a line, with or without its label."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv.data.folders.class_names import text_lines
from phonecv.data.folders.list_columns import MANY, Labels, Row, find_sets, is_header, read_rows, single
from phonecv.data.foreign.tree import beginning
from phonecv.data.json_file import parse_json
from phonecv.data.pictures.near_names import Present
from phonecv.data.pictures.opening import is_image_name
from phonecv.data.split_names import ALIASES, WHOLE, name_words, split_names, split_of
from phonecv.errors import UserError
from phonecv.text import counted, printable, printable_name, quoted, some_names

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
#: A number as tables write those of whole columns; and one or several of any kind, which are no name.
_POINTED, _NUMBERS = re.compile(r"([+-]?[0-9]+)\.0*"), re.compile(r"[+-]?[0-9]*\.?[0-9]+([ \t]+[+-]?[0-9]*\.?[0-9]+)*")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_LONGEST_PATH = 4096
#: Without a class list, a label from here on is taken for a mistake rather than for that many classes.
_MOST_CLASSES = 1_000_000


#: Bytes of a list that tell what is in it.
_BEGINNING = 4096
#: Rows that tell how they are to be read.
_LOOKED_AT = 100


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
        paths: relative to the data folder, "/" between folders.
        labels: one per path, or None where the list holds paths only, or names of classes.
        class_names: one per path where the labels are names of classes; else None.
        lines: line number of each path.
        frames: how many each clip has by the list; None where it does not say.
        notes: what was read otherwise than it is written, for people.
        sets: names or numbers of all labels of each path, where the list has several or none; else None.
        columns: all classes in order, where the list has a column for each; else empty.
        seen: how it was seen how many labels a picture has, for people; empty where that needs no telling.
    """

    path: Path
    paths: tuple[str, ...]
    labels: tuple[int, ...] | None
    lines: tuple[int, ...]
    problems: tuple[ListProblem, ...]
    class_names: tuple[str, ...] | None = None
    frames: tuple[int | None, ...] | None = None
    notes: tuple[str, ...] = ()
    sets: tuple[tuple[str, ...], ...] | None = None
    columns: tuple[str, ...] = ()
    seen: str = ""

    @property
    def errors(self) -> tuple[ListProblem, ...]:
        """The problems that make the list unusable."""
        return tuple(problem for problem in self.problems if problem.kind != "repeat")

    def refusal(self) -> UserError:
        """What to raise where there are errors."""
        what = counted(len(self.errors), "unusable lines")
        return UserError(f"{what} in a list file:\n{self.describe(self.errors)}\nmend or remove what is named")

    def describe(self, problems: Sequence[ListProblem], most: int = 8) -> str:
        """``file:line: message`` for the first of `problems`, and how many there are beyond."""
        shown = [f"{printable(self.path)}:{problem.line}: {problem.message}" for problem in problems[:most]]
        if len(problems) > most:
            shown.append(f"... and {counted(len(problems) - most, 'more lines')} like these")
        return "\n".join(shown)


def read_list(
    path: Path | str,
    root: Path | str,
    split: str,
    *,
    classes: int | None = None,
    labels: Labels = "one",
    names: Sequence[str] | None = None,
) -> ListFile:
    """Read ``path label`` or ``path`` lines; nothing wrong with a line raises, it becomes a problem.

    The last blank or tab separates path and label, so names may hold blanks; CSV with commas or semicolons is seen as
    such, with or without a header. Lists of clips may say between path and label how many frames each has. Labels are
    numbers from 0, or on all lines names of classes. Only line feeds and carriage returns end a line. Empty lines,
    lines that start with ``#`` and a byte-order mark are fine. Names are bytes: what is not UTF-8 names the same file
    as on disk. A path that is not there is looked for once more with "/" for backslashes, and without regard to letter
    case and the ways to write accents. A line given twice counts twice and is noted.

    Args:
        path: the list file.
        root: the data folder; paths in the list are relative to it, or to its sub-folder `split`.
        split: "train", "val" or "test", whose rows alone are read of a list with a column of splits; "all" reads each.
        classes: number of classes, to check the labels; None if the list itself defines them.
        labels: how many a picture has, see `phonecv.data.folders.list_columns`.
        names: of the classes, where they are known.

    Raises:
        UserError: the file can't be read, or is not text.
    """
    path = Path(path)
    problems: list[ListProblem] = []
    lines: list[tuple[int, str]] = []
    for number, line in _lines(path):
        if len(line) > _LONGEST_PATH:
            problems.append(ListProblem(number, "line", f"{len(line)} characters; a line is `path label`"))
        elif "\0" in line:
            problems.append(ListProblem(number, "line", "holds a NUL byte; is this a text file?"))
        else:
            lines.append((number, line))
    rows, notes, columns = read_rows(lines)
    if split != WHOLE and any(row.split for row in rows):
        strange = Counter(row.split for row in rows if row.split and split_of(row.split) is None)
        notes += [f"{counted(n, 'lines')} of split {quoted(name)} left out" for name, n in strange.items()]
        rows = [row for row in rows if not row.split or split_of(row.split) == split]
    problems += [ListProblem(row.line, "label", row.wrong) for row in rows if row.wrong]
    rows = [row for row in rows if not row.wrong]
    present = Present(Path(root))
    seen = ""
    if sets := find_sets(rows, columns, labels, names):
        rows, seen, columns = sets
    else:
        rows = _without_frames([*map(single, rows)], present, split)
        if columns and labels == "auto":
            seen = f"each line has 1 in one of its {len(columns)} columns, so a picture has one label; {MANY}"

    labelled = sets is None and any(row.label is not None for row in rows)
    given = [row.label for row in rows if row.label] if labelled else []
    if given and all(map(_POINTED.fullmatch, given)):
        rows = [row._replace(label=row.label and row.label.partition(".")[0]) for row in rows]
        notes.append("labels are written with a point, 1.0 for 1")
        given = []
    # Names only if no line has a number: else a word among numbers is a slip. Several numbers, or shares, are no name.
    named = not any(map(_WHOLE_NUMBER.fullmatch, given)) and not all(map(_NUMBERS.fullmatch, given))
    from_one = classes is not None and _counted_from_one(rows, classes)
    tops = [f"{top.as_posix()}/" for top in (Path(root).absolute(), Path(root).resolve())]
    good: list[Row] = []
    for row in rows:
        alone = row.label is None and not labelled and (row.column or is_image_name(row.path.rsplit("/", 1)[-1]))
        fine = sets is not None or alone or (named and row.label)
        problem = None if fine else _label_problem(row, classes)
        if problem:
            hint = "; the labels seem to be counted from 1, they count from 0" if from_one else ""
            if labels == "auto" and not row.label and row.column:
                hint = "; data.labels=many takes such pictures for ones without labels"
            problems.append(ListProblem(row.line, "label", problem + hint))
            continue
        good.append(row._replace(path=_below(row.path, tops)))

    inside = []
    for row in good:
        if _leaves(row.path):
            problems.append(ListProblem(row.line, "outside", _outside(row.path, present)))
        else:
            inside.append(row)
    prefix = _choose_prefix([row.path for row in inside[:_LOOKED_AT]], present, split)
    kept: list[tuple[Row, str]] = []
    first: dict[str, Row] = {}
    repaired: Counter[str] = Counter()
    for row in inside:
        full, how = present.find(prefix + row.path)
        if full is None:
            text = f"no such file: {_short(prefix + row.path)}{how or _meant(row, prefix + row.path, present)}"
            problems.append(ListProblem(row.line, "missing", text))
            continue
        repaired[how] += 1
        earlier = first.setdefault(full, row)
        if earlier.label != row.label or earlier.names != row.names:
            one, other = (_said(each) for each in (row, earlier))
            text = f"{_short(full)} has label {one}, but {other} on line {earlier.line}"
            text += f"; {MANY}" if labels == "auto" and sets is None else ""
            problems.append(ListProblem(row.line, "conflict", text))
            continue
        if earlier.line != row.line:
            problems.append(ListProblem(row.line, "repeat", f"{_short(full)} is already on line {earlier.line}"))
        kept.append((row, full))
    notes += [f"{counted(count, 'paths are')} written {how}" for how, count in repaired.items() if how]
    return ListFile(
        path=path,
        paths=tuple(full for _, full in kept),
        labels=tuple(int(row.label or 0) for row, _ in kept) if labelled and not named else None,
        lines=tuple(row.line for row, _ in kept),
        problems=tuple(sorted(problems, key=lambda problem: problem.line)),
        class_names=tuple(row.label or "" for row, _ in kept) if named else None,
        frames=tuple(row.frames for row, _ in kept) if any(row.frames is not None for row, _ in kept) else None,
        notes=tuple(notes),
        sets=None if sets is None else tuple(row.names or () for row, _ in kept),
        columns=columns,
        seen=seen,
    )


def _said(row: Row) -> str:
    return _short(row.label if row.names is None else ", ".join(row.names) or "none")


def _without_frames(rows: list[Row], present: Present, split: str) -> list[Row]:
    """The rows of a list of clips whose lines are ``folder frames label``, taken apart; any other list's as they are.

    A folder's name may end in a number, too: what is there decides, or, where nothing is, that all lines look so.
    """
    seen = [(row, row.with_frames()) for row in [row for row in rows if row.label][:_LOOKED_AT]]
    if not any(ways for _, ways in seen):
        return rows
    plain = [row.path for row, _ in seen]
    as_written = _hits(plain, present, _choose_prefix(plain, present, split))
    prefix = _choose_prefix([way.path for _, ways in seen for way in ways], present, split)

    def likeliest(row: Row) -> Row:
        ways = row.with_frames()
        return next((way for way in ways if _is_there(present, prefix + way.path)), ways[0] if ways else row)

    taken_apart = _hits([likeliest(row).path for row, _ in seen], present, prefix)
    if taken_apart > as_written or (not as_written and all(ways for _, ways in seen)):
        return [likeliest(row) if row.label else row for row in rows]
    return rows


def _leaves(name: str) -> bool:
    return name.startswith(("/", "\\")) or bool(_DRIVE.match(name)) or ".." in re.split(r"[/\\]", name)


def _below(name: str, tops: Sequence[str]) -> str:
    """A path relative to the data folder, which may be written out before it."""
    top = next((top for top in tops if name.startswith(top)), "")
    return name.removeprefix(top).removeprefix("./").removeprefix(".\\")


def _outside(name: str, present: Present) -> str:
    """Says that a path leaves the data folder, and which file inside may be meant."""
    tail = _tail(name, present)
    return f"{_short(name)} leaves the data folder" + (f"; paths are relative to it, so write {tail}" if tail else "")


def _tail(name: str, present: Present) -> str:
    """The file that the last parts of a path name, for people; empty where there is none."""
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
    for start in range(1, len(parts)):
        tail = "/".join(parts[start:])
        if ".." not in parts[start:] and tail in present:
            return _short(tail)
    return ""


def _meant(row: Row, name: str, present: Present) -> str:
    """What may be wrong with a line whose file is not there."""
    if tail := _tail(row.path, present):
        return f"; paths are relative to the data folder, so write {tail}"
    if row.label is None and not row.column and is_image_name(row.path) and re.search(r"[,;\t ]", row.path):
        return "; a line is `path label`, columns in another order have a header, such as label,file"
    if row.line == 1 and not row.column and not is_image_name(row.path):
        return "; if this is a header, call its columns file and label"
    other = present.other_kind(name)
    return f"; {_short(other)} is there" if other else ""


def _counted_from_one(rows: Sequence[Row], classes: int) -> bool:
    """Whether the labels are 1 to `classes` instead of 0 to `classes` - 1."""
    numbers = {row.label for row in rows}
    return str(classes) in numbers and "0" not in numbers


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines without blank ones and comments."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{printable(path)}: the list can't be read ({error.strerror})") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{printable(path)}: the list is UTF-16 text; save it as UTF-8")
    text = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))
    if path.suffix.lower() == ".jsonl":
        return _table_of(path, text_lines(text))
    return text_lines(_joined(text) if path.suffix.lower() in (".csv", ".tsv") else text)


def _table_of(path: Path, lines: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Lines of JSON objects as those of a CSV file, whose header are all keys."""
    records = [
        (number, parse_json(line.encode("utf-8", "surrogateescape"), f"{path}:{number}")) for number, line in lines
    ]
    if strange := next((number for number, record in records if not isinstance(record, dict)), 0):
        raise UserError(f'{printable(path)}:{strange}: no object; a line is {{"file_name": ..., "label": ...}}')
    keys = list(dict.fromkeys(key for _, record in records for key in record))
    rows = [(0, keys), *((number, [_cell(record.get(key, "")) for key in keys]) for number, record in records)]
    return [(number, ",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in cells)) for number, cells in rows]


def _cell(value: Any) -> str:
    """A value of JSON in a table: texts and numbers as they are, on one line; nothing for null and NaN."""
    if value is None or value != value:
        return ""
    return " ".join(str(value).split()) if isinstance(value, str | int | float) else json.dumps(value)


def _joined(text: str) -> str:
    """A table whose quoted cells hold line breaks, with blanks in their place; other tables as they are."""
    pieces = text.split('"')
    if len(pieces) % 2 == 0:  # a quote that nothing closes says no more of those before it
        return text
    pieces[1::2] = [re.sub(r"\r\n?|\n", " ", inside) for inside in pieces[1::2]]
    return '"'.join(pieces)


def _label_problem(row: Row, classes: int | None) -> str | None:
    name, label = row.path, row.label
    if row.names is not None:
        what = some_names([quoted(one) for one in row.names]) or "none of the classes"
        return f"{_short(name)}: 1 stands in the columns of {what}, and one class is read"
    if not label:
        return f"{_short(name)}: no label; a line is `path label`"
    if not _WHOLE_NUMBER.fullmatch(label):
        return f"label {_short(label)} is not a whole number; a line is `path label`"
    most = classes or _MOST_CLASSES
    if len(label) > 10 or not 0 <= int(label) < most:
        return f"label {_short(label)} is not in 0..{most - 1}" + (f" ({classes} classes)" if classes else "")
    return None


def _short(text: str | None) -> str:
    return printable_name(text, 120)


def _choose_prefix(names: Sequence[str], present: Present, split: str) -> str:
    """Where paths start: at the data folder or inside its split folder, wherever more of the first ones are found.

    Where neither has any, in the one folder that does, or the one of several that is called after the split.
    """
    folders = present.like(split_names(split))
    prefix = max(("", *(f"{folder}/" for folder in folders)), key=lambda prefix: _hits(names, present, prefix))
    if prefix or _hits(names, present, ""):
        return prefix
    others = [folder for folder in present.folders() if _hits(names, present, f"{folder}/")]
    if len(others) > 1:
        wanted = {*split_names("train" if split == WHOLE else split)}
        others = [folder for folder in others if wanted & {*name_words(folder)}]
    return f"{others[0]}/" if len(others) == 1 else ""


def _is_there(present: Present, name: str) -> bool:
    return present.find(name)[0] is not None


def _hits(names: Sequence[str], present: Present, prefix: str) -> int:
    return sum(_is_there(present, prefix + name) for name in names)


def lists_pictures(path: Path) -> bool:
    """Whether a table is there whose header, or first object, says that it names pictures."""
    if path.suffix == ".jsonl":
        return b'"file_name"' in beginning(path).partition(b"\n")[0]
    first = os.fsdecode(beginning(path).partition(b"\n")[0]).strip()
    return any(is_header([cell.strip('"') for cell in first.split(mark)]) for mark in ",;\t")


def list_splits(path: Path) -> list[str]:
    """The splits that a column of a list names; none where it has no such column."""
    try:
        rows = read_rows(_lines(path)).rows
    except UserError:  # whoever reads the list tells
        return []
    found = dict.fromkeys(split_of(row.split) for row in rows if row.split)
    return [split for split in ALIASES if split in found]


def lists_files(path: Path, root: Path) -> bool:
    """Whether the first rows of a text lead to pictures or clips below `root`, with their classes."""
    try:
        lines = _lines(path)[:_LOOKED_AT]
    except UserError:
        return False
    present = Present(root)
    rows = _without_frames(read_rows(lines).rows, present, WHOLE)
    prefix = _choose_prefix([row.path for row in rows if not _leaves(row.path)], present, WHOLE)
    there = [
        row
        for row in rows
        if (row.label or row.names is not None) and not _leaves(row.path) and _is_there(present, prefix + row.path)
    ]
    return len(there) > 1 and 2 * len(there) >= len(rows)


def names_classes(path: Path) -> bool:
    """Whether the first lines of a list hold more than paths."""
    lines = [line for line in beginning(path)[:_BEGINNING].splitlines() if not line.lstrip().startswith(b"#")]
    return any(len(line.replace(b",", b" ").split()) > 1 for line in lines)
