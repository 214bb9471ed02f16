"""Where label maps lie beside their pictures, and which belong together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path, PurePosixPath

import numpy as np

from phonecv.data.folders.splits import class_folders
from phonecv.data.foreign.layouts import refuse_foreign
from phonecv.data.labelmaps.reading import read_pixels
from phonecv.data.pictures.opening import ImageError, is_image_name, scan_images
from phonecv.data.split_names import ALIASES, WHOLE, split_names
from phonecv.errors import UserError
from phonecv.text import printable

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "img_dir", "leftImg8bit", "input", "inputs")
LABEL_FOLDERS = (
    "annotations", "annotation", "labels", "label", "masks", "mask", "semantic", "segmentation", "label_maps",
    "ann_dir", "gtFine", "gt", "GT", "ground_truth", "groundtruth", "target", "targets",
)  # fmt: skip

#: Pascal VOC's folders, as CVAT and labelme write them, too; lists name the pictures of each split.
_VOC_IMAGES, _VOC_LABELS = "JPEGImages", ("SegmentationClass", "SegmentationClassPNG")
_VOC_LISTS = Path("ImageSets/Segmentation")

#: ``train_labels`` beside ``train`` or ``train_images``, as CamVid and many others have them.
_JOINED_IMAGES, _JOINED_LABELS = (
    re.compile(rf"(?:[-_]?(?:{'|'.join(names)}))?", re.I) for names in (IMAGE_FOLDERS, (*LABEL_FOLDERS, "annot"))
)

#: What folders of label maps are called, too; folders looked into; and values that a map may hold where nothing else
#: tells it from a photograph.
_MAPS = re.compile(r"mask|label|annot|segm|ground.?truth|_gt$|^gt$|^y$", re.I)
_LOOKED_INTO, _FEW_VALUES = 50, 64

#: Why a file is left out.
NO_LABEL, NO_PICTURE = "picture without a label map", "label map without a picture"
NOT_THERE = "listed, but there is no such picture"

#: What may follow a picture's name in the name of its label map.
_ENDINGS = (
    "", "_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_L", "_gt",
    "_gtFine_labelTrainIds", "_gtFine_labelIds",
)  # fmt: skip
#: What may follow the name of both in that of the picture: Cityscapes, DeepGlobe.
_PICTURE_ENDINGS = ("_leftImg8bit", "_sat")
#: Maps of Cityscapes, of which a picture has several.
_SEVERAL = re.compile(r"(.*)_gtFine_\w+")


@dataclass(frozen=True, slots=True)
class LabelFolders:
    """Where the pictures and the label maps of a split lie.

    Attributes:
        images: folder of the pictures.
        labels: folder of the label maps; the same one where maps called ``NAME_mask.png`` lie beside pictures.
        listed: a file that names those of the split, without extensions; None if all belong to it.
    """

    images: Path
    labels: Path
    listed: Path | None = None


def find_labels(
    root: Path | str, split: str = "train", *, images: Path | str | None = None, labels: Path | str | None = None
) -> LabelFolders:
    """The folders of a split.

    Looked for are ``images/<split>`` with ``annotations/<split>``, ``labels/<split>``, ``masks/<split>`` and so on
    (`LABEL_FOLDERS`), ``<split>/images`` with ``<split>/masks`` and so on, and for "val" and "all" ``images`` with
    ``masks`` and so on if there are no folders of splits. ADE20K's ``training`` and ``validation`` are splits, too.
    Pascal VOC's ``JPEGImages`` with ``SegmentationClass`` is split by the lists in ``ImageSets/Segmentation``, and in
    Roboflow's folders of splits ``NAME_mask.png`` lies beside the picture. ``train`` or ``train_images`` beside
    ``train_labels`` or ``train_masks`` and so on are folders of a split, too.

    Args:
        root: the data folder.
        split: "train", "val", "test", or "all": what is not divided.
        images: the folder of the pictures instead, relative to `root`.
        labels: the folder of the label maps instead, relative to `root`.

    Raises:
        UserError: there are none.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{printable(root)}: {'not a folder' if root.exists() else 'no such folder'}")
    if split not in (*ALIASES, WHOLE):
        raise UserError(f"unknown split {split!r} (known: {', '.join(ALIASES)}, and {WHOLE})")
    for given in (images, labels):
        if given is not None and not (root / given).is_dir():
            raise UserError(f"{printable(root / given)}: no such folder")
    for place in _candidates(root, split, images, labels):
        found = replace(
            place,
            images=root / images if images is not None else place.images,
            labels=root / labels if labels is not None else place.labels,
        )
        if found.images.is_dir() and found.labels.is_dir() and any(scan_images(found.labels)):
            return found
    beside = [root / name for name in split_names(split)] + [root] * (split == WHOLE)
    for folder in beside if images is None and labels is None else ():
        if _beside_each_other(folder):
            return LabelFolders(folder, folder)
    if images is not None and labels is not None:
        raise UserError(f"{printable(root / labels)}: no label maps in this folder")
    refuse_foreign(root)
    split = "train" if split == WHOLE else split
    there = sorted(printable(entry.name) for entry in root.iterdir() if entry.is_dir())
    raise UserError(
        f"{printable(root)}: no label maps of split {split!r}; expected images/ and masks/,"
        f" images/{split_names(split)[-1]} and annotations/{split_names(split)[-1]} as in ADE20K,"
        f" images/{split} and masks/{split}, or {split}/images and"
        f" {split}/masks (also called {', '.join(LABEL_FOLDERS)}); folders here: {', '.join(there[:8]) or 'none'}"
    )


def has_label_maps(root: Path | str) -> bool:
    """Whether `root` is laid out as pictures with label maps."""
    return bool(label_splits(root))


def label_splits(root: Path | str) -> list[str]:
    """The splits that have label maps; of what is not divided "all" alone."""
    found = [split for split in ALIASES if _has_split(Path(root), split)]
    undivided = found in ([], ["val"]) and _has_split(Path(root), WHOLE)
    return [WHOLE] if undivided else found


def _has_split(root: Path, split: str) -> bool:
    try:
        find_labels(root, split)
    except UserError:
        return False
    return True


def paired_folders(root: Path) -> tuple[Path, Path] | None:
    """Two folders of other names that seem to be pictures and their label maps: files of the same names, one of maps.

    What is in the first map decides: a photograph has thousands of colours.
    """
    folders = [root / name for name in class_folders(root)[:_LOOKED_INTO]]
    for labels in folders:
        maps = {_unended(path.stem) or path.stem: path for path in _pictures(labels)}
        if not _MAPS.search(labels.name) or len(maps) < 2:
            continue
        for images in folders:
            shared = [path.stem for path in _pictures(images) if path.stem in maps]
            if images != labels and not _MAPS.search(images.name) and len(shared) >= 0.8 * len(maps):
                return (images, labels) if _is_map(maps[shared[0]]) else None
    return None


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_image_name(path.name))


def _is_map(path: Path) -> bool:
    try:
        return len(np.unique(read_pixels(path).values)) <= _FEW_VALUES
    except ImageError:
        return False


def _candidates(root: Path, split: str, images: Path | str | None, labels: Path | str | None) -> list[LabelFolders]:
    def there(base: Path, kinds: Iterable[str], within: str = "") -> list[Path]:
        return [path for name in kinds if (path := base / name / within).is_dir()]

    def pairs(base: Path, within: str = "") -> list[LabelFolders]:
        pictures = there(base, IMAGE_FOLDERS, within) if images is None else [root / images]
        maps = there(base, LABEL_FOLDERS, within) if labels is None else [root / labels]
        return [LabelFolders(image, label) for image, label in product(pictures, maps)]

    names = split_names(split)
    found = [pair for name in names for pair in pairs(root, name)]
    found += [pair for name in names for pair in pairs(root / name)]
    found += [pair for name in names for pair in _joined(root, name)]
    every = [name for other in ALIASES for name in split_names(other)]
    # Without its pictures CVAT's export has no JPEGImages.
    base = _voc(root)
    voc = [LabelFolders(base / image, base / label) for image in (_VOC_IMAGES, *IMAGE_FOLDERS) for label in _VOC_LABELS]
    lists = {name: base / _VOC_LISTS / f"{name}.txt" for name in every}
    found += [
        replace(place, listed=lists[name]) for name in names if name in lists and lists[name].is_file() for place in voc
    ]
    undivided = split in ("val", WHOLE)
    if undivided and not any((folder / name).is_dir() for folder in there(root, IMAGE_FOLDERS) for name in every):
        found += pairs(root)
    if undivided and not any(path.is_file() for path in lists.values()):
        found += voc
    return found


def _voc(root: Path) -> Path:
    """The folder of Pascal VOC's folders: `root`, or the one in it that VOC's own archive makes."""
    inner = [*root.glob("VOC20??"), *root.glob("VOCdevkit/VOC20??")]
    return inner[0] if len(inner) == 1 else root


def _joined(root: Path, split: str) -> list[LabelFolders]:
    """Folders whose names are that of a split and what is in them."""
    there = [
        (entry, entry.name[len(split) :])
        for entry in sorted(root.iterdir())
        if entry.name.casefold().startswith(split) and entry.is_dir()
    ]
    labels = [entry for entry, rest in there if rest and _JOINED_LABELS.fullmatch(rest)]
    return [LabelFolders(image, label) for label in labels for image, rest in there if _JOINED_IMAGES.fullmatch(rest)]


def _beside_each_other(folder: Path) -> bool:
    """Whether a folder holds label maps called NAME_mask.png beside pictures."""
    if not folder.is_dir():
        return False
    stems = {entry.stem for entry in folder.iterdir() if is_image_name(entry.name)}
    pictures = stems | {_bare(stem) for stem in stems}
    return any(_unended(stem) in pictures for stem in stems)


def pair_names(folders: LabelFolders) -> tuple[list[tuple[str, str]], tuple[tuple[Path, str], ...]]:
    """Pictures and label maps of equal names (extension and endings such as "_mask" apart), and the files left over."""
    maps: dict[str, str] = {}
    left_out: list[tuple[Path, str]] = []
    images, labels = list(scan_images(folders.images)), list(scan_images(folders.labels))
    if folders.images == folders.labels:
        stems = {_stem(name) for name in images} | {_bare(_stem(name)) for name in images}
        labels = [name for name in images if _unended(_stem(name)) in stems]
        images = sorted({*images} - {*labels})
    if folders.listed is not None:
        wanted = _read_list(folders.listed)
        images = [name for name in images if _stem(name) in wanted]
        labels = [name for name in labels if _stem(name) in wanted]
        there = {_stem(name) for name in images}
        left_out += [(folders.images / stem, NOT_THERE) for stem in wanted if stem not in there]
    for name in labels:
        stem = _stem(name)
        if stem in maps:
            left_out.append(
                (folders.labels / name, f"second label map of the same name as {PurePosixPath(maps[stem]).name}")
            )
        else:
            maps[stem] = name
    pairs, used = [], set()
    if not any(_map_of(_stem(name), maps) for name in images):  # the folders within may have other names
        leaves = {stem.rpartition("/")[2]: stem for stem in maps}
        unlike = len({_stem(name).rpartition("/")[2] for name in images}) == len(images)
        at = leaves if len(leaves) == len(maps) and unlike else {}
    else:
        at = {stem: stem for stem in maps}
    for name in images:
        stem = _stem(name)
        label = at.get(_map_of(stem, at) or _map_of(stem.rpartition("/")[2], at) or "")
        if label is None:
            left_out.append((folders.images / name, NO_LABEL))
        else:
            used.add(label)
            pairs.append((name, maps[label]))
    other = {match[1] for stem in used if (match := _SEVERAL.fullmatch(stem))}
    left_out += [
        (folders.labels / name, NO_PICTURE)
        for stem, name in maps.items()
        if stem not in used and not ((match := _SEVERAL.fullmatch(stem)) and match[1] in other)
    ]
    return pairs, tuple(left_out)


def _map_of(stem: str, maps: Collection[str]) -> str | None:
    """The name of the label map of a picture among those that are there."""
    names = (f"{base}{ending}" for base in dict.fromkeys((stem, _bare(stem))) for ending in _ENDINGS)
    return next((name for name in names if name in maps), None)


def _bare(stem: str) -> str:
    """The name of a picture without what only pictures have."""
    return next((stem.removesuffix(ending) for ending in _PICTURE_ENDINGS if stem.endswith(ending)), stem)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _unended(stem: str) -> str | None:
    """The name of the picture that a label map beside it belongs to."""
    return next((stem.removesuffix(ending) for ending in _ENDINGS[1:] if stem.endswith(ending)), None)


def _read_list(path: Path) -> dict[str, None]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{printable(path)}: can't be read as a list of picture names ({error})") from error
    names = [line.strip() for line in lines if line.strip()]
    return dict.fromkeys(_stem(name) if is_image_name(name) else name for name in names)
