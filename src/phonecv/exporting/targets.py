"""Where an export goes: what is a folder, what the file in it is called, and that one export at a time writes it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from phonecv.errors import UserError
from phonecv.exporting.formats import Exporter, exporter_for
from phonecv.files import locked


def is_folder(destination: Path | str) -> bool:
    """Whether files go into it, each under a name of its own.

    So it is with a folder that exists, a name that ends in a slash, and a name without a suffix; a name with the suffix
    of a format is that file, even where it is a folder, as Core ML packages are.
    """
    path = Path(destination)
    if exporter_for(path) is not None:
        return False
    return path.is_dir() or not path.suffix or os.fspath(destination).endswith(("/", os.sep))


def stem_of(model: object) -> str:
    """What files of a network are called: like its source, without the tag of its weights, or like the network."""
    # "name:tag" is a catalog name with its weights; a colon is no part of a file's name everywhere.
    given = isinstance(model, str | Path)
    stem = Path(str(model).partition(":")[0]).stem if given else (getattr(model, "name", "") or "model")
    return stem.replace(" ", "_")


def destination_of(model: object, destination: Path | str, exporter: Exporter) -> Path:
    """The main file to write."""
    path = Path(destination)
    if path.suffix.lower() != exporter.suffix and is_folder(destination):
        return path / f"{stem_of(model)}{exporter.suffix}"
    if path.suffix.lower() != exporter.suffix:
        raise UserError(f"{path} does not end in {exporter.suffix}; try {path.with_suffix(exporter.suffix)}")
    return path


@contextlib.contextmanager
def claimed(path: Path, *, replace: bool) -> Iterator[None]:
    """Hold a file while it is being written: of two exports to one target only one may say that it wrote it.

    Missing parent folders are made.

    Args:
        path: the main file.
        replace: whether it may be there.

    Raises:
        UserError: another export is writing it, or it is there and must not be.
        OSError: its folder takes no files.
    """
    folder = path.parent
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    held = path.with_name(f".{path.name}.writing")
    try:
        with _opened(held, path) as lock:
            _lock(lock, held, path)
            try:
                if not replace and path.exists():
                    raise UserError(f"{str(path)!r} exists already; it came up while this export was on its way")
                yield
            finally:
                held.unlink(missing_ok=True)
    finally:
        # Where nothing was written, nothing stays.
        with contextlib.suppress(OSError):
            for place in missing:
                place.rmdir()


def _opened(held: Path, path: Path) -> IO[str]:
    try:
        held.parent.mkdir(parents=True, exist_ok=True)
        return held.open("w")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _lock(lock: IO[str], held: Path, path: Path) -> None:
    try:
        # Goes with the process, however that ends.
        ours = locked(lock) and os.path.samestat(os.fstat(lock.fileno()), held.stat())
    except FileNotFoundError:
        ours = False
    if not ours:
        raise UserError(f"another export is writing {str(path)!r}; wait for it, or choose another name")
