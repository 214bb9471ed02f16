"""YOLO's label files: a line for each object, ``class x y w h`` or ``class x1 y1 x2 y2 ...`` in shares of the sides.

``x y`` is the centre of a box. A picture without a label file has no objects. Classes and splits stand in
``data.yaml`` (Ultralytics, Roboflow), in ``obj.data`` with ``obj.names`` (darknet, CVAT), or in ``classes.txt``
(LabelImg, Label Studio); without them folders called ``train``, ``val`` and so on are the splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv.data.foreign.document import Document, Reads, numbers, reads_of
from phonecv.data.foreign.reading import FileError, read_text
from phonecv.data.foreign.tree import Partners, Source, Tree, by_split, files_ending, inside, relative, split_in
from phonecv.data.json_file import whole
from phonecv.data.pictures.opening import is_image_name, scan_images
from phonecv.data.split_names import ALIASES, LEARNT
from phonecv.errors import UserError
from phonecv.plain_yaml import read_yaml
from phonecv.text import printable

_NUMBER = rb"-?\d*\.?\d+(?:[eE][-+]?\d+)?"
_LINE = re.compile(rb"\A\s*\d{1,4}(?:[ \t]+" + _NUMBER + rb"){4,}[ \t]*(?:\r?\n|\Z)")
_NAMES = re.compile(rb"^names\s*:", re.M)
_SPLITS = re.compile(rb"^(?:train|val|valid|path|nc)\s*:", re.M)
#: Files that list the classes, one a line; the first two also tell the layout.
_DARKNET = ("_darknet.labels", "obj.names")
_CLASS_FILES = (*_DARKNET, "classes.txt", "classes.names", "predefined_classes.txt")

#: Columns of a box, and the fewest of an outline.
_BOX, _OUTLINE = 5, 7


def find(tree: Tree) -> Path | None:
    """The file that tells the layout."""
    for path in tree.ending(".yaml", ".yml"):
        if _NAMES.search(tree.start(path)) and _SPLITS.search(tree.start(path)):
            return path
    return next(tree.named(*_DARKNET), None) or tree.starts(tree.ending(".txt"), _LINE)


def splits(source: Source) -> Reads:
    """See `phonecv.data.foreign.layouts`."""
    settings = _Settings.of(source)
    pictures = list(scan_images(source.root))
    labels = files_ending(source.root, ".txt")
    # Where a split is named but is not where the settings say, the folder of its name is meant.
    folders = by_split(pictures)
    found = settings.pictures | {name: folders[name] for name in settings.missing if name in folders} or folders
    partners = Partners(labels, pictures)
    orphans = _orphans(source, labels, pictures)
    return reads_of(
        found,
        lambda split, names: _read(source, settings, split, names, partners, orphans if split in LEARNT else []),
    )


@dataclass
class _Settings:
    """What ``data.yaml`` or ``obj.data`` say: pictures by split, if they do, classes by number, and whether key points
    follow the boxes."""

    pictures: dict[str, list[str]]
    classes: dict[int, str]
    where: str
    points: bool = False
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Source) -> _Settings:
        evidence = source.evidence
        if evidence.suffix.lower() in (".yaml", ".yml"):
            settings = read_yaml(read_text(evidence), printable(evidence))
            if not isinstance(settings, Mapping):
                raise FileError(evidence, "holds no keys and values; `names:` and `train:` are expected")
            return cls._of_content(source, evidence, settings)
        data = next(source.tree.ending(".data"), None)
        if data is not None:
            pairs = (line.partition("=") for line in read_text(data).splitlines())
            content = {key.strip(): value.strip() for key, _, value in pairs}
            return cls._of_content(source, data, content)
        lists = {
            split: path.name
            for split, words in ALIASES.items()
            for word in words
            for folder in (source.root, evidence.parent)
            if (path := folder / f"{word}.txt").is_file() and lists_pictures(path)
        }
        return cls._of_content(source, evidence, lists)

    @classmethod
    def _of_content(cls, source: Source, file: Path, content: Mapping[str, Any]) -> _Settings:
        bases = [file.parent, source.root]
        path = content.get("path")
        if isinstance(path, str) and (base := inside(path, *bases)) is not None and base.is_dir():
            bases.insert(0, base)
        pictures: dict[str, list[str]] = {}
        problems: list[str] = []
        absent: list[str] = []
        for split, words in ALIASES.items():
            given = next((content[word] for word in words if content.get(word)), None)
            if given is None or (isinstance(given, str) and not given.strip()):
                continue
            found, missing = _pictures(source.root, bases, [given] if isinstance(given, str) else given)
            if found:
                pictures[split] = found
            else:
                absent.append(split)
                what = f"{printable(missing[0])} is not here" if missing else "no pictures are where it points"
                problems.append(f"{split}: {what}; a folder called so is taken, if there is one")
        classes, where = _classes(content.get("names"), bases), relative(file, source.root)
        if not classes:
            classes, where = _class_file(source, None)
        counted = whole(content.get("nc"))
        if counted is not None and classes and counted != len(classes):
            problems.append(f"nc is {counted}, but there are {len(classes)} names; the names count")
        return cls(pictures, classes, where, "kpt_shape" in content, tuple(problems), tuple(absent))


def _pictures(root: Path, bases: Sequence[Path], given: Iterable[Any]) -> tuple[list[str], list[str]]:
    """Pictures, relative to the root, in folders or in files that list them, and those that are not there."""
    found: dict[str, None] = {}
    missing = []
    for one in given:
        path = inside(one, *bases) if isinstance(one, str) else None
        if path is None:
            missing.append(str(one))
        elif path.is_dir():
            found |= dict.fromkeys(relative(path / name, root) for name in scan_images(path))
        elif is_image_name(path.name):
            found[relative(path, root)] = None
        else:
            for line in filter(None, map(str.strip, read_text(path).splitlines())):
                picture = inside(line, path.parent, *bases)
                # One that is not there is looked for under a near name, and told, as in a COCO file.
                found[relative(picture, root) if picture is not None else line] = None
    return list(found), missing


def lists_pictures(path: Path) -> bool:
    """Whether a file begins with the path of a picture, alone on its line."""
    first = next(filter(None, map(str.strip, read_text(path).splitlines())), "")
    return is_image_name(first.replace("\\", "/").rpartition("/")[2])


def _classes(names: Any, bases: Sequence[Path]) -> dict[int, str]:
    """Classes by number from a list, a table, or the name of a file."""
    if isinstance(names, str):
        path = inside(names, *bases)
        names = read_text(path).splitlines() if path is not None and path.is_file() else []
        names = [name for name in map(str.strip, names) if name]
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    if isinstance(names, Mapping):
        keys = {key: whole(str(key)) for key in names}
        return dict(sorted((keys[key] or 0, str(name)) for key, name in names.items() if keys[key] is not None))
    return {}


def _class_file(source: Source, split: str | None) -> tuple[dict[int, str], str]:
    """Classes from the file that lists them beside the label files, of the split itself if it has one."""
    files = list(source.tree.named(*_CLASS_FILES))
    own = [path for path in files if split and split_in(relative(path, source.root)) == split]
    for path in own or files:
        lines = [line.strip() for line in read_text(path).splitlines()]
        while lines and not lines[-1]:
            lines.pop()
        return dict(enumerate(lines)), relative(path, source.root)
    return {}, ""


def _orphans(source: Source, labels: Sequence[str], pictures: Sequence[str]) -> list[str]:
    """Label files whose picture is nowhere."""
    partners = Partners(pictures, labels)
    alone = [name for name in labels if not partners.of(name)]
    return [name for name in alone if _LINE.search(source.tree.start(source.root / name))]


def _read(
    source: Source, settings: _Settings, split: str, names: Sequence[str], partners: Partners, orphans: Sequence[str]
) -> Document:
    document = Document(source.root, "cxcywh_shares", sized=False)
    document.classes, where = dict(settings.classes), settings.where
    if split and Path(where).name in _DARKNET:  # each split has its own file
        document.classes, where = _class_file(source, split)
    for problem in settings.problems:
        document.tell("reading", where, problem)
    if settings.points:
        document.tell("unread", where, "key points follow the boxes (kpt_shape) and are not read")
    for name in names:
        labels = partners.of(name)
        try:
            text = read_text(source.root / labels[0]) if labels else ""
        except UserError as error:
            reason = error.reason if isinstance(error, FileError) else str(error)
            document.tell("label-file", labels[0], f"{reason}; its picture is left out")
            continue
        image = document.picture(name)
        for number, line in enumerate(text.splitlines(), 1):
            if words := line.split():
                _take(document, image, words, f"{labels[0]}:{number}", settings.points)
    for name in orphans:
        document.tell("orphan", name, "is a label file without a picture", dropped=True)
    if not document.classes:
        used = {record["category_id"] for record in document.annotations}
        document.classes = {number: str(number) for number in range(max(used, default=-1) + 1)}
        where = "no file, so they are called by their numbers"
    document.tell(
        "reading",
        where if "," not in where else "classes",
        f"YOLO's label files: boxes as shares of the picture as shown, classes from {where}",
    )
    return document


def _take(document: Document, image: int, words: Sequence[str], place: str, points: bool) -> None:
    """A line of a label file."""
    label, values = whole(_unpointed(words[0])), numbers(words[1:])
    if label is None or values is None:
        what = (
            f"class {printable(words[0])[:40]!r} is no whole number"
            if label is None
            else "holds something else than numbers"
        )
        document.tell("bad-box", place, f"{what}; it is left out", dropped=True)
    elif len(words) == _BOX or (points and len(words) > _BOX):
        document.add(image, label, place, box=values[:4])
    elif len(words) >= _OUTLINE and len(words) % 2:
        document.add(image, label, place, rings=[values])
    else:
        why = "; a sixth is the score of a detection, which is no label" if len(words) == _BOX + 1 else ""
        what = f"{len(words)} numbers; {_BOX} make a box and {_OUTLINE}, 9, 11 ... an outline{why}; it is left out"
        document.tell("bad-box", place, what, dropped=True)


def _unpointed(text: str) -> Any:
    """``3.0``, as some programs write a class, is 3."""
    return float(text) if re.fullmatch(r"\d{1,9}\.0*", text) else text
