"""Where a COCO data set keeps its annotation files and its pictures."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from phonecv.data.coco.conventions import GROUP
from phonecv.data.coco.picture_names import called, clean_name, exists, file_names, near_names, unsafe_name
from phonecv.data.foreign.layouts import Document, foreign_layout, refuse_foreign
from phonecv.data.foreign.tree import beginning
from phonecv.data.split_names import ALIASES, WHOLE
from phonecv.errors import UserError
from phonecv.text import first_names, printable

#: What tools call the annotations of a folder that holds one split: Roboflow, globox, Label Studio, FiftyOne, CVAT.
_WHOLE = (
    "_annotations.coco.json",
    "annotations.json",
    "result.json",
    "labels.json",
    "annotations/instances_default.json",
)
#: How COCO files begin, and most files of a folder that are looked at.
_COCO, _MOST = re.compile(rb'\s*\{\s*"(?:info|images|licenses|annotations|categories|type)"\s*:'), 50
#: Bytes that tell whether a file is one.
_BEGINNING = 4096
_NAME, _OTHER_NAME = (
    re.compile(rb'"(?:%b)"\s*:\s*("(?:[^"\\]|\\.){1,4000}")' % words)
    for words in (b"file_name", b"filename|path|coco_url")
)
#: File names looked up to tell the folder of pictures.
_SAMPLES = 20
#: Bytes of a file in UTF-16 or UTF-32 that are looked at for them.
_WIDE = 1 << 22


@dataclass(frozen=True, slots=True)
class CocoPaths:
    """The files of one split.

    Attributes:
        annotations: the COCO file; of another layout the file, or the folder that it is in.
        images: what file names are relative to; None where there are no pictures.
        read: what reads the annotations if they are no COCO file.
        layout: what they are then, for people.
    """

    annotations: Path
    images: Path | None
    read: Callable[[], Document] | None = None
    layout: str = ""


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
            others = _foreign_beside(root)
            if split not in others:
                raise _no_annotations(root, split, others)
            return _one_of(others, split, _given(root, images))
    else:
        file = _below(root, annotations)
        if not file.is_file():
            raise UserError(f"{printable(annotations)}: no such file, neither below {printable(root)} nor here")
    return _paths_of(file, split, _given(root, images), root)


def locate_coco(file: Path | str, images: Path | str | None = None, split: str = WHOLE) -> CocoPaths:
    """An annotation file with the pictures that lie where pictures usually lie beside it; `split` is for layouts that
    have several in one file."""
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{printable(file)}: {'not a file' if file.exists() else 'no such file'}")
    return _paths_of(file, split, _given(file.parent, images), None)


def _paths_of(file: Path, split: str, images: Path | None, root: Path | None) -> CocoPaths:
    if others := foreign_splits(file):
        return _one_of(others, split, images)
    return CocoPaths(file, images or _picture_folder(file, split if root else None, root))


def foreign_splits(root: Path) -> dict[str, CocoPaths]:
    """The splits of a folder or file in another layout that is read; nothing where it is COCO's or none that is read.

    Data without splits have one, `phonecv.data.split_names.WHOLE`.
    """
    if root.is_file() and starts_like_coco(root):
        return {}
    found = foreign_layout(root)
    if found is None:
        return {}
    folder = root if root.is_dir() else root.parent
    return {split: CocoPaths(root, folder, read, found.name) for split, read in found.reads().items()}


def has_split(root: Path | str, split: str) -> bool:
    """Whether a folder has annotations of a split; not where all of its pictures are in one that is not split.

    Raises:
        UserError: several files could be that of the split.
    """
    root = Path(root)
    return annotation_file(root, split) is not None or split in _foreign_beside(root)


def undivided(root: Path | str) -> CocoPaths | None:
    """The annotations of all pictures of a folder that has no splits: one COCO file, or another layout that is read."""
    root = Path(root)
    if not root.is_dir() or any(annotation_file(root, split) for split in ALIASES):
        return None
    if files := unsplit_files(root):
        return locate_coco(files[0]) if len(files) == 1 else None
    others = foreign_splits(root)
    return others.get(WHOLE) if len(others) == 1 else None


def _unsplit(root: Path) -> list[Path]:
    """COCO files that are of no split; a folder may also have those of one split, and the others in another layout."""
    known = [annotation_file(root, split) for split in ALIASES]
    return [file for file in unsplit_files(root) if file not in known]


def _foreign_beside(root: Path) -> dict[str, CocoPaths]:
    """The splits in another layout, which count where no COCO file holds all pictures."""
    return {} if _unsplit(root) else foreign_splits(root)


def _one_of(others: dict[str, CocoPaths], split: str, images: Path | None) -> CocoPaths:
    found = others.get(split) or (next(iter(others.values())) if len(others) == 1 else None)
    if found is None:
        first = next(iter(others.values()))
        names = ", ".join(others)
        raise UserError(f"{printable(first.annotations)}: {first.layout} of the splits {names}; name one of them")
    return found if images is None else replace(found, images=images)


def annotation_file(root: Path, split: str) -> Path | None:
    """The annotation file of a split in one of the usual places; None if there is none."""
    aliases = ALIASES.get(split, (split,))
    words = "|".join(map(re.escape, aliases))
    plain = re.compile(rf"({words})([-_]?\d+)?\.json", re.I)  # CVAT's subsets have capitals
    for folder in (root / "annotations", root):
        for prefix in ("instances_", ""):
            # Splits of one set are told apart by their year, so both train2014 and train2017 may be there.
            names = [name for name in file_names(folder) if name.startswith(prefix)]
            found = [name for name in names if plain.fullmatch(name.removeprefix(prefix))]
            exact = [name for name in found if name == f"{prefix}{split}.json"]
            if len(found) > 1 and not exact:
                listed = ", ".join(printable(name) for name in found)
                raise UserError(f"{printable(folder)}: several files could be {split!r}: {listed}; name one of them")
            if found:
                return folder / (exact or found)[0]
    places = (root / alias / name for alias in aliases for name in _WHOLE)
    return next((place for place in places if place.is_file()), None)


def unsplit_files(root: Path) -> list[Path]:
    """COCO files that belong to no split, as labelling tools export all pictures at once."""
    found = [
        folder / name
        for folder in (root, root / "annotations")
        for name in file_names(folder)[:_MOST]
        if name.lower().endswith(".json") and not name.startswith(".")
    ]
    return [path for path in found if path.is_file() and starts_like_coco(path)]


def undivided_hint(file: Path, layout: str = "") -> str:
    """What becomes of a file, or a folder of another layout, that holds all pictures."""
    return (
        f"{layout or printable(file.name)} holds all pictures without a split: a training holds a fifth of them out for"
        f" validation (data.val=0.2); `phonecv eval MODEL --data {printable(file)}` takes all of them"
    )


def _no_annotations(root: Path, split: str, others: dict[str, CocoPaths]) -> UserError:
    """The error for a data set that lacks the annotations of a split, by what it has instead."""
    if WHOLE in others:
        return UserError(f"{printable(root)}: no split {split!r} here; {undivided_hint(root, others[WHOLE].layout)}")
    if others:
        first = next(iter(others.values()))
        return UserError(
            f"{printable(root)}: no split {split!r} here; {first.layout} of {', '.join(others)} (eval: --split)"
        )
    files = _unsplit(root)
    expected = f"expected annotations/instances_{split}.json, {split}.json or {split}/_annotations.coco.json"
    if not files:
        refuse_foreign(root)
        return UserError(f"{printable(root)}: no annotations of {split!r} here; {expected}, or name the file")
    if len(files) == 1:
        return UserError(f"{printable(root)}: no annotations of {split!r} here; {undivided_hint(files[0])}")
    listed = first_names([str(file.relative_to(root)) for file in files])
    return UserError(
        f"{printable(root)}: no annotations of {split!r} here, but {listed}; name the files of the splits by"
        f" {GROUP}.train_annotations and {GROUP}.val_annotations (eval: --annotations)"
    )


def starts_like_coco(path: Path) -> bool:
    """Whether a file begins as COCO files do; a small one also has to hold pictures or annotations."""
    start = beginning(path)[:_BEGINNING].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe")
    # Label Studio lists classes in a notes.json.
    holds = len(start) >= _BEGINNING // 4 or b'"images"' in start or b'"annotations"' in start
    return holds and _COCO.match(start) is not None


def _below(root: Path, path: Path | str) -> Path:
    return root / path if (root / path).exists() else Path(path)


def _given(root: Path, images: Path | str | None) -> Path | None:
    if images is None:
        return None
    folder = _below(root, images)
    if not folder.is_dir():
        raise UserError(f"{printable(images)}: no such folder of pictures, neither below {printable(root)} nor here")
    return folder


def _picture_folder(file: Path, split: str | None, root: Path | None) -> Path:
    given_names = _first_names(file)
    names = [clean_name(name) for name in given_names if not unsafe_name(name)]
    folders = [folder for folder in dict.fromkeys(_candidates(file, split, root)) if folder.is_dir()]
    held = [sum(exists(folder / name) for name in names) for folder in folders]
    if not any(held):
        held = [len(near_names(folder, dict(enumerate(given_names)), ())) for folder in folders]
    if not any(held):
        if not given_names:  # nothing to go by; reading the file will say what is wrong with it
            return folders[0] if folders else file.parent
        raise UserError(
            f"{printable(file)}: its pictures, such as {called(given_names[0])}, are in none of"
            f" {', '.join(printable(folder) for folder in folders)}; name the folder of pictures"
        )
    return folders[held.index(max(held))]


def _candidates(file: Path, split: str | None, root: Path | None) -> Iterable[Path]:
    stem = file.stem.removeprefix("instances_")
    word = re.sub(r"[-_]?\d+$", "", stem).casefold()
    other = next((key for key, names in ALIASES.items() if word in names), word)
    words = [stem, word, *ALIASES.get(other, ()), *([split, *ALIASES.get(split, ())] if split else [])]
    tokens = dict.fromkeys(form for one in words for form in (one, one.capitalize(), one.upper()))
    roots = [*([root] if root else []), file.parent]
    if file.parent.name == "annotations":
        roots.append(file.parent.parent)
    for base in roots:
        for token in tokens:
            yield base / "images" / token
            yield base / token
        yield base / "images"
        yield base / "data"
        yield base


def _first_names(file: Path) -> list[Any]:
    """The first file names in an annotation file, found without reading all of it."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            encoding = json.detect_encoding(content[:4])
            text = content[:_WIDE].decode(encoding, "ignore").encode() if encoding[:5] != "utf-8" else content
            found = [bytes(match[1]) for match in islice(_NAME.finditer(text), _SAMPLES)]
            found = found or [bytes(match[1]) for match in islice(_OTHER_NAME.finditer(text), _SAMPLES)]
        return [json.loads(name) for name in found]
    except (OSError, ValueError):  # unreadable, empty or odd: reading the whole file says so properly
        return []
