"""The list of classes of a data set: what a label's number means, and which folder belongs to it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phonecv.errors import UserError
from phonecv.text import printable, quoted

#: The file beside the splits that names the classes.
CLASS_FILE = "classes.txt"

_WORDNET_ID = re.compile(r"n\d{8}")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
#: What stands between the number of a class and its name: blanks, or one of these marks.
AFTER_NUMBER = re.compile(r"[ \t]*[:=,;][ \t]*|[ \t]+")
_DIGITS = re.compile(r"([0-9]+)")
_FROM_ONE = " (if they count from 1: count them, and the labels of lists, from 0)"
#: What ends a line of a text file. `str.splitlines` also breaks at form feeds and at Unicode separators, which names
#: may hold.
_LINE_END = re.compile(r"\r\n|\n|\r")


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sorts names as people count: class 2 before class 10. Names without digits sort by their letters' numbers."""
    parts = _DIGITS.split(name)
    # By the number's length first, for no number is too long then; every second part holds digits.
    key: list[str | int] = []
    for place, part in enumerate(parts):
        digits = part.lstrip("0") if place % 2 else ""
        key += [len(digits), digits] if place % 2 else [part]
    return tuple(key), name


def name_key(name: str) -> str:
    """Equal for names that people take for the same one.

    Letter case, "_" for a blank, blanks at the ends, the two ways in which Unicode writes accents (macOS writes the
    other one) and invisible marks don't count.
    """
    text = unicodedata.normalize("NFC", name.replace("_", " "))
    seen = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFC", seen.casefold()).split())


def clean_name(name: str) -> str:
    """The name of a class whose folder is called `name`: no blanks at the ends, accents in one way."""
    return unicodedata.normalize("NFC", name).strip() or name


def text_lines(text: str) -> list[tuple[int, str]]:
    """Numbered lines, without blanks and tabs at their ends, without empty ones and comments (``#``)."""
    lines = ((number, line.strip(" \t")) for number, line in enumerate(_LINE_END.split(text), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


@dataclass(frozen=True)
class ClassList:
    """Classes in label order: what a person reads, and what folders are called (WordNet ids for ImageNet)."""

    names: tuple[str, ...]
    ids: tuple[str, ...]
    _labels: dict[str, int] = field(init=False, repr=False, compare=False)
    _alike: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_labels", self._table(str))
        object.__setattr__(self, "_alike", self._table(name_key))

    def _table(self, key: Callable[[str], str]) -> dict[str, int]:
        # Two ImageNet classes are called "crane": a name that several classes share can't tell a folder's class.
        labels: dict[str, int] = {}
        for words in (self.names, self.ids):
            keys = [key(word) for word in words]
            count = Counter(keys)
            labels |= {word: label for label, word in enumerate(keys) if count[word] == 1}
        return labels

    def __len__(self) -> int:
        return len(self.names)

    def label(self, folder: str) -> int | None:
        """The label of the class whose id or name is `folder`, or else looks like it (`name_key`)."""
        found = self._labels.get(folder)
        return self._alike.get(name_key(folder)) if found is None else found

    def exactly(self, folder: str) -> bool:
        """Whether a class has just this id or name."""
        return folder in self._labels

    @classmethod
    def plain(cls, names: Sequence[str]) -> ClassList:
        """Classes whose folders are called as the classes are."""
        return cls(tuple(names), tuple(names))

    @classmethod
    def of_folders(cls, folders: Sequence[str], where: Path) -> ClassList:
        """Classes from the names of their folders, in natural order."""
        ids = sorted(folders, key=natural_key)
        if twins := look_alikes(ids):
            first, second = twins[0]
            raise UserError(
                f"{printable(where)}: the folders {quoted(first)} and {quoted(second)} look like one class"
                f" ({how_unlike(first, second)}); move the pictures of one into the other, or name both in {CLASS_FILE}"
            )
        return cls(tuple(clean_name(name) for name in ids), tuple(ids))


def look_alikes(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of different names that people take for the same one."""
    first: dict[str, str] = {}
    return [(twin, name) for name in names if (twin := first.setdefault(name_key(name), name)) != name]


def how_unlike(one: str, other: str) -> str:
    """In what two names differ that people take for the same one."""
    composed = [unicodedata.normalize("NFC", name) for name in (one, other)]
    if composed[0] == composed[1]:
        return "the accents are written in two ways, NFC and NFD"
    if composed[0].casefold() == composed[1].casefold():
        return "letter case"
    if composed[0].strip() == composed[1].strip():
        return "blanks at the ends"
    return "blanks, letter case or invisible marks"


def same_name(name: str) -> str:
    """What names have in common that a person takes for the same: no capitals, no blanks around, accents composed."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def class_lines(path: Path) -> list[tuple[int, str]]:
    """The numbered lines of a list of classes, see `text_lines`."""
    try:
        lines = text_lines(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{printable(path)}: not UTF-8 text (byte {error.start}); save the class list as UTF-8"
        ) from error
    except OSError as error:
        raise UserError(f"{printable(path)}: can't be read ({error.strerror})") from error
    if not lines:
        raise UserError(f"{printable(path)}: no classes in this file; write one class name a line")
    return lines


def read_class_file(path: Path | str) -> ClassList:
    """Classes from a text file with one class a line.

    A line is ``name``, ``index name``, ``wnid name`` or ``index wnid name`` (a WordNet id is ``n`` and eight digits),
    separated by blanks or tabs; behind an index may stand ``:``, ``=``, ``,`` or ``;``. Indices have to be 0, 1, 2,
    ... in any order. With three columns separated by tabs any text may stand for the WordNet id. Empty lines and lines
    that start with ``#`` do not count.

    Raises:
        UserError: with the number of the line.
    """
    path = Path(path)
    lines = class_lines(path)
    indexed = all(_WHOLE_NUMBER.fullmatch(AFTER_NUMBER.split(line, maxsplit=1)[0]) for _, line in lines)
    # Ten classes called "0" to "9" are names without an index, unless a second column follows.
    indexed = indexed and any(AFTER_NUMBER.search(line) for _, line in lines)
    rows = [
        (number, AFTER_NUMBER.split(line, maxsplit=1) if indexed else [str(row), line])
        for row, (number, line) in enumerate(lines)
    ]

    names: dict[int, tuple[str, str]] = {}
    for number, columns in rows:
        index, rest = int(columns[0]), columns[-1]
        if index in names:
            raise UserError(f"{printable(path)}:{number}: index {index} is given twice")
        if index >= len(rows):
            raise UserError(
                f"{printable(path)}:{number}: index {index} of {len(rows)} classes; the indices have to be"
                f" 0 to {len(rows) - 1}, each once{_FROM_ONE if index == len(rows) else ''}"
            )
        names[index] = _split_id(rest)
    ordered = [names[index] for index in range(len(rows))]
    return ClassList(tuple(name for _, name in ordered), tuple(class_id for class_id, _ in ordered))


def _split_id(text: str) -> tuple[str, str]:
    """Id and name from ``wnid name`` or from ``id<tab>name``; else the text is both."""
    for separator in ("\t", " "):
        first, _, rest = text.partition(separator)
        if rest.strip(" \t") and (separator == "\t" or _WORDNET_ID.fullmatch(first)):
            return first.strip(" \t"), rest.strip(" \t")
    return text, text
