"""Where the label maps of a data set lie beside its pictures, and which classes they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from phonecv.data.images import ImageError, printable, scan_images
from phonecv.data.label_classes import Colour, find_class_file, palette_for, read_label_classes
from phonecv.data.label_files import IGNORE, LabelValues, read_map, read_pair
from phonecv.errors import UserError

__all__ = [
    "IGNORE", "LabelFolders", "LabelSplit", "LabelValues", "find_labels", "has_label_maps", "label_splits",
    "pair_names", "read_label_split",
]  # fmt: skip

#: What the folder of a split may be called.
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
IMAGE_FOLDERS = ("images", "image", "imgs", "img")
LABEL_FOLDERS = (
    "annotations", "annotation", "labels", "label", "masks", "mask", "semantic", "segmentation", "label_maps",
)  # fmt: skip

#: Why a file is left out.
NO_LABEL, NO_PICTURE = "picture without a label map", "label map without a picture"

#: What may follow a picture's name in the name of its label map.
_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "_seg", "_segmentation")
#: Label maps looked into to suggest how many classes there are.
_FEW = 50


@dataclass(frozen=True, slots=True)
class LabelFolders:
    """Where the pictures and the label maps of a split lie."""

    images: Path
    labels: Path


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
        left_out: files without a partner, with the reason; they are in none of the above.
        class_file: where the names come from, if from a file.
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    values: LabelValues
    left_out: tuple[tuple[Path, str], ...] = ()
    class_file: Path | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def reduce_zero_label(self) -> bool:
        """Whether the value 0 is ignored and 1 is class 0."""
        return self.values.reduce_zero_label

    @property
    def problems(self) -> tuple[str, ...]:
        """What a person should know but can live with."""
        texts = []
        for reason in dict.fromkeys(reason for _, reason in self.left_out):
            paths = [path for path, other in self.left_out if other == reason]
            some = ", ".join(printable(path.relative_to(self.root)) for path in paths[:3])
            texts.append(f"{len(paths)} x {reason}, left out: {some}{', ...' if len(paths) > 3 else ''}")
        return tuple(texts)

    def first(self, count: int) -> LabelSplit:
        """Its first `count` pictures alone."""
        return replace(self, images=self.images[:count], labels=self.labels[:count])

    def read_label(self, index: int) -> np.ndarray:
        """``H W`` uint8, classes and `IGNORE`, as the file holds it (`read` turns it like its picture).

        Raises:
            ImageError: the file can't be used as a label map.
        """
        return self.values(read_map(self.labels[index]), self.labels[index])

    def read(self, index: int) -> tuple[Image.Image, np.ndarray]:
        """The picture as upright RGB, and its label map of the same size, uint8: classes and `IGNORE`.

        Raises:
            ImageError: one of the two can't be used, or their sizes differ.
        """
        picture, raw = read_pair(self.images[index], self.labels[index])
        return picture, self.values(raw, self.labels[index])


def find_labels(
    root: Path | str, split: str = "train", *, images: Path | str | None = None, labels: Path | str | None = None
) -> LabelFolders:
    """The folders of a split.

    Looked for are ``images/<split>`` with ``annotations/<split>``, ``labels/<split>``, ``masks/<split>`` and so on
    (`LABEL_FOLDERS`), ``<split>/images`` with ``<split>/masks`` and so on, and for "val" ``images`` with ``masks`` and
    so on if there are no folders of splits. ADE20K's ``training`` and ``validation`` are splits, too.

    Args:
        root: the data folder.
        split: "train", "val" or "test".
        images: the folder of the pictures instead, relative to `root`.
        labels: the folder of the label maps instead, relative to `root`.

    Raises:
        UserError: there are none.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{printable(root)}: {'not a folder' if root.exists() else 'no such folder'}")
    if split not in SPLIT_FOLDERS:
        raise UserError(f"unknown split {split!r} (known: {', '.join(SPLIT_FOLDERS)})")
    for given in (images, labels):
        if given is not None and not (root / given).is_dir():
            raise UserError(f"{printable(root / given)}: no such folder")
    for image_folder, label_folder in _candidates(root, split):
        found = LabelFolders(
            root / images if images is not None else image_folder,
            root / labels if labels is not None else label_folder,
        )
        if found.images.is_dir() and found.labels.is_dir() and _holds_pictures(found.labels):
            return found
    if images is not None and labels is not None:
        raise UserError(f"{printable(root / labels)}: no label maps in this folder")
    there = sorted(printable(entry.name) for entry in root.iterdir() if entry.is_dir())
    raise UserError(
        f"{printable(root)}: no label maps of split {split!r}; expected images/{SPLIT_FOLDERS[split][-1]} and"
        f" annotations/{SPLIT_FOLDERS[split][-1]} as in ADE20K, images/{split} and masks/{split}, or {split}/images and"
        f" {split}/masks (also called {', '.join(LABEL_FOLDERS)}); folders here: {', '.join(there[:8]) or 'none'}"
    )


def has_label_maps(root: Path | str) -> bool:
    """Whether `root` is laid out as pictures with label maps."""
    return any(_has_split(Path(root), split) for split in SPLIT_FOLDERS)


def label_splits(root: Path | str) -> list[str]:
    """The splits that have label maps."""
    return [split for split in SPLIT_FOLDERS if _has_split(Path(root), split)]


def _has_split(root: Path, split: str) -> bool:
    try:
        find_labels(root, split)
    except UserError:
        return False
    return True


def _candidates(root: Path, split: str) -> list[tuple[Path, Path]]:
    pairs = list(product(IMAGE_FOLDERS, LABEL_FOLDERS))
    names = SPLIT_FOLDERS[split]
    found = [(root / image / name, root / label / name) for name in names for image, label in pairs]
    found += [(root / name / image, root / name / label) for name in names for image, label in pairs]
    every = [name for names in SPLIT_FOLDERS.values() for name in names]
    if split == "val" and not any((root / image / name).is_dir() for image in IMAGE_FOLDERS for name in every):
        found += [(root / image, root / label) for image, label in pairs]
    return found


def _holds_pictures(folder: Path) -> bool:
    return next(scan_images(folder), None) is not None


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
) -> LabelSplit:
    """List the pictures of a split with their label maps; nothing is decoded.

    Args:
        root: the data folder, see `find_labels`.
        split: "train", "val" or "test".
        reduce_zero_label: the value 0 is ignored, and 1 is class 0 (ADE20K).
        classes: names, or how many; None takes them from the class file (`label_classes.CLASS_FILES`).
        ignore: value of pixels that count for nothing.
        threshold: values from this one on are class 1, all others class 0 (black and white masks).
        images: folder of the pictures, relative to `root`; None looks for it.
        labels: folder of the label maps, relative to `root`; None looks for it.

    Raises:
        UserError: no label maps, no classes, or classes that do not fit the class file.
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
    class_file = find_class_file(root)
    names, colours = _classes(root, class_file, classes, reduce_zero_label, threshold, label_paths)
    values = LabelValues(len(names), reduce_zero_label, threshold, ignore)
    return LabelSplit(
        root, split, names, palette_for(names, colours), image_paths, label_paths, values, left_out, class_file
    )


def pair_names(folders: LabelFolders) -> tuple[list[tuple[str, str]], tuple[tuple[Path, str], ...]]:
    """Pictures and label maps of equal names (extension and endings such as "_mask" apart), and the files left over."""
    maps: dict[str, str] = {}
    left_out: list[tuple[Path, str]] = []
    for name in scan_images(folders.labels):
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in maps:
            left_out.append(
                (folders.labels / name, f"second label map of the same name as {PurePosixPath(maps[stem]).name}")
            )
        else:
            maps[stem] = name
    pairs, used = [], set()
    for name in scan_images(folders.images):
        stem = str(PurePosixPath(name).with_suffix(""))
        label = next((stem + ending for ending in _ENDINGS if stem + ending in maps), None)
        if label is None:
            left_out.append((folders.images / name, NO_LABEL))
        else:
            used.add(label)
            pairs.append((name, maps[label]))
    left_out += [(folders.labels / name, NO_PICTURE) for stem, name in maps.items() if stem not in used]
    return pairs, tuple(left_out)


def _classes(
    root: Path,
    class_file: Path | None,
    given: Sequence[str] | int | None,
    reduce_zero_label: bool,
    threshold: float | None,
    label_paths: Sequence[Path],
) -> tuple[tuple[str, ...], Sequence[Colour] | None]:
    named, colours = (), None
    if class_file is not None:
        named, colours = read_label_classes(class_file).under(reduce_zero_label)
    if given is None:
        if threshold is not None and class_file is None:
            return ("background", "foreground"), None
        if class_file is None:
            raise UserError(_no_classes(root, label_paths))
        return named, colours
    count = given if isinstance(given, int) else len(given)
    if count < len(named):
        raise UserError(
            f"{count} classes were asked for, but {printable(class_file or root)} names {len(named)}"
            f" with reduce_zero_label={str(reduce_zero_label).lower()}"
        )
    if isinstance(given, int):
        return (*named, *(str(index) for index in range(len(named), count))), None
    return tuple(given), colours if tuple(given) == named else None


def _no_classes(root: Path, label_paths: Sequence[Path]) -> str:
    values: set[int] = set()
    for path in label_paths[:_FEW]:
        try:
            values |= set(np.unique(read_map(path)).tolist())
        except ImageError:  # whoever reads the data reports it
            continue
    text = f"{printable(root)}: no class file; write classes.txt beside the folders, one `value name` a line"
    values -= {IGNORE}
    if values:
        text += (
            f" (the first label maps hold the values {min(values)} to {max(values)}, so the number of classes may be"
            f" {max(values) + 1}, or {max(values)} if 0 means nothing and reduce_zero_label=true)"
        )
    return f"{text}, or say how many classes there are"
