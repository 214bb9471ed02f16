"""Annotations in other layouts than ours, recognised by name: what they are, and how they become what is read here.

`LAYOUTS` is the whole of it; a further layout is a further row. Only names and the first bytes of a few files are
looked at, so that a data set of a million pictures takes no longer than one of a hundred.
"""

from __future__ import annotations

import codecs
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from phonecv.data.pictures.opening import is_image_name, printable
from phonecv.errors import UserError

#: Folders looked into, nearest first, how deep, and entries of each.
_FOLDERS, _DEPTH, _ENTRIES = 60, 4, 400
#: Files of one ending whose beginning is read in a folder, and how much of it.
_FILES, _BYTES = 3, 1 << 16

#: Commands that were tried on such folders; `{folder}` is the data folder, `{labels}` that of the label files.
_DATUM = "`datum convert -i {folder} -f coco_instances -o {folder}-coco -- --save-media` (pip install 'datumaro[cli]')"
_GLOBOX = "`globox convert {labels} {folder}/annotations.json -f %s -F coco -A` (pip install globox)"
_EXPORT = 'export the project once more as "{choice}" from {tool}'


@dataclass(frozen=True, slots=True)
class ForeignLayout:
    """A data set that is not read as it is: its layout, the file that tells it, and how it becomes something read."""

    name: str
    evidence: Path
    advice: str

    def message(self, root: Path) -> str:
        """One line of what was found and what to do."""
        place = self.evidence.relative_to(root) if self.evidence.is_relative_to(root) else self.evidence
        return f"this is {self.name} (by {printable(place)}), which is not read as it is; {self.advice}"


@dataclass
class _Tree:
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

    def starts(self, paths: Iterator[Path], pattern: re.Pattern[bytes]) -> Path | None:
        """The first of the files whose beginning holds the pattern."""
        return next((path for path in paths if pattern.search(self.start(path))), None)

    def start(self, path: Path) -> bytes:
        """The beginning of a file; nothing if it can't be read."""
        if path not in self._starts:
            try:
                with path.open("rb") as file:
                    content = file.read(_BYTES)
            except OSError:
                content = b""
            # Text of two bytes a letter, as PowerShell writes it, reads alike without its zeros.
            wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            self._starts[path] = content[2:].replace(b"\0", b"") if wide else content.removeprefix(codecs.BOM_UTF8)
        return self._starts[path]


_NUMBER = rb"-?\d*\.?\d+(?:[eE][-+]?\d+)?"
_YOLO_LINE = re.compile(rb"\A\s*\d{1,4}(?:[ \t]+" + _NUMBER + rb"){4,}[ \t]*(?:\r?\n|\Z)")
_YOLO_YAML = re.compile(rb"^names\s*:", re.M)
_YOLO_SPLITS = re.compile(rb"^(?:train|val|valid|path|nc)\s*:", re.M)
_VOC = re.compile(rb"<annotation[\s>].*(?:<object>|<bndbox>|<filename>)", re.S)
_CVAT = re.compile(rb"<annotations>.*(?:<image\s|<track\s|<version>)", re.S)
_LABEL_STUDIO = re.compile(
    rb'\A\s*\[.*"(?:from_name|to_name|lead_time|completions|rectanglelabels|polygonlabels|brushlabels|annotation_id)"',
    re.S,
)
_VIA = re.compile(
    rb'"(?:_via_settings|_via_img_metadata|shape_attributes)"|\A(?:#? ?)filename,file_size,file_attributes'
)
_LABELME = re.compile(rb'"shapes"\s*:.*"(?:imagePath|imageData)"|"(?:imagePath|imageData)"\s*:.*"shapes"', re.S)
_CREATE_ML = re.compile(rb'\A\s*\[\s*\{.*"coordinates"\s*:\s*\{', re.S)
_SUPERVISELY = re.compile(rb'"classTitle"|"(?:projectType|classes)"\s*:.*"shape"', re.S)
_BOX_CSV = re.compile(rb"\A[^\n]*(?:filename|image|path)[^\n]*\b(?:xmin|x_min|x1|bbox)\b", re.I)
_CLASS_CSV = re.compile(rb"\A\W*(?:filename|image|image_id|id|path)\W*,", re.I)


def _yolo(tree: _Tree) -> Path | None:
    for path in tree.ending(".yaml", ".yml"):
        if _YOLO_YAML.search(tree.start(path)) and _YOLO_SPLITS.search(tree.start(path)):
            return path
    return next(tree.named("_darknet.labels", "obj.names"), None) or tree.starts(tree.ending(".txt"), _YOLO_LINE)


def _starting(pattern: re.Pattern[bytes], *suffixes: str) -> Callable[[_Tree], Path | None]:
    return lambda tree: tree.starts(tree.ending(*suffixes), pattern)


def _called(pattern: re.Pattern[bytes], *names: str) -> Callable[[_Tree], Path | None]:
    return lambda tree: tree.starts(tree.named(*names), pattern)


#: Name, what tells it, and what to do; `{folder}` is the data folder.
LAYOUTS: tuple[tuple[str, Callable[[_Tree], Path | None], str], ...] = (
    (
        "a CSV export of boxes (Roboflow's Tensorflow, Keras and the like)",
        lambda tree: (
            _called(_BOX_CSV, "_annotations.csv", "annotations.csv")(tree) or _starting(_BOX_CSV, ".csv")(tree)
        ),
        _EXPORT.format(choice="COCO", tool="the labelling tool; Roboflow and others offer it"),
    ),
    (
        "Roboflow's multi-class CSV (several classes a picture)",
        _called(_CLASS_CSV, "_classes.csv"),
        'pictures of one class each are trained here: export once more as "Folder Structure", or as "COCO" for boxes',
    ),
    (
        "CreateML's JSON",
        _starting(_CREATE_ML, ".createml.json", ".json"),
        _EXPORT.format(choice="COCO", tool="the labelling tool"),
    ),
    (
        "YOLO's label files",
        _yolo,
        _DATUM,
    ),
    ("Pascal VOC's XML", _starting(_VOC, ".xml"), _GLOBOX % "pascalvoc"),
    (
        "CVAT's XML",
        _starting(_CVAT, ".xml"),
        _EXPORT.format(choice="COCO 1.0", tool="CVAT"),
    ),
    (
        "a JSON export of Label Studio",
        _starting(_LABEL_STUDIO, ".json"),
        _EXPORT.format(choice="COCO", tool="Label Studio"),
    ),
    (
        "a project of the VGG Image Annotator (VIA)",
        _starting(_VIA, ".json", ".csv"),
        "open it in VIA and choose Annotation, Export Annotations (COCO format)",
    ),
    (
        "labelme's JSON, one file a picture",
        _starting(_LABELME, ".json"),
        _GLOBOX % "labelme",
    ),
    ("a Supervisely project", _starting(_SUPERVISELY, ".json"), 'export it with Supervisely\'s app "Export to COCO"'),
    (
        "TensorFlow records",
        lambda tree: next(tree.ending(".tfrecord", ".tfrec", ".tfrecords"), None),
        _EXPORT.format(choice="COCO", tool="the labelling tool"),
    ),
)


def foreign_layout(root: Path | str) -> ForeignLayout | None:
    """The layout of the annotations at `root`, a folder or one file, if it is known and not read; None otherwise.

    Whether there is also something that is read is the caller's question, and the first one to ask.
    """
    root, file = Path(root), None
    tree = _Tree(root)
    if not root.is_dir():
        root, file = root.parent, root
        tree.folders = [(root, [file.name])]
    for name, find, advice in LAYOUTS:
        evidence = find(tree)
        if evidence is not None and evidence == (file or evidence):
            places = {"{folder}": root, "{labels}": evidence.parent}
            for word, place in places.items():
                advice = advice.replace(word, printable(place))
            return ForeignLayout(name, evidence, advice)
    return None


def refuse_foreign(root: Path | str) -> None:
    """Nothing, unless the annotations at `root` are of a layout that is known and not read."""
    found = foreign_layout(root)
    if found is not None:
        raise UserError(f"{printable(root)}: {found.message(Path(root))}")
