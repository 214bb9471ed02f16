"""The record inside a .tflite file, read without LiteRT: whoever offers or describes a file need not run it.

The file is a FlatBuffer: tables whose fields are found through a table of offsets before them. The numbers of the
fields are those of LiteRT's schema (version 3).
"""

from __future__ import annotations

import struct
from pathlib import Path

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord, parse_record

#: Name of the metadata that holds the record.
METADATA = "phonecv.record"
#: Entries of metadata that are looked at; converters write a handful, a damaged file may speak of billions.
_MOST_METADATA = 64
#: Fields of the tables Model, Metadata and Buffer.
_BUFFERS, _METADATA, _NAME, _BUFFER, _DATA = 4, 6, 0, 1, 0


def record_within(path: Path) -> FileRecord:
    """The record inside a file; empty if it has none."""
    return record_in(read_content(path), path)


def read_content(path: Path) -> bytes:
    """The bytes of a file that begins as LiteRT's do."""
    content = path.read_bytes()
    if len(content) < 64 or content[4:8] != b"TFL3":
        raise UserError(f"{path} is not a LiteRT file: it does not start as one")
    return content


def record_in(content: bytes, path: Path) -> FileRecord:
    """The record in the bytes of a file; empty if there is none.

    Args:
        content: from `read_content`.
        path: for messages.
    """
    try:
        text = _metadata(content)
    except (struct.error, ValueError) as error:
        raise UserError(f"{path} is damaged: its metadata cannot be read ({type(error).__name__})") from error
    return {} if text is None else parse_record(text, f"the record in {path}")


def _metadata(content: bytes) -> bytes | None:
    """The bytes that our entry of metadata names, or None without one."""
    model = _target(content, 0)
    for entry in _tables(content, _field(content, model, _METADATA), _MOST_METADATA):
        name = _field(content, entry, _NAME)
        if name is None or _vector(content, name) != METADATA.encode():
            continue
        place = _field(content, entry, _BUFFER)
        number = 0 if place is None else _number(content, "<I", place)
        buffers = _tables(content, _field(content, model, _BUFFERS), number + 1)
        if number >= len(buffers):
            raise ValueError(f"there is no buffer {number}")
        data = _field(content, buffers[number], _DATA)
        return b"" if data is None else _vector(content, data)
    return None


def _number(content: bytes, kind: str, place: int) -> int:
    if place < 0:
        raise ValueError("an offset leads out of the file")
    return struct.unpack_from(kind, content, place)[0]


def _target(content: bytes, place: int) -> int:
    """Where an offset leads."""
    return place + _number(content, "<I", place)


def _field(content: bytes, table: int, field: int) -> int | None:
    """Where a field of a table lies; None if the table does not have it."""
    offsets = table - _number(content, "<i", table)
    if 4 + 2 * field >= _number(content, "<H", offsets):
        return None
    return table + found if (found := _number(content, "<H", offsets + 4 + 2 * field)) else None


def _vector(content: bytes, place: int) -> bytes:
    """The bytes of a vector or text that an offset leads to."""
    start = _target(content, place) + 4
    count = _number(content, "<I", start - 4)
    if start + count > len(content):
        raise ValueError("a vector ends behind the file")
    return content[start : start + count]


def _tables(content: bytes, place: int | None, most: int) -> list[int]:
    """The first tables of a vector of them."""
    if place is None:
        return []
    start = _target(content, place) + 4
    count = min(_number(content, "<I", start - 4), most, (len(content) - start) // 4)
    return [_target(content, start + 4 * number) for number in range(count)]
