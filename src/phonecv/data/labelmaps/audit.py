"""Are label maps fit for training? Wrong values, sizes and partners, and what is probably behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from phonecv.data.findings import FIXES, Look, Notes, Numbers
from phonecv.data.labelmaps.classes import LabelClasses, find_class_file, read_label_classes, unlike_class_files
from phonecv.data.labelmaps.files import IGNORE, LabelFormatError, LabelSizeError, read_pair
from phonecv.data.labelmaps.folders import NO_LABEL, LabelFolders, find_labels, label_splits, pair_names
from phonecv.data.labelmaps.reading import MapReading, choose_reading
from phonecv.data.labelmaps.suspicions import EFFECTS, smoothed, suspicions
from phonecv.data.pictures.audit import Copies, Inspected, in_order
from phonecv.data.pictures.lookalikes import known_by
from phonecv.data.pictures.opening import ImageError, opened, probe_image, turn_of
from phonecv.data.split_names import LEARNT, WHOLE, split_of
from phonecv.data.splitting.stratified import undivided_told
from phonecv.errors import UserError
from phonecv.text import counted, first_names

#: The setting by which label maps of turned pictures lie as stored, as a recipe has it.
STORED = "segment.stored=true"

#: Kind of finding -> what to do about it.
MAP_FIXES = FIXES | {
    "partner": "add the missing file, or remove the one that is left over",
    "label-format": "save label maps as gray or palette PNG of class numbers, or name their colours in classes.csv",
    "label-colour": "name the colour in the class file, or draw the label map anew without smoothing, as PNG",
    "palette": "give all label maps one palette, or name the colours in classes.csv (name,r,g,b)",
    "reading": "nothing, if that is meant",
    "turned": f"nothing, if that is meant; else {STORED}, or remove the EXIF note from the pictures",
    "label-size": "make the label map anew at the size of its picture (nearest neighbour)",
    "label-value": "mend the label map, or name all classes in the class file",
    "anti-aliased": "draw and resize label maps without smoothing (nearest neighbour), and save them as PNG",
    "off-by-one": "choose reduce_zero_label accordingly, or renumber the label maps",
    "zero-label": "choose reduce_zero_label accordingly",
    "unlabelled": "nothing, if that is meant; such pictures teach nothing",
    "unseen-class": "add pictures with these classes, or leave them out of the class file",
}

#: Pairs that the quick audit decodes in each split, spread evenly over it.
QUICK_PAIRS = 100

_VALUES = 65536
_UNSEEN = Inspected("")


@dataclass(frozen=True, slots=True)
class _Pair:
    """A picture and its label map, as looked at in a worker.

    Attributes:
        kind: what is wrong with it, a key of `MAP_FIXES`, or "".
        path: the file at fault.
        message: what is wrong.
        picture: the picture alone.
        values: numbers in the label map.
        counts: how many pixels of each.
        smooth: why the label map seems to be smoothed, or "".
        turned: its EXIF note turns the picture: "alike" if that leaves its size, so that nothing tells how the label
            map lies; "stored" or "upright" by the size of the label map; or "".
        sizes: of a label map of another size, see `LabelSizeError`.
    """

    kind: str = ""
    path: Path = Path()
    message: str = ""
    picture: Inspected = _UNSEEN
    values: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    smooth: str = ""
    turned: str = ""
    sizes: tuple[int, int, int, int] | None = None


@dataclass
class _Split:
    """What is in the label maps of one split; smoothed ones are left out."""

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(_VALUES, dtype=np.int64))
    files: np.ndarray = field(default_factory=lambda: np.zeros(_VALUES, dtype=np.int64))
    pairs: list[tuple[Path, _Pair]] = field(default_factory=list)
    images: int = 0

    def take(self, label_path: Path, pair: _Pair) -> None:
        values = np.array(pair.values, dtype=np.int64)
        self.pixels[values] += np.array(pair.counts, dtype=np.int64)
        self.files[values] += 1
        self.pairs.append((label_path, pair))


def audit_labels(notes: Notes, root: Path, look: Look) -> Numbers:
    """Look at all splits of the data set at `root` that have label maps; the quick audit decodes a sample."""
    names = label_splits(root)
    classes = _class_file(notes, root, alone=look.alone)
    chosen: list[tuple[str, Path, Path]] = []
    splits = {name: _Split() for name in names}
    maps: list[Path] = []
    for name in names:
        folders = find_labels(root, name)
        try:
            pairs, left_out = pair_names(folders)
        except UserError as error:
            notes.add("structure", "error", folders.listed or root, str(error))
            continue
        splits[name].images = len(pairs)
        _report_left_out(notes, folders, left_out, pairs=len(pairs))
        step = max(1, -(-len(pairs) // QUICK_PAIRS)) if look.quick else 1
        chosen += [(name, folders.images / image, folders.labels / label) for image, label in pairs[::step]]
        maps += [folders.labels / label for _, label in pairs]
    reading = choose_reading(maps, classes, None if classes is None else len(classes.names))
    if reading.note:
        notes.add("reading", "note", classes.path if classes else root, reading.note)

    copies = Copies(notes)
    looked: list[tuple[Path, _Pair]] = []
    results = in_order(partial(_inspect, reading, look.quick), [paths for _, *paths in chosen], look)
    for (name, image_path, label_path), pair in zip(chosen, results, strict=True):
        looked.append((image_path, pair))
        if pair.sizes:
            continue  # below, all together
        if pair.kind:
            notes.add(pair.kind, "error", pair.path, pair.message)
        else:
            copies.take(name, image_path, pair.picture)
            if pair.smooth:
                notes.add("anti-aliased", "error", label_path, pair.smooth)
            else:
                splits[name].take(label_path, pair)
    _report_splits(notes, root, {name: split.images for name, split in splits.items()})
    copies.report()
    _report_sizes(notes, root, [pair for _, pair in looked if pair.sizes])
    _report_turned(notes, [(image_path, pair.turned) for image_path, pair in looked])
    _report_values(notes, root, classes, splits)
    _report_classes(notes, root, classes, splits)
    _report_nothing(notes, root, classes, splits)
    numbers = {f"{name} (label maps)": _numbers(split, classes) for name, split in splits.items()}
    return numbers, 2 * len(chosen)


def _class_file(notes: Notes, root: Path, *, alone: bool) -> LabelClasses | None:
    path = find_class_file(root)
    try:
        differ = unlike_class_files(root)
    except UserError:  # the first of them is told below, the others hold no classes
        differ = ""
    if path is not None and differ:
        notes.add("class-drift", "error", path, differ)
    if path is None:
        text = "no classes.txt, so nothing says how many classes the label maps have or what they mean"
        notes.add("structure", "warning" if alone else "note", root, text)
        return None
    try:
        return read_label_classes(path)
    except UserError as error:
        notes.add("structure", "error", path, str(error))
        return None


def _report_splits(notes: Notes, root: Path, counts: Mapping[str, int]) -> None:
    """What a training would miss. A validation split alone is there to evaluate on."""
    train = counts.get("train") or (counts.get(WHOLE) if split_of(root.name) is None else None)
    if train and "val" not in counts:
        severity, text = undivided_told([()] * train, (), "pictures")
        notes.add("unsplit", severity, root, text)


def _report_left_out(notes: Notes, folders: LabelFolders, left_out: Iterable[tuple[Path, str]], *, pairs: int) -> None:
    for path, reason in left_out:
        notes.add("partner", "error" if reason == NO_LABEL else "warning", path, reason)
    if not pairs:
        text = f"no picture here has a label map in {notes.name(folders.labels)}"
        notes.add("structure", "error", folders.images, text)


def _inspect(reading: MapReading, quick: bool, paths: Sequence[Path]) -> _Pair:
    try:
        picture_format = probe_image(paths[0])[0]
        picture, raw = read_pair(paths[0], paths[1], reading)
        turned = _turned(paths[0], picture.size, paths[1])
    except LabelSizeError as error:
        return _Pair("label-size", error.path, error.reason, sizes=error.sizes)
    except ImageError as error:
        kind = error.kind if isinstance(error, LabelFormatError) else "unreadable"
        return _Pair(kind, error.path, error.reason)
    values, counts = np.unique(raw, return_counts=True)
    known = known_by(picture)
    return _Pair(
        # Of a sample only equal pictures are told.
        picture=Inspected("", picture_format, known._replace(reduced=b"") if quick else known),
        values=tuple(values.tolist()),
        counts=tuple(counts.tolist()),
        smooth=smoothed(raw, values, counts),
        turned=turned,
    )


def _turned(image_path: Path, size: tuple[int, int], label_path: Path) -> str:
    with opened(image_path) as image:
        if turn_of(image) is None:
            return ""
        stored = image.size
    if stored == size:
        return "alike"
    return "stored" if probe_image(label_path)[1:] == stored else "upright"


def _report_sizes(notes: Notes, root: Path, pairs: Sequence[_Pair]) -> None:
    """Label maps of another size than their pictures; where it is the same factor in all, that is one finding."""
    factor = _common_factor([pair.sizes for pair in pairs if pair.sizes])
    if factor is None:
        for pair in pairs:
            notes.add(pair.kind, "error", pair.path, pair.message)
        return
    how = f"{factor:.3g} times smaller" if factor > 1 else f"{1 / factor:.3g} times larger"
    text = (
        f"all {len(pairs)} label maps of another size are {how} than their pictures ({notes.name(pairs[0].path)}:"
        f" {pairs[0].message}): made on resized pictures, or by a network of coarse outputs; use those pictures, or"
        " resize the maps by the nearest neighbour"
    )
    notes.add("label-size", "error", root, text)


def _common_factor(sizes: Sequence[tuple[int, int, int, int]]) -> float | None:
    """By how much pictures are larger than their label maps, if it is the same in all."""
    if len(sizes) < 2:
        return None
    ratios = [
        (picture_width / width, picture_height / height) for width, height, picture_width, picture_height in sizes
    ]
    usual = float(np.median(ratios))
    # Sides are rounded when they are divided, so a short one may be off by a few percent.
    slack = [2 * usual / max(1, min(width, height)) + 0.01 for width, height, _, _ in sizes]
    even = all(abs(side - usual) <= room for ratio, room in zip(ratios, slack, strict=True) for side in ratio)
    return usual if even and abs(usual - 1) > 0.02 else None


def _report_turned(notes: Notes, turned: Sequence[tuple[Path, str]]) -> None:
    """Which convention is used for pictures that their EXIF note turns, and why."""
    counts = Counter(how for _, how in turned if how)
    if not counts:
        return
    sized = f" ({counts['stored']} maps lie as stored and {counts['upright']} upright, by their sizes)"
    stored = counts["alike"] > 0 and counts["stored"] > counts["upright"]
    text = f"{counts['alike'] or counts.total()} of {len(turned)} pictures looked at are turned by their EXIF note"
    if counts["alike"]:
        advice = f"that speaks for {STORED}" if stored else f"{STORED} says otherwise"
        text += (
            " and keep their size, so nothing tells how their label maps lie: taken as drawn on the upright picture, as"
            f" most programs show it; {advice}{sized if counts['stored'] + counts['upright'] else ''}"
        )
    else:
        text += f", and their label maps accordingly{sized}"
    notes.add("turned", "warning" if stored else "note", next(path for path, how in turned if how), text)


def _report_values(notes: Notes, root: Path, classes: LabelClasses | None, splits: dict[str, _Split]) -> None:
    """What is suspected of the data as a whole, and every file with values that no suspicion explains."""
    pixels = sum((split.pixels for split in splits.values()), np.zeros(_VALUES, dtype=np.int64))
    files = sum((split.files for split in splits.values()), np.zeros(_VALUES, dtype=np.int64))
    if not pixels.any():
        return
    found, explained = suspicions(pixels, files, classes)
    for kind, severity, message in found:
        notes.add(kind, severity, classes.path if classes else root, message)
    if classes is None:
        return
    last = (classes.first or 0) + len(classes.names) - 1
    for label_path, pair in (pair for split in splits.values() for pair in split.pairs):
        strange = [
            (value, count)
            for value, count in zip(pair.values, pair.counts, strict=True)
            if value > last and value != IGNORE and value not in explained
        ]
        if strange:
            shown = ", ".join(f"{value} ({count} px)" for value, count in strange[:5])
            more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
            text = f"label value {shown}{more} with {counted(len(classes.names), 'classes')}, whose values are"
            text += f" {classes.first or 0} to {last} ({IGNORE} is ignored)"
            notes.add("label-value", "error", label_path, text)
        elif set(pair.values) <= ({IGNORE, 0} if classes.first == 1 else {IGNORE}):
            notes.add("unlabelled", "warning", label_path, "no pixel of this label map belongs to a class")


def _report_classes(notes: Notes, root: Path, classes: LabelClasses | None, splits: dict[str, _Split]) -> None:
    """Classes that are nowhere, or not where they could be learnt."""
    if classes is None or not any(split.pairs for split in splits.values()):
        return
    names = classes.names
    first = classes.first or 0
    seen = {name: split.files[first : first + len(names)] > 0 for name, split in splits.items()}
    nowhere = np.flatnonzero(~np.any(list(seen.values()), axis=0))
    told = [(nowhere, f"{counted(len(nowhere), 'classes', of=len(names))} without a pixel")]
    for name, there in seen.items() if "train" in seen else ():
        unlearnt = np.flatnonzero(there & ~seen["train"])
        told.append((unlearnt, f"{counted(len(unlearnt), 'classes occur')} in {name} but never in train"))
    for places, text in told:
        if len(places):
            shown = first_names([names[place] for place in places])
            notes.add("unseen-class", "warning", classes.path, f"{text}: {shown}")


def _report_nothing(notes: Notes, root: Path, classes: LabelClasses | None, splits: dict[str, _Split]) -> None:
    """A split whose label maps hold one class at most teaches and tells nothing."""
    ignored = {IGNORE, 0} if classes is not None and classes.first == 1 else {IGNORE}
    for name, split in splits.items():
        if not split.pairs or len(split.pairs) < split.images:
            continue  # looked at in part only, or with errors of their own
        there = [value for value in np.flatnonzero(split.files).tolist() if value not in ignored]
        if len(there) < 2:
            what = "no pixel belongs to a class" if not there else f"every labelled pixel has the value {there[0]}"
            learnt = name in LEARNT
            folder, severity = find_labels(root, name).labels, "error" if learnt else "warning"
            notes.add("nothing", severity, folder, f"{what}: {EFFECTS[learnt]}")


def _numbers(split: _Split, classes: LabelClasses | None) -> dict[str, int]:
    """Pictures, classes, and in how many of the pictures looked at the rarest and the most frequent class are."""
    if classes is not None:
        first = classes.first or 0
        files = split.files[first : first + len(classes.names)]
    else:
        files = split.files[:IGNORE][split.files[:IGNORE] > 0]
    return {
        "images": split.images,
        "classes": len(files),
        "smallest": int(files.min(initial=split.images)) if len(files) else 0,
        "largest": int(files.max(initial=0)),
    }
