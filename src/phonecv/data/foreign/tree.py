"""The files of a data folder: a glance at the nearest ones, to recognise a layout, all of some kind, to read it, and
which picture a label file belongs to: one of the same name, in the same folder or in its counterpart."""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PureWindowsPath

from phonecv.data.coco.picture_names import without_upload
from phonecv.data.pictures.opening import is_image_name, scan_images
from phonecv.data.split_names import ALIASES, WHOLE

#: Folders looked into, nearest first, how deep, and entries of each.
_FOLDERS, _DEPTH, _ENTRIES = 60, 4, 400
#: Files of one ending whose beginning is read in a folder, and how much of it.
_FILES, _BYTES = 8, 1 << 16

#: What the folder of a split is called: also ``train2017``, and ``obj_train_data`` as CVAT writes it.
_SPLIT = {
    split: re.compile(rf"(?:obj_)?(?:{'|'.join(names)})(?:[-_]?\d+)?(?:_data)?", re.I)
    for split, names in ALIASES.items()
}


@dataclass
class Tree:
    """The nearest folders below one, and the beginnings of their files."""

    root: Path
    _starts: dict[Path, bytes] = field(default_factory=dict)

    @cached_property
    def folders(self) -> list[tuple[Path, list[str]]]:
        """Folders with the names of their files that are no pictures."""
        found: list[tuple[Path, list[str]]] = []
        waiting = deque([(self.root, 0)])
        while waiting and len(found) < _FOLDERS:
            folder, depth = waiting.popleft()
            files, inner = [], []
            try:
                with os.scandir(folder) as entries:
                    for number, entry in enumerate(entries):
                        if number >= _ENTRIES:
                            break
                        if entry.name.startswith("."):
                            continue
                        if not is_image_name(entry.name):
                            (inner if entry.is_dir() else files).append(entry.name)
            except OSError:  # not a folder, or not ours to read: nothing to recognise
                continue
            found.append((folder, sorted(files)))
            if depth < _DEPTH:
                waiting.extend((folder / name, depth + 1) for name in sorted(inner))
        return found

    def named(self, *names: str) -> Iterator[Path]:
        """Files of these names; they are asked for, so that they are found among any number of pictures."""
        return (path for folder, _ in self.folders for name in names if (path := folder / name).is_file())

    def ending(self, *suffixes: str) -> Iterator[Path]:
        """Some files of these endings in every folder."""
        for folder, files in self.folders:
            fitting = [name for name in files if name.lower().endswith(suffixes)]
            yield from (folder / name for name in fitting[:_FILES])

    def starts(self, paths: Iterable[Path], pattern: re.Pattern[bytes]) -> Path | None:
        """The first of the files whose beginning holds the pattern."""
        return next((path for path in paths if pattern.search(self.start(path))), None)

    def start(self, path: Path) -> bytes:
        """The beginning of a file; nothing if it can't be read."""
        if path not in self._starts:
            self._starts[path] = beginning(path)
        return self._starts[path]


def starting(pattern: re.Pattern[bytes], *suffixes: str) -> Callable[[Tree], Path | None]:
    """What finds the file that tells a layout: the first of these endings whose beginning holds the pattern."""
    return lambda tree: tree.starts(tree.ending(*suffixes), pattern)


def beginning(path: Path) -> bytes:
    """The beginning of a file; nothing if it can't be read."""
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES)
    except OSError:
        return b""
    # Text of two bytes a letter, as PowerShell writes it, reads alike without its zeros.
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content[2:].replace(b"\0", b"") if wide else content.removeprefix(codecs.BOM_UTF8)


@dataclass(frozen=True)
class Source:
    """Where a layout was found.

    Attributes:
        root: the data folder; names of pictures and places in messages are relative to it.
        evidence: the file that tells the layout.
        tree: a glance at the folder.
        alone: only `evidence` is meant, not the files beside it.
    """

    root: Path
    evidence: Path
    tree: Tree
    alone: bool = False

    def files(self, *suffixes: str, like: re.Pattern[bytes] | None = None) -> list[str]:
        """The files of these endings, relative to `root`; with `like` those whose beginning holds the pattern."""
        if self.alone:
            return [relative(self.evidence, self.root)]
        found = files_ending(self.root, *suffixes)
        return found if like is None else [name for name in found if like.search(beginning(self.root / name))]


def relative(path: Path, root: Path) -> str:
    """A path below `root` with "/" between its parts."""
    return path.relative_to(root).as_posix()


def files_ending(root: Path, *suffixes: str) -> list[str]:
    """Paths, relative to `root` and in order, of all files with one of these endings (in small letters); hidden files
    do not count, see `scan_images`."""
    return sorted(scan_images(root, wanted=lambda name: name.lower().endswith(suffixes) and not name.startswith(".")))


def split_in(name: str) -> str | None:
    """The split that the folders of a path speak of; None if they speak of none."""
    for part in name.split("/")[:-1]:
        for split, words in _SPLIT.items():
            if words.fullmatch(part):
                return split
    return None


def by_split(names: Iterable[str]) -> dict[str, list[str]]:
    """Paths by the split in their folders; `WHOLE` alone where no folder is one, and else for what is in none."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(split_in(name) or WHOLE, []).append(name)
    return found


def inside(given: str, *bases: Path) -> Path | None:
    """The file or folder below one of `bases` that a path means that was written in another place.

    Leading parts are taken off, from none to all but the last, until something is there; so nothing outside of the
    bases is ever reached.
    """
    parts = [part for part in PureWindowsPath(given.strip()).parts if part not in (".", "..")]
    parts = parts[1:] if parts and PureWindowsPath(given.strip()).anchor else parts
    for first in range(len(parts)):
        for base in bases:
            path = base.joinpath(*parts[first:])
            try:
                if path.exists():
                    return path
            except (OSError, ValueError):  # a name that no file can have
                return None
    return bases[0] if bases and not parts and given.strip() else None


#: Folders that tell of what kind the files in them are, not which.
_KINDS = frozenset(
    ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data", "labels", "label", "annotations",
     "annotation", "anns", "ann", "xml", "xmls", "txt", "json", "jsons", "bboxes")
)  # fmt: skip

Key = tuple[tuple[str, ...], str]


def _key(name: str) -> Key:
    """Equal for files that belong together: the folders without those that tell a kind, and the name's stem."""
    *folders, last = name.split("/")
    inner = tuple(part.casefold() for part in folders if part.casefold() not in _KINDS)
    return inner, last.rpartition(".")[0] or last


def _loose(name: str) -> str:
    return without_upload(unicodedata.normalize("NFC", _key(name)[1]).casefold().strip())


class Partners:
    """Finds the files of one kind (`there`) that belong to files of another one (`askers`)."""

    def __init__(self, there: Sequence[str], askers: Sequence[str]) -> None:
        self._by_key: dict[Key, list[str]] = defaultdict(list)
        for name in there:
            self._by_key[_key(name)].append(name)
        taken = {_key(name) for name in askers}
        self._free: dict[str, list[str]] = defaultdict(list)
        for name in there:
            if _key(name) not in taken:
                self._free[_loose(name)].append(name)

    def of(self, name: str) -> list[str]:
        """Those that belong to a file: several where they differ in their ending alone.

        Where none is in the counterpart of its folder, the one of that name anywhere that belongs to nobody else and is
        of no other split; letter case does not count then, nor what Label Studio puts before an upload.
        """
        if found := self._by_key.get(_key(name)):
            return found
        split = split_in(name)
        other = [one for one in self._free.get(_loose(name), ()) if split is None or split_in(one) in (None, split)]
        return other if len(other) == 1 else []
