"""The audit of a COCO data set: every record that does not fit, classes that differ between splits, the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from phonecv.data.coco.conventions import setting
from phonecv.data.coco.paths import (
    CocoPaths,
    annotation_file,
    find_coco,
    foreign_splits,
    locate_coco,
    starts_like_coco,
    undivided_hint,
    unsplit_files,
)
from phonecv.data.coco.reader import near_classes, read_tables, split_of
from phonecv.data.coco.sizes import SizeCheck
from phonecv.data.coco.split import CocoSplit
from phonecv.data.coco.tables import READING, CocoProblem
from phonecv.data.findings import FIXES, Look, Notes, Numbers
from phonecv.data.folders.audit import imbalance
from phonecv.data.foreign.layouts import foreign_layout
from phonecv.data.pictures.audit import Copies, check_header, in_order, inspect, report_unreadable, sampled
from phonecv.data.pictures.opening import reason_of, scan_images
from phonecv.data.split_names import ALIASES, WHOLE
from phonecv.errors import UserError
from phonecv.text import counted, first_names, printable

#: Kind of finding -> what to do about it.
COCO_FIXES = FIXES | {
    "record": "mend the record; as it is, the file can't be used",
    "missing-file": "add the picture, remove it from the annotations, or name the right folder",
    "box-layout": "choose the layout that is named, or write boxes as left, top, width, height in pixels",
    "category-shift": "give annotations and categories the same ids; as it is, classes are mistaken",
    "repeated-object": "keep one of them; as it is, no detector can find both",
    "crowd": "nothing, if they are crowds; else write iscrowd 0",
    "apart": "write boxes as left, top, width, height and outlines as x, y, ... in pixels",
    "area": "nothing; or leave area out, it is made from the mask or box",
    "respelled": "nothing; what can be read in one way only is read",
    "picture-name": "nothing, if it is meant; else write the names of the files",
    "placeholder": "nothing, if it is no class; else annotate some of it",
    "orientation": f"nothing, if boxes were drawn on the pictures as shown; else {setting('stored')}",
    "fitted": "nothing, if that is meant",
    "orphan": "list its picture, or remove the annotation; it is left out",
    "category": "list its category, or remove the annotation; it is left out",
    "bad-box": "mend or remove the annotation; it is left out",
    "empty-box": "mend or remove the annotation; it is left out",
    "outside-box": "mend or remove the annotation; it is left out",
    "clipped-box": "nothing, if the object goes on beyond the border; the part inside is used",
    "bad-mask": "mend or remove the mask; its object is left out where masks are trained",
    "no-mask": "add a mask, or train boxes only; its object is left out where masks are trained",
    "annotation-id": "give every annotation an id of its own",
    "category-name": "give every category a name of its own",
    "category-twice": "give every category a name of its own; splits and networks are matched by name",
    "picture-size": "write the size of the picture as it is shown, and check its boxes",
    "repeated-file": "list the picture once, unless it shall count twice",
    "background": "nothing, if they are meant as background",
    READING: "nothing, if that is meant",
    "label-file": "mend the file, or export it once more; as it is, its picture is left out",
    "unread": "nothing, if they are not meant to be found; else draw them as boxes or polygons",
}

#: Problems of a file that leave training as it would be; all others make an object or the whole file useless.
_WARNINGS = frozenset(
    (
        "annotation-id",
        "apart",
        "area",
        "category-name",
        "clipped-box",
        "crowd",
        "empty-box",
        "fitted",
        "no-mask",
        "picture-name",
        "picture-size",
        "placeholder",
        "repeated-file",
        "respelled",
        "unread",
    )
)


def has_objects(root: Path) -> bool:
    """Whether there are annotations of objects: COCO files in one of the usual places, or what other tools write."""
    return has_coco_files(root) or bool(foreign_name(root))


def foreign_name(root: Path) -> str:
    """What the annotations of objects of another tool are, for people; empty where there are none."""
    found = foreign_layout(root)
    return found.name if found is not None and found.is_read else ""


def what_is_there(root: Path) -> str:
    """What the annotations of a folder are, for people; empty for COCO files."""
    return "" if has_coco_files(root) else foreign_name(root)


def has_coco_files(root: Path) -> bool:
    """Whether there are COCO annotations in one of the usual places."""
    try:
        return any(annotation_file(root, split) for split in ALIASES) or len(unsplit_files(root)) == 1
    except UserError:  # more than enough of them; the audit tells
        return True


def audit_coco(notes: Notes, root: Path, look: Look, *, outlines: bool = False) -> Numbers:
    """Look at all splits of the data set at `root`; `outlines`: where objects have none, that is an error."""
    splits: dict[str, CocoSplit] = {}
    told = len(notes.findings)
    for name in ALIASES:
        try:
            file = annotation_file(root, name)
        except UserError as error:
            notes.add("structure", "error", root, reason_of(str(error), root))
            continue
        if file is not None and (split := _read_file(notes, file, partial(find_coco, root, name))) is not None:
            splits[name] = split
    if not splits and len(notes.findings) == told:
        if files := unsplit_files(root):
            notes.add("unsplit", "note", files[0], undivided_hint(files[0]))
            splits = _splits_of_file(notes, files[0])
        else:
            splits = _other_splits(notes, root)
    for split in splits.values() if outlines else ():
        if not split.masks:
            text = "not all objects have outlines, and label maps can be drawn from outlines only"
            notes.add("no-mask", "error", split.source, text)
    return _looked_at(notes, root, splits, look)


def _other_splits(notes: Notes, root: Path) -> dict[str, CocoSplit]:
    """What another tool wrote: all splits of a folder, or one file."""
    try:
        others = foreign_splits(root)
    except UserError as error:
        notes.add("structure", "error", root, reason_of(str(error), root))
        return {}
    splits = {name: split for name, paths in others.items() if (split := _read(notes, paths)) is not None}
    if WHOLE in others:
        notes.add("unsplit", "note", others[WHOLE].annotations, undivided_hint(root, others[WHOLE].layout))
    found = foreign_layout(root)
    if found is not None:
        for name in found.beside():
            notes.add(READING, "note", root, f"there is also {name}; {found.name} is what is read")
    if found is not None and not others:
        notes.add("structure", "error", root, f"{found.name}, but none of its files can be used")
    return splits


def _looked_at(notes: Notes, root: Path, splits: dict[str, CocoSplit], look: Look) -> Numbers:
    _check_classes(notes, splits)
    if "train" in splits and "val" not in splits:
        text = "no validation split: a training holds a fifth of the pictures of train out (data.val=0.2)"
        notes.add("unsplit", "note", root, text)
    if not look.quick:
        _check_unlisted(notes, root, splits)
    return _finish(notes, splits, look)


def audit_coco_file(notes: Notes, file: Path, look: Look) -> Numbers:
    """Look at one annotation file and the pictures it names."""
    if not starts_like_coco(file) and foreign_name(file):
        return _looked_at(notes, file.parent, _other_splits(notes, file), look)
    return _finish(notes, _splits_of_file(notes, file), look)


def _splits_of_file(notes: Notes, file: Path) -> dict[str, CocoSplit]:
    split = _read_file(notes, file, partial(locate_coco, file))
    return {} if split is None else {file.stem: split}


def audit_splits(notes: Notes, splits: Mapping[str, CocoSplit], look: Look) -> Numbers:
    """Look at splits that were read already, in the way that they were read."""
    # Parts of undivided data share what is told of the whole.
    for split in {id(split.problems): split for split in splits.values()}.values():
        _report(notes, split.problems, split.source, split.layout)
    _check_classes(notes, splits)
    return _finish(notes, splits, look)


def _report(notes: Notes, problems: Iterable[CocoProblem], source: Path, layout: str = "") -> None:
    for problem in problems:
        severity = "note" if problem.kind == READING else "warning" if problem.kind in _WARNINGS else "error"
        if layout and problem.kind == "picture-name":  # they are of an upload as a rule
            severity = "note"
        # Places in the files of other tools are files themselves.
        own = bool(layout) and not problem.place.startswith('"')
        bare = own or problem.kind == READING
        message = problem.message if bare else f"{problem.place}: {problem.message}"
        notes.add(problem.kind, severity, Path(problem.place) if own else source, message, count=problem.alike)


def _finish(notes: Notes, splits: Mapping[str, CocoSplit], look: Look) -> Numbers:
    for split in splits.values():
        _check_counts(notes, split)
    with_pictures = {name: split for name, split in splits.items() if split.images.folder.parts}
    checked = (_check_headers if look.quick else _check_pictures)(notes, with_pictures, look)
    return {name: _numbers(split) for name, split in splits.items()}, checked


def _read_file(notes: Notes, file: Path, find: Callable[[], CocoPaths]) -> CocoSplit | None:
    """A file with the pictures that are found, or none."""
    try:
        paths = find()
    except UserError as error:
        notes.add("missing-file", "error", file, reason_of(str(error), file))
        paths = CocoPaths(file, None)
    return _read(notes, paths)


def _read(notes: Notes, paths: CocoPaths) -> CocoSplit | None:
    """The split as far as it can be used, with every problem of the file reported."""
    try:
        masks = True
        tables = read_tables(paths, masks=masks)
        without = [problem for problem in tables.problems if problem.kind == "no-mask"]
        if without:  # its boxes are looked at all the same
            masks = False
            some = len(tables.boxes) > 0
            tables = read_tables(paths, masks=masks)
            tables.problems += without if some else []
    except UserError as error:
        notes.add("structure", "error", paths.annotations, reason_of(str(error), paths.annotations))
        return None
    _report(notes, tables.problems, paths.annotations, paths.layout)
    return None if tables.fatal else split_of(paths, tables, None, masks=masks)


def _numbers(split: CocoSplit) -> dict[str, int]:
    counts = split.class_counts
    return {
        "images": len(split),
        "objects": int(counts.sum()),
        "crowds": split.crowds,
        "classes": len(split.classes),
        "smallest": int(counts.min()),
        "largest": int(counts.max()),
    }


def _check_counts(notes: Notes, split: CocoSplit) -> None:
    counts = split.class_counts
    empty = np.flatnonzero(counts == 0)
    if len(empty) and counts.any():
        shown = first_names([split.classes[label] for label in empty])
        text = f"{counted(len(empty), 'classes have', of=len(counts))} no objects: {shown}"
        notes.add("empty-class", "note", split.source, text)
    if text := imbalance(counts, split.classes, "objects"):  # usual, where one picture holds many objects
        notes.add("imbalance", "note", split.source, text)
    if not split.learnable:
        what = f"all {split.crowds} objects are crowds" if split.crowds else "there is no object"
        notes.add("nothing", "error", split.source, f"{what}: nothing can be learnt from it, and nothing judged by it")
    bare = int((split.object_counts == 0).sum())
    if bare:
        notes.add("background", "note", split.source, f"{counted(bare, 'pictures have', of=len(split))} no objects")


def _check_classes(notes: Notes, splits: Mapping[str, CocoSplit]) -> None:
    """Classes are matched by name; those that occur in another split but never in training can't be learnt."""
    train = splits.get("train")
    if train is None:
        return
    known = dict(zip(train.classes, train.category_ids, strict=True))
    trained = {train.classes[label] for label in np.flatnonzero(train.class_counts)}
    for name, split in splits.items():
        if split is train:
            continue
        categories = list(zip(split.category_ids, split.classes, strict=True))
        renamed, told = near_classes(categories, train.classes)
        if told:
            _report(notes, [told], split.source)
        classes = [name for _, name in renamed]
        tested = [classes[label] for label in np.flatnonzero(split.class_counts)]
        unlisted = [one for one in tested if one not in known]
        untrained = [one for one in tested if one in known and one not in trained]
        for found, what in (
            (unlisted, f"{counted(len(unlisted), 'classes are')} in {name} but not in train"),
            (untrained, f"{counted(len(untrained), 'classes have')} objects in {name} but none in train"),
        ):
            if found:
                notes.add("class-drift", "error", split.source, f"{what}: {first_names(found)}")
        ids = dict(zip(classes, split.category_ids, strict=True))
        moved = [one for one, key in ids.items() if known.get(one, key) != key]
        if moved and not split.layout:  # other tools number their classes in each split anew
            first = f"{printable(moved[0])} is {known[moved[0]]} in train and {ids[moved[0]]} in {name}"
            message = f"{counted(len(moved), 'classes have')} another category id than in train ({first}); names decide"
            notes.add("class-drift", "warning", split.source, message)


def _check_unlisted(notes: Notes, root: Path, splits: Mapping[str, CocoSplit]) -> None:
    listed = {split.path(index) for split in splits.values() for index in range(len(split))}
    for folder in dict.fromkeys(split.images.folder for split in splits.values()):
        # The data folder itself may hold anything.
        if folder != root and folder.parts:
            unlisted = sum(folder / name not in listed for name in scan_images(folder))
            if unlisted:
                text = f"{counted(unlisted, 'pictures')} here in none of the annotations"
                notes.add("unlisted", "note", folder, text)


def _check_headers(notes: Notes, splits: Mapping[str, CocoSplit], look: Look) -> int:
    checked = 0
    owners: dict[Path, str] = {}
    for name, split in splits.items():
        for index in range(len(split)):
            path = split.path(index)
            if owners.setdefault(path, name) != name:
                notes.add("split-leak", "error", path, f"the same picture is in {owners[path]} and {name}")
        for index in sampled(len(split)):
            checked += 1
            check_header(notes, split.path(index))
        _check_sizes(notes, SizeCheck.of(split, sampled(len(split))))
    return checked


def _check_pictures(notes: Notes, splits: Mapping[str, CocoSplit], look: Look) -> int:
    """Decode every picture; report what can't be used, and equal pictures."""
    rows = [(name, index) for name, split in splits.items() for index in range(len(split))]
    paths = [splits[name].path(index) for name, index in rows]
    copies = Copies(notes)
    sizes = {name: SizeCheck(split) for name, split in splits.items()}
    for (name, index), path, result in zip(rows, paths, in_order(inspect, paths, look), strict=True):
        if result.error:
            report_unreadable(notes, path, result.error)
            continue
        sizes[name].take(index)
        copies.take(name, path, result)
    for check in sizes.values():
        _check_sizes(notes, check)
    copies.report()
    return len(rows)


def _check_sizes(notes: Notes, check: SizeCheck) -> None:
    for index, message in check.messages():
        notes.add("picture-size", "error", check.split.path(index), message)
    fitted = any(problem.kind == "fitted" for problem in check.split.problems)
    if check.turned and not fitted:
        # Where others of the split have the sizes of pictures as shown, the file is most likely of those.
        severity = "note" if check.upright else "warning"
        notes.add("orientation", severity, check.split.path(check.turned[0]), check.turned_message())
