"""Pictures with label maps, split by split: the files, their classes, and how they are read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from phonecv.data.labelmaps.classes import (
    Colour,
    LabelClasses,
    find_class_file,
    palette_for,
    read_label_classes,
    unlike_class_files,
)
from phonecv.data.labelmaps.files import IGNORE, LabelValues, read_map, read_pair
from phonecv.data.labelmaps.folders import find_labels, label_splits, pair_names
from phonecv.data.labelmaps.reading import MapReading, choose_reading, decode, read_pixels, shown
from phonecv.data.pictures.opening import ImageError, printable
from phonecv.devices import usable_cores
from phonecv.errors import UserError
from phonecv.files import digest

#: Label maps looked into to suggest how many classes there are.
_FEW = 50
#: Label maps read to tell whether they are others than those of a run before.
_DIGESTED = 200


@dataclass(frozen=True)
class LabelSplit:
    """The pictures of one split and their label maps.

    Attributes:
        root: the data folder.
        split: "train", "val" or "test".
        classes: names of the classes 0, 1, ...
        palette: their colours.
        images: picture files.
        labels: the label map of each.
        values: what the values of the label maps mean.
        reading: how their pixels become values.
        left_out: files without a partner, with the reason; they are in none of the above.
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    values: LabelValues
    reading: MapReading = field(default_factory=MapReading)
    left_out: tuple[tuple[Path, str], ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def problems(self) -> tuple[str, ...]:
        """What a person should know but can live with."""
        texts = [self.reading.note] if self.reading.note else []
        for reason in dict.fromkeys(reason for _, reason in self.left_out):
            paths = [path for path, other in self.left_out if other == reason]
            some = ", ".join(printable(path.relative_to(self.root)) for path in paths[:3])
            texts.append(f"{len(paths)} x {reason}, left out: {some}{', ...' if len(paths) > 3 else ''}")
        return tuple(texts)

    @property
    def class_sets(self) -> Sequence[Collection[int]]:
        """The classes on every picture; none where a label map can't be read. Decodes all label maps."""
        with ThreadPoolExecutor(usable_cores(), thread_name_prefix="labels") as pool:
            return list(pool.map(self._classes_on, range(len(self))))

    def _classes_on(self, index: int) -> Collection[int]:
        try:
            return {int(label) for label in np.unique(self.read_label(index)) if label < len(self.classes)}
        except ImageError:  # whoever trains on it tells
            return ()

    @property
    def label_digest(self) -> str:
        """Another one for other label maps, wherever they lie, by the contents of some, evenly picked."""
        every = max(1, len(self) // _DIGESTED)
        return digest(*(path.read_bytes() for path in self.labels[::every] if path.is_file()))

    def select(self, rows: Sequence[int] | np.ndarray) -> Self:
        """These pictures alone."""
        images, labels = ([paths[row] for row in rows] for paths in (self.images, self.labels))
        return replace(self, images=tuple(images), labels=tuple(labels))

    def read_label(self, index: int) -> np.ndarray:
        """``H W`` uint8, classes and `IGNORE`, as the file holds it (`read` turns it like its picture)."""
        return self.values(read_map(self.labels[index], self.reading), self.labels[index])

    def read(self, index: int, *, bits: int | None = None) -> tuple[Image.Image, np.ndarray]:
        """The picture as upright RGB, and its label map of the same size, uint8: classes and `IGNORE`.

        `bits` is what the values of 16-bit pictures hold, see `phonecv.data.pictures.opening.open_image`.
        """
        picture, raw = read_pair(self.images[index], self.labels[index], self.reading, bits=bits)
        return picture, self.values(raw, self.labels[index])


def read_label_split(
    root: Path | str,
    split: str = "train",
    *,
    reduce_zero_label: bool = False,
    classes: Sequence[str] | int | None = None,
    ignore: int = IGNORE,
    threshold: float | None = None,
    images: Path | str | None = None,
    labels: Path | str | None = None,
    stored: bool = False,
    reading: MapReading | None = None,
) -> LabelSplit:
    """List the pictures of a split with their label maps; a few maps are decoded to see how they are to be read.

    Args:
        root: the data folder, see `find_labels`.
        split: "train", "val" or "test".
        reduce_zero_label: the value 0 is ignored, and 1 is class 0 (ADE20K).
        classes: names, or how many; None takes them from the class file (`label_classes.CLASS_FILES`).
        ignore: value of pixels that count for nothing.
        threshold: values from this one on are class 1, all others class 0 (black and white masks).
        images: folder of the pictures, relative to `root`; None looks for it.
        labels: folder of the label maps, relative to `root`; None looks for it.
        stored: label maps are drawn on the pictures as stored, not as turned by their EXIF note; only where both have
            one size, as the sizes tell otherwise.
        reading: how pixels become values; None chooses by a look into the maps of all splits, or of `labels` alone.

    Raises:
        UserError: no label maps, no classes, classes that do not fit the class file, or splits with unlike class files.
    """
    root = Path(root)
    folders = find_labels(root, split, images=images, labels=labels)
    pairs, left_out = pair_names(folders)
    if not pairs:
        raise UserError(
            f"{printable(folders.images)}: none of its pictures has a label map of the same name in"
            f" {printable(folders.labels)}"
        )
    image_paths = tuple(folders.images / image for image, _ in pairs)
    label_paths = tuple(folders.labels / label for _, label in pairs)
    differ = unlike_class_files(root)
    if differ:
        raise UserError(f"{printable(root)}: {differ}")
    class_file = find_class_file(root)
    listed = None if class_file is None else read_label_classes(class_file)
    names, colours = _classes(root, listed, classes, reduce_zero_label, threshold, label_paths)
    # A threshold makes two classes of whatever numbers there are.
    count = len(names) if threshold is None and not reduce_zero_label else None
    if reading is None:
        maps = label_paths if images is not None or labels is not None else _all_maps(root, split, label_paths)
        reading = choose_reading(maps, listed, count, stored=stored, reduce_zero_label=reduce_zero_label)
    reading = replace(reading, lossy=threshold is not None)
    values = LabelValues(len(names), reduce_zero_label, threshold, ignore)
    palette = palette_for(names, colours)
    return LabelSplit(root, split, names, palette, image_paths, label_paths, values, reading, left_out)


def _all_maps(root: Path, split: str, own: Sequence[Path]) -> list[Path]:
    """The label maps of all splits: what a palette or white means is the same in each."""
    others = [find_labels(root, name) for name in label_splits(root) if name != split]
    return [*own, *(folders.labels / label for folders in others for _, label in pair_names(folders)[0])]


def _classes(
    root: Path,
    listed: LabelClasses | None,
    given: Sequence[str] | int | None,
    reduce_zero_label: bool,
    threshold: float | None,
    label_paths: Sequence[Path],
) -> tuple[tuple[str, ...], Sequence[Colour] | None]:
    named, colours = (), None
    if listed is not None:
        named, colours = listed.under(reduce_zero_label)
    if given is None:
        if threshold is not None and listed is None:
            return ("background", "foreground"), None
        if listed is None:
            raise UserError(_no_classes(root, label_paths))
        return named, colours
    count = given if isinstance(given, int) else len(given)
    if count < len(named):
        raise UserError(
            f"{count} classes were asked for, but {printable(listed.path if listed else root)} names {len(named)}"
            f" with reduce_zero_label={str(reduce_zero_label).lower()}"
        )
    if isinstance(given, int):
        return (*named, *(str(index) for index in range(len(named), count))), None
    return tuple(given), colours if tuple(given) == named else None


def _no_classes(root: Path, label_paths: Sequence[Path]) -> str:
    reading = choose_reading(label_paths, None, None)
    values: set[int] = set()
    colours: set[Colour] = set()
    for path in label_paths[:_FEW]:
        try:
            pixels = read_pixels(path)
            if pixels.coloured and reading.key is None and pixels.grays is None:
                colours |= set(decode(np.unique(pixels.values)))
            else:
                values |= set(np.unique(reading(pixels, path)).tolist())
        except ImageError:  # whoever reads the data reports it
            continue
    if colours:
        return (
            f"{printable(root)}: no class file, and the first label maps hold {len(colours)} colours"
            f" ({shown(sorted(colours))}); write classes.csv beside the folders, first line `name,r,g,b`, then a line"
            " for each class"
        )
    text = f"{printable(root)}: no class file; write classes.txt beside the folders, one `value name` a line"
    if values == {0, IGNORE}:
        return f"{text}; these are black and white masks, so two lines: what black is, and what white is"
    values -= {IGNORE}
    if values:
        text += (
            f" (the first label maps hold the values {min(values)} to {max(values)}, so the number of classes may be"
            f" {max(values) + 1}, or {max(values)} if 0 means nothing and reduce_zero_label=true)"
        )
    return f"{text}, or say how many classes there are (model.num_classes)"
