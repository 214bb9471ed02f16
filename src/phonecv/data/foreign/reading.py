"""The text, CSV and XML of files of unknown origin."""

from __future__ import annotations

import codecs
import csv
import io
import re
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from phonecv.errors import UserError
from phonecv.text import printable

#: Larger files of text are refused before they are read, and XML that is nested deeper than any tool writes it.
MAX_TEXT, _MAX_DEPTH = 256 << 20, 64

_DECLARED = re.compile(rb"""\A\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_DECLARATION = re.compile(r"\A\s*<\?xml.*?\?>", re.S)
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class FileError(UserError):
    """A file that can't be used; `reason` leaves out its name."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.reason = reason


def read_bytes(path: Path) -> bytes:
    """The content of a file of text."""
    try:
        size = path.stat().st_size
        if size > MAX_TEXT:
            raise FileError(path, f"{size >> 20} MiB; at most {MAX_TEXT >> 20} MiB of text are read")
        return path.read_bytes()
    except OSError as error:
        raise FileError(path, f"can't be read ({error.strerror or error})") from error


def read_text(path: Path) -> str:
    """Text in UTF-8 or UTF-16, with or without a byte-order mark."""
    return _decoded(read_bytes(path), path, "utf-8")


def _decoded(data: bytes, path: Path, encoding: str) -> str:
    for mark, marked in _MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], marked
            break
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        where = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
        raise FileError(path, f"not {printable(encoding).upper()} text{where}; save it as UTF-8") from error


def read_table(path: Path) -> list[list[str]]:
    """The rows of a CSV file with cells between commas, semicolons or tabs; empty rows are empty lists.

    The separator is the one of the three that the first line has most of.
    """
    text = read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        return [[cell.strip() for cell in row] if any(map(str.strip, row)) else [] for row in rows]
    except csv.Error as error:
        raise FileError(path, f"not CSV ({error})") from error


def read_xml(path: Path) -> Element:
    """The root of an XML file. Entities are refused, and with them everything that grows or leads out of the file."""
    data = read_bytes(path)
    declared = _DECLARED.search(data)
    text = _decoded(data, path, declared[1].decode("ascii") if declared else "utf-8")
    builder, depth = TreeBuilder(), 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise FileError(path, f"elements within elements, more than {_MAX_DEPTH} deep; no tool writes that")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(name: str, *_: object) -> None:
        raise FileError(
            path, f"declares the entity {printable(str(name))[:40]!r}; annotations need none, so it is not read"
        )

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = parser.SkippedEntityHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(_DECLARATION.sub("", text, count=1).encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        raise FileError(path, f"not XML ({message}, line {error.lineno}, column {error.offset + 1})") from error
    return builder.close()
