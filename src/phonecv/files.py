"""Writing files so that nothing is ever half written under its final name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from phonecv.errors import UserError

T = TypeVar("T")

#: What a write ends with where a disk, a quota or a limit on files is reached.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: Appended to a file whose writer failed, to learn whether it was for want of room.
_PROBE = 1 << 20


def cache_dir() -> Path:
    """Folder of what can be had again: ``PHONECV_CACHE``, or ``phonecv`` in the person's cache folder."""
    chosen = os.environ.get("PHONECV_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "phonecv"


def relative_name(path: Path, folder: Path) -> str:
    """A file's path below a folder, with "/"; its whole path where it lies elsewhere."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


class NoRoom(UserError):
    """A file could not be written whole: the disk, a quota or a limit is reached."""


@contextmanager
def atomic_path(destination: Path | str, *, needs: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `destination`; rename it there on success, remove it on failure.

    The temporary name keeps the suffix, because some writers choose their format by it, and has the number of this
    process, so that what a killed one left can be told (`left_behind`). Missing parent folders are made. `needs` is
    how many bytes will be written, for the message where there is no room for them.

    Raises:
        NoRoom: there is no room for it.
        OSError: it cannot be written there; names `destination`, not the temporary path.
    """
    destination = Path(destination)
    with named(destination, needs=needs):
        handle, name = _beside(destination, tempfile.mkstemp, suffix=destination.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            try:
                yield temporary
            except Exception as error:
                # Writers in other languages say in their own words that a disk is full.
                if not isinstance(error, OSError | UserError) and (full := _full(temporary)):
                    raise full from error
                if isinstance(error, OSError) and error.filename == name:
                    raise OSError(error.errno, error.strerror, str(destination)) from error
                raise
            # mkstemp makes private files, and so do some writers; a result is as readable as any other of the person.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            # Without this a power cut after the rename can leave an empty file under the final name.
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(destination)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder(destination: Path | str) -> Iterator[Path]:
    """A folder beside `destination` to make it in; removed afterwards, and never named to the person.

    Missing parent folders are made.

    Raises:
        NoRoom: there is no room for what is written there.
        OSError: nothing can be written there; names `destination`.
    """
    destination = Path(destination)
    with named(destination):
        name = _beside(destination, tempfile.mkdtemp)
        try:
            yield Path(name)
        except OSError as error:
            if str(error.filename).startswith(name):
                raise OSError(error.errno, error.strerror, str(destination)) from error
            raise
        finally:
            shutil.rmtree(name, ignore_errors=True)


def locked(file: IO[Any]) -> bool:
    """Whether this process has an open file for itself, until it is closed; always where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_writable(destination: Path) -> None:
    """Check, before any work, that a file or folder could be written."""
    parent = next(parent for parent in destination.absolute().parents if os.path.lexists(parent))
    if not parent.is_dir():
        raise UserError(f"{destination} cannot be written: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"{destination} cannot be written: no permission to write to {parent}")


@contextmanager
def named(path: Path, *, needs: int = 0) -> Iterator[None]:
    """Let an error of the file system within name `path`, where it names no other file."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            wanted = f"; it needs about {needs / 2**20:.1f} MiB" if needs else ""
            what = (error.strerror or str(error)).lower()
            raise NoRoom(f"{path} could not be written: {what}{wanted}, {_free(path)} MiB are free") from error
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _beside(destination: Path, make: Callable[..., T], **more: str) -> T:
    """What `tempfile` makes beside `destination`; an error names that, not the name that was made up."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        return make(dir=destination.parent, prefix=f".{destination.stem[:40]}-{os.getpid()}-", **more)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(destination)) from error


def _full(path: Path) -> OSError | None:
    """What the file system says to one more MiB in the file, where it refuses it."""
    try:
        with path.open("ab") as file:
            file.write(bytes(_PROBE))
    except OSError as error:
        return error if error.errno in _FULL else None
    return None


def _free(path: Path) -> str:
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    return f"{shutil.disk_usage(folder).free / 2**20:.1f}"


def left_behind(folder: Path, stems: Iterable[str]) -> list[Path]:
    """Temporary files of `atomic_path` in a folder whose processes are gone.

    `stems` are beginnings of the names that they were meant to get; the last "*" stands for any ending.
    """
    wanted = re.compile(
        r"\.(?:"
        + "|".join(re.escape(stem).replace(r"\*", ".*") for stem in stems)
        + r")-(?:(\d+)-)?[a-z0-9_]{8}(?:\.\w+)?"
    )
    found = []
    for path in folder.iterdir():
        match = wanted.fullmatch(path.name)
        if match and path.is_file() and not (match[1] and _alive(int(match[1]))):
            found.append(path)
    return found


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def write_text(destination: Path | str, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(destination) as path:
        path.write_text(text, encoding="utf-8")


def write_json(destination: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(destination, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_lines(destination: Path | str, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON list with each entry on a line of its own: small, and still to be read by people."""
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    write_text(destination, f"[\n{lines}\n]\n")


def digest(*parts: Any) -> str:
    """Of bytes and arrays, one after the other; their lengths count, too."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        view = memoryview(part)
        found.update(b"%d," % view.nbytes)
        found.update(view)
    return found.hexdigest()


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
