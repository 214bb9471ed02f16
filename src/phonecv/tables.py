"""CSV files, written in one way and read back in one way.

Spreadsheets run a cell that begins with ``=``, ``+``, ``-`` or ``@``. Names of classes and files come from anywhere, so
such texts get an apostrophe in front, which spreadsheets take for "this is text"; `read_csv` takes it away again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from phonecv.errors import UserError
from phonecv.files import atomic_path
from phonecv.text import printable

#: Header, rows, and the numbers of the columns that hold figures.
Table = tuple[Sequence[str], list[tuple[Any, ...]], Sequence[int]]

#: What spreadsheets take for the beginning of a formula, the wide forms of East Asian keyboards included.
_FORMULA = re.compile(r"'*\s*[=+\-@＝＋－＠]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?|-inf")


def figure(value: float | None, digits: int) -> str:
    """A number with so many decimals; nothing for None."""
    return "" if value is None else f"{value:.{digits}f}"


def inert(cell: Any) -> Any:
    """A cell as it is written: texts on one line, valid UTF-8, and no formula."""
    if not isinstance(cell, Path | str):
        return cell
    text = printable(cell)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def original(cell: str) -> str:
    """The text behind a cell of `inert`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as text."""
    text = io.StringIO(newline="")
    _write(csv.writer(text, lineterminator="\n"), header, rows)
    return text.getvalue()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        _write(csv.writer(file), header, rows)


def _write(writer: Any, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer.writerow(header)
    writer.writerows([inert(cell) for cell in row] for row in rows)


def read_csv(path: Path) -> list[list[str]]:
    """The rows of a table, header first, empty ones left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [[original(cell) for cell in row] for row in csv.reader(file) if row]
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be read ({error.strerror or error})") from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{printable(path)} is no table in UTF-8 ({error})") from error
