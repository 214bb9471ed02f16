"""Reading a JSON file of unknown origin: its content, or one clear message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phonecv.errors import UserError
from phonecv.text import printable

#: Larger files are refused before they are read. The instances of COCO take 0.5 GB.
MAX_BYTES = 4 << 30

#: Takes an object and gives what stands for it.
Hook = Callable[[dict[str, Any]], Any]


def read_json_file(path: Path, hook: Hook | None = None) -> Any:
    """The content of a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    NaN, Infinity and numbers beyond the range of floats are let through as floats; whoever uses a value checks it. A
    key that is given twice in one object is refused: one of the two would be lost without a word.

    Args:
        path: the file.
        hook: called for every object as soon as it is complete, so that large files can be made small while they are
            read.

    Raises:
        UserError: the file can't be read or is not JSON.
    """
    name = printable(path)
    try:
        if not path.is_file():
            raise UserError(f"{name}: {'not a file' if path.exists() else 'no such file'}")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{name}: {size / 2**30:.1f} GiB; at most {MAX_BYTES >> 30} GiB are read")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: can't be read ({error.strerror or error})") from error
    return parse_json(data, name, hook)


def parse_json(data: bytes, name: str, hook: Hook | None = None) -> Any:
    """The same of bytes that were read already; `name` is of their file, for messages."""

    def keep(pairs: list[tuple[str, Any]]) -> Any:
        record = dict(pairs)
        if len(record) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in record if keys.count(key) > 1)
            raise UserError(f"{name}: the key {twice!r} is given twice in one object; keep one of them")
        return hook(record) if hook else record

    if not data:
        raise UserError(f"{name}: empty file; JSON is expected")
    if data.startswith(b"version https://git-lfs"):
        raise UserError(f"{name}: a git-lfs pointer, not the file itself; run `git lfs pull`")
    encoding = json.detect_encoding(data)  # by byte-order mark or by the zeros that wider letters have
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        near = printable(data[max(0, error.start - 12) : error.start + 12].decode("latin-1").strip())
        raise UserError(
            f"{name}: not {encoding.removesuffix('-sig').upper()} text (byte {error.start}, in Latin-1 near {near!r});"
            " save the file as UTF-8, for example with `iconv -f latin1 -t utf-8 OLD > NEW`"
        ) from error
    del data
    try:
        return json.loads(text, object_pairs_hook=keep)
    except RecursionError as error:
        raise UserError(f"{name}: brackets nested too deeply; this is no data set") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{name}: not JSON ({error.msg}, {place})") from error
    except ValueError as error:  # Python refuses whole numbers of thousands of digits
        raise UserError(f"{name}: holds a number that can't be read ({error})") from error


def whole(value: Any) -> int | None:
    """`value` as a whole number of 64 bits, also from text such as "12" and from 12.0; None if it is not one."""
    if isinstance(value, str):
        digits = value.removeprefix("-")
        # Longer ones can't fit, and Python takes its time over very long ones.
        value = int(value) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
    elif isinstance(value, float):
        value = int(value) if value.is_integer() else None
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -(2**63) <= value < 2**63 else None


def shown(value: Any, most: int = 60) -> str:
    """`value` for a message, on one line and not too long."""
    text = printable(repr(value) if not isinstance(value, list) or len(value) < 16 else f"a list of {len(value)}")
    return text if len(text) <= most else text[: most - 3] + "..."


def no_id(record: Any) -> str:
    """What is wrong with the id of a record."""
    if not isinstance(record, dict):
        return f"is {shown(record)}, not an object"
    if "id" not in record:
        return "has no id"
    return f"id {shown(record['id'])} is not a whole number of 64 bits"
