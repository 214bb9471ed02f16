"""What is in a shard, and where: a path like ``train-0000.tar/cat/1.jpg`` is a file as any other.

An index of each tar file is built once and kept in the cache folder. WebDataset's own reading is a stream: samples come
in the order of the files, shuffled within a buffer, so a training that goes on would begin elsewhere, and processes
share whole shards, so an evaluation counts some samples twice or not at all. With an index any sample is one read away.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from phonecv.data.loading.byte_table import ByteTable
from phonecv.errors import UserError
from phonecv.files import atomic_path, cache_dir
from phonecv.text import printable, printable_name

SUFFIX = ".tar"
#: Members of a shard, bytes of one, and of a text that holds a label.
_MOST, _LARGEST, LONGEST_TEXT = 20_000_000, 1 << 30, 1 << 16
#: Part of the name of an index: another one for another way to write it.
_VERSION = 1


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The members of a shard, in its order.

    Attributes:
        names: of the members, bytes.
        offsets: N int64, where their content begins.
        sizes: N int64, bytes.
    """

    names: ByteTable
    offsets: np.ndarray
    sizes: np.ndarray

    def __post_init__(self) -> None:
        keys = np.array([_key(self.names[place]) for place in range(len(self.names))], dtype=np.uint64)
        object.__setattr__(self, "_order", keys.argsort())
        object.__setattr__(self, "_keys", keys[self._order])

    _order: np.ndarray = None  # type: ignore[assignment]
    _keys: np.ndarray = None  # type: ignore[assignment]

    def find(self, name: bytes) -> int | None:
        """The place of a member; None if there is none of this name."""
        place = int(self._keys.searchsorted(np.uint64(_key(name))))
        for row in self._order[place : place + 2].tolist():  # two names of one key are as good as impossible
            if self.names[row] == name:
                return row
        return None


def shard_of(path: Path) -> tuple[Path, str] | None:
    """The shard that a path leads into, and the name of the member; None for the path of a file of its own."""
    text = os.fspath(path)
    at = text.find(SUFFIX + os.sep)
    while at >= 0:
        end = at + len(SUFFIX)
        if os.path.isfile(text[:end]):  # noqa: PTH113 - asked for every picture
            return Path(text[:end]), text[end + 1 :].replace(os.sep, "/")
        at = text.find(SUFFIX + os.sep, end)
    return None


def source_of(path: Path) -> Path | io.BytesIO:
    """What a file's content is read from: itself, or the bytes of a member of a shard.

    Raises:
        OSError: there is no such member, or the shard can't be read.
    """
    found = shard_of(path)
    if found is None:
        return path
    index, place = _place(*found)
    return io.BytesIO(read_at(found[0], int(index.offsets[place]), int(index.sizes[place])))


def read_source(path: Path, most: int = -1) -> bytes:
    """The content of a file or of a member of a shard, or its first bytes."""
    source = source_of(path)
    if isinstance(source, io.BytesIO):
        return source.read(most)
    with source.open("rb") as file:
        return file.read(most)


def size_of(path: Path) -> int:
    """Bytes of a file or of a member of a shard."""
    found = shard_of(path)
    if found is None:
        return path.stat().st_size
    index, place = _place(*found)
    return int(index.sizes[place])


def is_there(path: Path) -> bool:
    """Whether there is a file or a member of a shard."""
    found = shard_of(path)
    if found is None:
        return os.path.isfile(path)  # noqa: PTH113 - False for names that are too long
    return open_index(found[0]).find(os.fsencode(found[1])) is not None


def read_at(shard: Path, offset: int, size: int) -> bytes:
    """So many bytes of a shard."""
    with shard.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(size)


def _place(shard: Path, name: str) -> tuple[ShardIndex, int]:
    index = open_index(shard)
    place = index.find(os.fsencode(name))
    if place is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{shard}/{name}")
    return index, place


def open_index(shard: Path) -> ShardIndex:
    """The index of a shard, built where there is none yet.

    Raises:
        UserError: the file is no plain tar file, or holds what no shard has: links, paths that lead out of it, a name
            twice, a member of more than a GiB.
    """
    status = shard.stat()
    return _index(os.path.abspath(shard), status.st_size, status.st_mtime_ns)  # noqa: PTH100


@lru_cache(maxsize=4096)
def _index(shard: str, size: int, changed: int) -> ShardIndex:
    about = f"{_VERSION}\0{shard}\0{size}\0{changed}".encode("utf-8", "surrogateescape")
    kept = cache_dir() / "shards" / f"{hashlib.blake2b(about, digest_size=16).hexdigest()}.npz"
    with suppress(OSError, ValueError, KeyError), np.load(kept) as arrays:
        names = ByteTable.of(arrays["names"], arrays["ends"])
        return ShardIndex(names, arrays["offsets"], arrays["sizes"])
    rows = list(_members(Path(shard), size))
    names = ByteTable(name for name, _, _ in rows)
    places = np.array([[offset, length] for _, offset, length in rows], dtype=np.int64).reshape(-1, 2).T.copy()
    # A cache that can't be written costs a scan of each process.
    with suppress(OSError, UserError), atomic_path(kept) as path:
        content, ends = names.arrays
        np.savez(path, names=content, ends=ends, offsets=places[0], sizes=places[1])
    return ShardIndex(names, *places)


def _members(shard: Path, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and size of each file in a shard."""
    seen: set[bytes] = set()
    try:
        with tarfile.open(shard, "r:", errorlevel=1) as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined] - it would keep all of them
                name = member.name.removeprefix("./")
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise _odd(shard, name, "is a link or a device")
                if name.startswith("/") or ".." in name.split("/"):
                    raise _odd(shard, name, "leads out of it")
                if member.size > _LARGEST:
                    raise _odd(shard, name, f"has {member.size:,} bytes")
                if member.offset_data + member.size > size:
                    raise _odd(shard, name, "ends after the file: it was cut off")
                key = os.fsencode(name)
                if key in seen:
                    raise _odd(shard, name, "is there twice")
                if len(seen) >= _MOST:
                    raise UserError(f"{printable(shard)}: more than {_MOST:,} files in one shard; write smaller ones")
                seen.add(key)
                yield key, member.offset_data, member.size
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise UserError(
            f"{printable(shard)}: not a plain tar file ({printable_name(error)}); shards are not compressed, unpack"
            " .tar.gz first"
        ) from error


def _odd(shard: Path, name: str, what: str) -> UserError:
    return UserError(f"{printable(shard)}: its file {printable_name(name)} {what}; such a shard is not read")


def _key(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
