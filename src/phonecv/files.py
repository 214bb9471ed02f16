"""Writing files so that nothing is ever half written under its final name."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(destination: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `destination`; rename it there on success, remove it on failure.

    The temporary name keeps the suffix, because some writers choose their format by it. Missing
    parent folders are made.
    """
    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=destination.parent, prefix=f".{destination.stem[:40]}-", suffix=destination.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files, and so do some writers; a result is as readable as any other file of the person.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        # Without this a power cut after the rename can leave an empty file under the final name.
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(destination: Path | str, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(destination) as path:
        path.write_text(text, encoding="utf-8")


def write_json(destination: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(destination, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
