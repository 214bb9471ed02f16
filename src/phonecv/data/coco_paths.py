"""Where a COCO data set keeps its annotation files and its pictures."""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from phonecv.data.foreign import refuse_foreign
from phonecv.data.images import printable
from phonecv.data.json_file import shown
from phonecv.errors import UserError

#: What the splits are called.
ALIASES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}

_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.){1,4000}")')
#: File names looked up to tell the folder of pictures.
_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class CocoPaths:
    """The files of one split.

    Attributes:
        annotations: the JSON file.
        images: folder that its file names are relative to; None when there are no pictures to look at.
    """

    annotations: Path
    images: Path | None


def find_coco(
    root: Path | str,
    split: str,
    *,
    annotations: Path | str | None = None,
    images: Path | str | None = None,
) -> CocoPaths:
    """Locate one split of the data set at `root`.

    Annotations: ``annotations/instances_{split}*.json``, ``annotations/{split}.json``, the same directly in `root`, or
    ``{split}/_annotations.coco.json``. Pictures: whichever of ``images/{split}``, ``{split}``, ``images``, `root` and
    the like holds the first file names of the annotations; "val" is also called "valid" or "validation", and years
    may follow.

    Args:
        root: data folder.
        split: "train", "val", "test" or another name.
        annotations: use this file; a relative path is looked for below `root` first.
        images: use this folder; a relative path is looked for below `root` first.

    Raises:
        UserError: no such folder or file, or more than one that fits.
    """
    root = Path(root)
    if not root.is_dir():
        what = "not a folder" if root.exists() else "no such folder"
        raise UserError(f"{printable(root)}: {what}; a COCO data set is a folder with annotations/ and pictures")
    if annotations is None:
        file = annotation_file(root, split)
        if file is None:
            refuse_foreign(root)
            raise UserError(
                f"{printable(root)}: no annotations of {split!r} here; expected annotations/instances_{split}.json,"
                f" {split}.json or {split}/_annotations.coco.json, or name the file"
            )
    else:
        file = _below(root, annotations)
        if not file.is_file():
            raise UserError(f"{printable(annotations)}: no such file, neither below {printable(root)} nor here")
    return CocoPaths(file, _picture_folder(file, _given(root, images), split, root))


def locate_coco(file: Path | str, images: Path | str | None = None) -> CocoPaths:
    """An annotation file with the pictures that lie where pictures usually lie beside it.

    Raises:
        UserError: no such file, or its pictures are nowhere.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{printable(file)}: {'not a file' if file.exists() else 'no such file'}")
    return CocoPaths(file, _picture_folder(file, _given(file.parent, images), None, None))


def annotation_file(root: Path, split: str) -> Path | None:
    """The annotation file of a split in one of the usual places; None if there is none.

    Raises:
        UserError: several fit.
    """
    aliases = ALIASES.get(split, (split,))
    words = "|".join(map(re.escape, aliases))
    plain = re.compile(rf"({words})([-_]?\d+)?\.json")
    for folder in (root / "annotations", root):
        for prefix in ("instances_", ""):
            # Splits of one set are told apart by their year, so both train2014 and train2017 may be there.
            names = [name for name in _names(folder) if name.startswith(prefix)]
            found = [name for name in names if plain.fullmatch(name.removeprefix(prefix))]
            exact = [name for name in found if name == f"{prefix}{split}.json"]
            if len(found) > 1 and not exact:
                listed = ", ".join(printable(name) for name in found)
                raise UserError(f"{printable(folder)}: several files could be {split!r}: {listed}; name one of them")
            if found:
                return folder / (exact or found)[0]
    places = (root / alias / name for alias in aliases for name in ("_annotations.coco.json", "annotations.json"))
    return next((place for place in places if place.is_file()), None)


def unsafe_name(name: Any) -> str:
    """Why a picture's file name is refused; empty if it is a path that stays below its folder."""
    if not isinstance(name, str) or not name:
        return f"file_name {shown(name)} is not the name of a file"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
        return f"file_name {shown(name)} is a web address; nothing is downloaded, give a path relative to the folder"
    path = PurePosixPath(name)
    windows = PureWindowsPath(name)
    if path.is_absolute() or windows.anchor:
        return f"file_name {shown(name)} is an absolute path; give one relative to the folder of the pictures"
    if ".." in windows.parts:  # both kinds of separators
        return f"file_name {shown(name)} leaves the folder of the pictures"
    try:
        if b"\0" in os.fsencode(name):
            return f"file_name {shown(name)} holds a zero character"
    except UnicodeEncodeError:
        return f"file_name {shown(name)} is not text that a file can be called"
    return ""


def clean_name(name: str) -> str:
    """A safe file name with "/" between its parts, as in files made on Windows it is not."""
    return str(PurePosixPath(name.replace("\\", "/")))


def missing_files(folder: Path, names: Sequence[str]) -> list[int]:
    """Places of the names that are not in `folder`; every sub-folder is listed once, which is faster than asking."""
    there: dict[str, set[str]] = {}
    missing = []
    for place, name in enumerate(names):
        parent, _, last = name.rpartition("/")
        if parent not in there:
            there[parent] = set(_names(folder / parent))
        # Where capitals do not count, the file may be there under another name.
        if last not in there[parent] and not _exists(folder / name):
            missing.append(place)
    return missing


def _below(root: Path, path: Path | str) -> Path:
    return root / path if (root / path).exists() else Path(path)


def _given(root: Path, images: Path | str | None) -> Path | None:
    if images is None:
        return None
    folder = _below(root, images)
    if not folder.is_dir():
        raise UserError(f"{printable(images)}: no such folder of pictures, neither below {printable(root)} nor here")
    return folder


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:  # there is none, or its name is too long to be one; what is looked for is not there then
        return []


def _exists(path: Path) -> bool:
    # Not Path.exists, which raises an error for names that are too long.
    return os.path.exists(path)  # noqa: PTH110


def _picture_folder(file: Path, given: Path | None, split: str | None, root: Path | None) -> Path:
    if given is not None:
        return given
    names = [clean_name(name) for name in _first_names(file) if not unsafe_name(name)]
    folders = [folder for folder in dict.fromkeys(_candidates(file, split, root)) if folder.is_dir()]
    held = [sum(_exists(folder / name) for name in names) for folder in folders]
    if not any(held):
        if not names:  # nothing to go by; reading the file will say what is wrong with it
            return folders[0] if folders else file.parent
        raise UserError(
            f"{printable(file)}: its pictures, such as {printable(names[0])}, are in none of"
            f" {', '.join(printable(folder) for folder in folders)}; name the folder of pictures"
        )
    return folders[held.index(max(held))]


def _candidates(file: Path, split: str | None, root: Path | None) -> Iterable[Path]:
    stem = file.stem.removeprefix("instances_")
    word = re.sub(r"[-_]?\d+$", "", stem)
    other = next((key for key, names in ALIASES.items() if word in names), word)
    tokens = dict.fromkeys([stem, word, *ALIASES.get(other, ()), *([split, *ALIASES.get(split, ())] if split else [])])
    roots = [*([root] if root else []), file.parent]
    if file.parent.name == "annotations":
        roots.append(file.parent.parent)
    for base in roots:
        for token in tokens:
            yield base / "images" / token
            yield base / token
        yield base / "images"
        yield base


def _first_names(file: Path) -> list[Any]:
    """The first file names in an annotation file, found without reading all of it."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = [bytes(match[1]) for match in islice(_NAME.finditer(content), _SAMPLES)]
        return [json.loads(name) for name in found]
    except (OSError, ValueError):  # unreadable, empty or odd: reading the whole file says so properly
        return []
