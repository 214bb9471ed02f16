"""The record inside a .tflite file, read without LiteRT; the numbers of fields are those of its schema (version 3)."""

from __future__ import annotations

from pathlib import Path

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord, parse_record
from phonecv.exporting.flatbuffer import Table, reading

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
    with reading(path, "metadata"):
        text = _metadata(content)
    return {} if text is None else parse_record(text, f"the record in {path}")


def _metadata(content: bytes) -> bytes | None:
    """The bytes that our entry of metadata names, or None without one."""
    model = Table.root(content)
    for entry in model.tables(_METADATA, _MOST_METADATA):
        if entry.vector(_NAME) != METADATA.encode():
            continue
        number = entry.number(_BUFFER, "<I")
        buffers = model.tables(_BUFFERS, number + 1)
        if number >= len(buffers):
            raise ValueError(f"there is no buffer {number}")
        return buffers[number].vector(_DATA) or b""
    return None
