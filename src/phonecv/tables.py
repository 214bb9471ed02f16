"""Tables: aligned for a terminal, and CSV files, written in one way and read back in one way.

Spreadsheets run a cell that begins with ``=``, ``+``, ``-`` or ``@``. Names of classes and files come from anywhere, so
such texts get an apostrophe in front, which spreadsheets take for "this is text"; `read_csv` takes it away again.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from phonecv.errors import UserError
from phonecv.files import atomic_path
from phonecv.text import printable, shortened

#: Header, rows, and the numbers of the columns that hold figures.
Table = tuple[Sequence[str], list[tuple[Any, ...]], Sequence[int]]

#: What spreadsheets take for the beginning of a formula, the wide forms of East Asian keyboards included.
_FORMULA = re.compile(r"'*\s*[=+\-@＝＋－＠]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?|-inf")


#: What people call a figure that a run is judged by, with its unit.
FIGURES = {
    "top1": "top-1 accuracy, %",
    "map": "mean average precision, %",
    "ap": "average precision (AP), %",
    "ap50": "AP at IoU 0.5, %",
    "mask_ap": "AP of masks, %",
    "miou": "mean IoU, %",
    "db": "noise told from picture, dB",
    "lr": "learning rate",
}

#: Whose figure it is, by the beginning of a column of metrics.csv.
NETS = {"net": "trained weights", "val": "trained weights", "ema": "averaged weights"}

#: Characters of a cell that a terminal is shown.
LONGEST_CELL = 200


def figure(value: float | None, digits: int) -> str:
    """A number with so many decimals; nothing for one that is not defined, None or not a number."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


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


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """Columns separated by two blanks; the column numbers in `right` are right-aligned.

    Unlike a drawn table it is never cut to the width of a terminal, so it can be piped.
    """
    cells = [[printable_cell("" if value is None else value) for value in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def fields(pairs: Sequence[tuple[str, object]]) -> str:
    """Aligned ``name  value`` lines; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value is not None and value != ""]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {on_one_line(str(value))}" for name, value in shown)


def printable_cell(text: object) -> str:
    """Text on one line and not too long: a line break within a name must not forge a row, nor a name fill pages."""
    return on_one_line(shortened(str(text), LONGEST_CELL))


def on_one_line(text: str) -> str:
    """Printable text with blanks for its line breaks."""
    return printable(" ".join(text.split("\n")))
