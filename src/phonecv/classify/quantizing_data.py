"""Pictures for the quantization of classifiers, with labels where their folders are the network's classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.data.folders.listing import SPLITS, find_list, read_split
from phonecv.data.folders.splits import find_split
from phonecv.data.pictures.opening import find_images, open_image, printable
from phonecv.data.pictures.reading import eval_transform
from phonecv.data.splitting.lists import listed_files
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.opening import open_runner
from phonecv.preprocessing import Preprocessing
from phonecv.quantization.data import check_counts, check_enough, evenly, picked_text
from phonecv.quantization.options import CALIBRATE
from phonecv.verbs import Opening
from phonecv.whole.evaluate import match_outputs

#: Pictures to choose by, and to score at the end, at most.
CHOOSE, SCORE = 1000, 5000


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures as the network takes them, in memory as bytes.

    Attributes:
        paths: the files.
        pixels: ``N 3 H W`` bytes, cut as at evaluation.
        labels: the network's output that is right for each, or for every output 1 or 0 where pictures have several;
            None where nobody said.
        preprocessing: turns the bytes into input.
        source: for people.
        note: why there are no labels, where that needs saying.
    """

    paths: tuple[Path, ...]
    pixels: Tensor
    labels: Tensor | None
    preprocessing: Preprocessing
    source: str
    note: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, size: int = 32) -> Iterator[Tensor]:
        """Float input in parts, ``B 3 H W``."""
        normalise = eval_transform(self.preprocessing).normalise
        for part in self.pixels.split(size):
            yield normalise(part)

    def tensor(self) -> Tensor:
        """All of them as input, ``N 3 H W`` float32."""
        return torch.cat(list(self.batches())).contiguous()


@dataclass(frozen=True, slots=True)
class Found:
    """Pictures that were found and not read yet."""

    paths: Sequence[Path]
    labels: Sequence[int] | Sequence[list[int]] | None
    source: str
    note: str = ""

    def every(self, start: int, step: int) -> Found:
        """Every `step`-th picture."""
        labels = None if self.labels is None else self.labels[start::step]
        return Found(self.paths[start::step], labels, self.source, self.note)

    def read(self, network: VisionModel, most: int) -> Pictures:
        """The pictures themselves, at most so many, evenly picked."""
        chosen = evenly(range(len(self.paths)), most)
        paths = tuple(self.paths[number] for number in chosen)
        transform = eval_transform(network.preprocessing)
        pixels = torch.stack([transform.pixels(open_image(path, bits=network.preprocessing.bits)) for path in paths])
        labels = None if self.labels is None else torch.tensor([self.labels[number] for number in chosen])
        where = picked_text(len(chosen), len(self.paths), self.source)
        return Pictures(paths, pixels, labels, network.preprocessing, where, self.note)


def find(source: Path | str, network: VisionModel, split: str = "val", listed: Path | None = None) -> Found:
    """The pictures of a folder, or those `listed`, with labels where its classes are the network's."""
    folder, name = Path(source), printable(listed or source)
    try:
        listing = read_split(folder, split, list_file=listed, labels="one" if network.thresholds is None else "many")
        outputs = match_outputs(open_runner(network, "classify", Opening("cpu")), listing, trust_labels=False)
    except UserError as error:
        within = folder / split
        found = listed_files(listed, folder) if listed else find_images(within if within.is_dir() else source)
        return Found(found, None, name, str(error).splitlines()[0])
    labels: Any = [outputs[label] for label in listing.labels.tolist()] if listing.sets is None else None
    if listing.sets is not None:
        truth = np.zeros((len(listing), network.num_classes), int)
        truth[:, [*outputs.values()]] = listing.sets[:, [*outputs]]
        labels = truth.tolist()
    return Found([sample.path for sample in listing.samples], labels, name if listed else f"{name} ({split})")


def split_data(
    source: Path | str,
    network: VisionModel,
    *,
    calibrate: int = CALIBRATE,
    choose: int = CHOOSE,
    lists: tuple[Path, Path] | None = None,
) -> tuple[Pictures, Pictures]:
    """Pictures to calibrate on, and others to choose by.

    A data folder with training and validation pictures, by its folders or by `lists`, gives one of each; of any other
    folder every second picture goes to either.

    Raises:
        UserError: there are too few, or one cannot be read.
    """
    check_counts(calibrate, choose)
    root = Path(source)
    if lists is not None:
        first, second = (find(root, network, split, path) for split, path in zip(SPLITS, lists, strict=True))
    elif root.is_dir() and all(find_split(root, split) or find_list(root, split) for split in SPLITS):
        first, second = find(root, network, "train"), find(root, network, "val")
    else:
        every = find(source, network)
        first, second = every.every(0, 2), every.every(1, 2)
    check_enough(len(first.paths), first.source, "calibrate on")
    check_enough(len(second.paths), second.source, "choose by")
    return first.read(network, calibrate), second.read(network, choose)
