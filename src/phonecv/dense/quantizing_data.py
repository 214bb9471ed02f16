"""Pictures for the quantization of detectors and segmenters: any folder, no labels needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from phonecv.data.labelmaps.folders import IMAGE_FOLDERS
from phonecv.data.pictures.opening import find_images, open_image, printable
from phonecv.data.pictures.reading import planes
from phonecv.data.split_names import ALIASES
from phonecv.data.splitting.lists import listed_files
from phonecv.dense.inputs import prepare
from phonecv.dense.model import DenseModel
from phonecv.quantization.data import LEAST, check_counts, check_enough, evenly, picked_text
from phonecv.quantization.options import CALIBRATE

#: Pictures to choose by and to score at the end, at most: each of them is a forward pass of a large picture.
CHOOSE, SCORE = 100, 1000

#: Pixels of all calibration pictures together, at most; as float32 they are 400 MB.
MOST_PIXELS = 32 * 2**20


@dataclass(frozen=True, slots=True)
class DensePictures:
    """Pictures that are read when they are needed, because each may have a size of its own."""

    paths: tuple[Path, ...]
    source: str
    folder: Path
    note: str = ""

    def __len__(self) -> int:
        return len(self.paths)


def split_pictures(
    source: Path | str,
    size: tuple[int, int],
    *,
    calibrate: int = CALIBRATE,
    choose: int = CHOOSE,
    lists: tuple[Path, Path] | None = None,
) -> tuple[DensePictures, DensePictures]:
    """Pictures to calibrate on, and others to choose by, at most so many; fewer where their size is large.

    Of a data set with pictures for training and validation, by its folders or by `lists`, the former calibrate; of any
    other folder, or pattern, every second picture does.

    Raises:
        UserError: there are too few.
    """
    check_counts(calibrate, choose)
    train, val = (_split_folder(Path(source), split) for split in ("train", "val"))
    sources = [source, source]
    if lists is not None:
        sources = [*lists]
        first, second = (listed_files(path, Path(source)) for path in lists)
    elif train is not None and val is not None:
        first, second = find_images(train), find_images(val)
    else:
        every = find_images(_pictures_within(Path(source)))
        first, second = every[::2], every[1::2]
    check_enough(len(first), printable(sources[0]), "calibrate on")
    check_enough(len(second), printable(sources[1]), "choose by")
    room = max(LEAST, MOST_PIXELS // (size[0] * size[1]))
    note = ""
    if room < min(calibrate, len(first)):
        note = f"{room} pictures calibrate, as many as fit into memory at {size[0]}x{size[1]}"
    return _picked(first, min(calibrate, room), sources[0], note), _picked(second, choose, sources[1])


def all_pictures(source: Path | str, most: int = SCORE) -> DensePictures:
    """The pictures of a folder, a data set or a pattern, evenly picked."""
    val = _split_folder(Path(source), "val")
    return _picked(find_images(val or _pictures_within(Path(source))), most, source)


def canvas_tensor(paths: Sequence[Path], network: DenseModel, size: tuple[int, int]) -> Tensor:
    """Pictures as a file of one size gets them, ``N 3 H W``."""
    windows = getattr(network, "windows", None)
    parts = []
    for path in paths:
        picture = planes(open_image(path, bits=network.preprocessing.bits))
        if windows is None:
            parts.append(prepare([picture], network.preprocessing, canvas=size).batch)
        else:
            parts.append(_middle(prepare([picture], network.preprocessing).batch, size))
    return torch.cat(parts).contiguous()


def _middle(batch: Tensor, size: tuple[int, int]) -> Tensor:
    """The window in the middle, filled up where the picture is smaller."""
    tops = [max(0, (have - want) // 2) for have, want in zip(batch.shape[2:], size, strict=True)]
    cut = batch[:, :, tops[0] : tops[0] + size[0], tops[1] : tops[1] + size[1]]
    return torch.nn.functional.pad(cut, (0, size[1] - cut.shape[3], 0, size[0] - cut.shape[2]))


def _picked(paths: Sequence[Path], most: int, source: Path | str, note: str = "") -> DensePictures:
    chosen = tuple(evenly(paths, most))
    return DensePictures(chosen, picked_text(len(chosen), len(paths), printable(source)), Path(source), note)


def _split_folder(root: Path, split: str) -> Path | None:
    """Where the pictures of a split lie: ``images/val``, ``val/images`` or ``val``, by any of the split's names."""
    wanted = re.compile(rf"({'|'.join(ALIASES[split])})([-_]?\d+)?")
    for folder in (*(root / name for name in IMAGE_FOLDERS), root):
        found = [entry for entry in sorted(folder.glob("*")) if entry.is_dir() and wanted.fullmatch(entry.name)]
        if found:
            return _pictures_within(found[0])
    return None


def _pictures_within(folder: Path) -> Path:
    """Label maps lie beside the pictures' folder, and are pictures themselves."""
    return next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), folder)
