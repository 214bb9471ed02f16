"""Printing: tables, numbers people read, names that cannot break a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from phonecv.exporting.where.finding import HEADER, rows, sources
from phonecv.tables import Table, on_one_line, text_table
from phonecv.text import printable as printable_line


def printable(text: object) -> str:
    """Text whose control characters and undecodable bytes are escaped line by line.

    A file name may hold any byte: printed raw, an escape sequence drives the terminal.
    """
    return "\n".join(map(printable_line, str(text).split("\n")))


def say(text: object = "") -> None:
    """Print one line, or several, with `printable`."""
    print(printable(text))


def say_json(value: Any) -> None:
    """Print a value as indented JSON, ASCII only so that any terminal and any file name will do."""
    print(json.dumps(value, indent=2, default=str))


def say_found(plain: Callable[[], Any], *lines: object, json: bool) -> None:
    """Print what a verb has found: as JSON, or in lines for people; None is no line."""
    if json:
        say_json(plain())
        return
    for line in lines:
        if line is not None:
            say(line)


def say_line(value: Any) -> None:
    """Print a value as JSON on one line, at once, so that a stream can be followed by another program."""
    print(json.dumps(value), flush=True)


def progress(what: str) -> Callable[[int, int], None] | None:
    """A counter on one line of stderr, called with (done, all); None where stderr is no terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        sys.stderr.write(f"\r{what} {done}/{total}" + ("\n" if done >= total else ""))
        sys.stderr.flush()

    return show


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """The same table for a Markdown page, which wraps long cells by itself."""
    lines = [header, ["---:" if i in right else "---" for i in range(len(header))], *rows]
    cells = [["" if value is None else on_one_line(str(value)).replace("|", "\\|") for value in row] for row in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def say_table(table: Table, *, json: bool = False, markdown: bool = False) -> None:
    """Print a table aligned, as JSON, or for a Markdown page."""
    header, rows, right = table
    if json:
        say_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        say((markdown_table if markdown else text_table)(header, rows, right=right))


def say_places(found: Sequence[Mapping[str, Any]]) -> None:
    """Print where a file will run, see `phonecv.exporting.where`."""
    if not found:
        return
    say(f"\n{text_table(HEADER, rows(found))}")
    for number, source in enumerate(sources(found), 1):
        say(f"{number}: {source}")
    for place in found:
        if "note" in place:
            say(f"{place['title']}: {place['note']}")
    say()


def millions(count: int | float | None) -> str:
    """``5126440`` -> ``5.13 M``; an empty string for None."""
    return "" if count is None else f"{count / 1e6:.2f} M"
