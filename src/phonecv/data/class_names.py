"""The list of classes of a data set: what a label's number means, and which folder belongs to it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phonecv.data.images import printable
from phonecv.errors import UserError

#: The file beside the splits that names the classes.
CLASS_FILE = "classes.txt"

_WORDNET_ID = re.compile(r"n\d{8}")
_WHOLE_NUMBER = re.compile(r"\d{1,9}")


@dataclass(frozen=True)
class ClassList:
    """Classes in label order.

    Attributes:
        names: what a person reads.
        ids: what folders are called (WordNet ids for ImageNet); often the same as the names.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    _labels: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Two ImageNet classes are called "crane": a name that several classes share can't tell a folder's class.
        labels: dict[str, int] = {}
        for words in (self.names, self.ids):
            count = Counter(words)
            labels |= {word: label for label, word in enumerate(words) if count[word] == 1}
        object.__setattr__(self, "_labels", labels)

    def __len__(self) -> int:
        return len(self.names)

    def label(self, folder: str) -> int | None:
        """The label of the class whose id or name is `folder`."""
        return self._labels.get(folder)

    @classmethod
    def plain(cls, names: Sequence[str]) -> ClassList:
        """Classes whose folders are called as the classes are."""
        return cls(tuple(names), tuple(names))


def read_class_file(path: Path | str) -> ClassList:
    """Classes from a text file with one class a line.

    A line is ``name``, ``index name``, ``wnid name`` or ``index wnid name`` (a WordNet id is ``n`` and eight digits),
    separated by blanks or tabs. Indices have to be 0, 1, 2, ... in any order. With three columns separated by tabs any
    text may stand for the WordNet id. Empty lines and lines that start with ``#`` do not count.

    Raises:
        UserError: with the number of the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{printable(path)}: not UTF-8 text (byte {error.start}); save the class list as UTF-8"
        ) from error
    except OSError as error:
        raise UserError(f"{printable(path)}: can't be read ({error.strerror})") from error
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise UserError(f"{printable(path)}: no classes in this file; write one class name a line")

    indexed = all(_WHOLE_NUMBER.fullmatch(line.split(None, 1)[0]) for _, line in lines)
    # Ten classes called "0" to "9" are names without an index, unless a second column follows.
    indexed = indexed and any(len(line.split(None, 1)) > 1 for _, line in lines)
    rows = [(number, line.split(None, 1) if indexed else [str(row), line]) for row, (number, line) in enumerate(lines)]

    names: dict[int, tuple[str, str]] = {}
    for number, columns in rows:
        index, rest = int(columns[0]), columns[-1].strip()
        if index in names:
            raise UserError(f"{printable(path)}:{number}: index {index} is given twice")
        if index >= len(rows):
            raise UserError(
                f"{printable(path)}:{number}: index {index} of {len(rows)} classes; the indices have to be"
                f" 0 to {len(rows) - 1}, each once"
            )
        names[index] = _split_id(rest)
    ordered = [names[index] for index in range(len(rows))]
    return ClassList(tuple(name for _, name in ordered), tuple(class_id for class_id, _ in ordered))


def _split_id(text: str) -> tuple[str, str]:
    """Id and name from ``wnid name`` or from ``id<tab>name``; else the text is both."""
    for separator in ("\t", None):
        columns = text.split(separator, 1)
        if len(columns) == 2 and (separator == "\t" or _WORDNET_ID.fullmatch(columns[0])):
            return columns[0].strip(), columns[1].strip()
    return text, text
