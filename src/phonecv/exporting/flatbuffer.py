"""FlatBuffers, as LiteRT's and ExecuTorch's files are: whoever describes a file need not have what runs it.

A table's fields are found through a table of offsets before it; the numbers of the fields are those of the schema. What
is damaged raises `ValueError`, `IndexError` or `struct.error`, see `reading`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from phonecv.errors import UserError


@dataclass(frozen=True, slots=True)
class Table:
    """A table in the bytes of a file, and where it lies."""

    content: bytes
    place: int

    @classmethod
    def root(cls, content: bytes) -> Table:
        """The table that a file begins with."""
        return cls(content, _target(content, 0))

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A number; `kind` as `struct` has it ("<I"). Where the table lacks the field it has its default."""
        place = self._field(field)
        return default if place is None else _number(self.content, kind, place)

    def table(self, field: int) -> Table | None:
        """Another table, None if the table lacks the field."""
        place = self._field(field)
        return None if place is None else Table(self.content, _target(self.content, place))

    def tables(self, field: int, most: int) -> list[Table]:
        """The first tables of a vector of them."""
        place = self._field(field)
        if place is None:
            return []
        start = _target(self.content, place) + 4
        count = min(_number(self.content, "<I", start - 4), most, (len(self.content) - start) // 4)
        return [Table(self.content, _target(self.content, start + 4 * number)) for number in range(count)]

    def vector(self, field: int, size: int = 1) -> bytes | None:
        """The bytes of a vector or text, `size` of them for each element; None if the table lacks the field."""
        place = self._field(field)
        if place is None:
            return None
        start = _target(self.content, place) + 4
        count = size * _number(self.content, "<I", start - 4)
        if start + count > len(self.content):
            raise ValueError("a vector ends behind the file")
        return self.content[start : start + count]

    def numbers(self, field: int) -> tuple[int, ...] | None:
        """A vector of 32-bit numbers; None if the table lacks the field."""
        found = self.vector(field, 4)
        return None if found is None else struct.unpack(f"<{len(found) // 4}i", found)

    def text(self, field: int) -> str:
        """A text; empty if the table lacks the field."""
        return (self.vector(field) or b"").decode("utf-8", "replace")

    def _field(self, field: int) -> int | None:
        """Where a field lies; None if the table does not have it."""
        offsets = self.place - _number(self.content, "<i", self.place)
        if 4 + 2 * field >= _number(self.content, "<H", offsets):
            return None
        found = _number(self.content, "<H", offsets + 4 + 2 * field)
        return self.place + found if found else None


def _number(content: bytes, kind: str, place: int) -> int:
    if place < 0:
        raise ValueError("an offset leads out of the file")
    return struct.unpack_from(kind, content, place)[0]


def _target(content: bytes, place: int) -> int:
    """Where an offset leads."""
    return place + _number(content, "<I", place)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Say of a file that is damaged that it is; `what` of it was to be read."""
    try:
        yield
    except (struct.error, ValueError, IndexError) as error:
        raise UserError(f"{path} is damaged: its {what} cannot be read ({type(error).__name__})") from error
