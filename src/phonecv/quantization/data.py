"""Pictures for quantization: some to find ranges on, others to choose by, and those of the last word.

Three sets that share no picture. A method chosen on the pictures it was calibrated on looks better than it is, and a
score that was used to choose is no measurement any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from phonecv.classify.evaluate import match_outputs
from phonecv.classify.opening import torch_runner
from phonecv.data.folders.listing import SPLITS, find_list, read_split
from phonecv.data.folders.splits import find_split
from phonecv.data.pictures.opening import find_images, open_image, printable
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing

#: Pictures to calibrate on, to choose by, and to score at the end, at most.
CALIBRATE, CHOOSE, SCORE = 128, 1000, 5000

#: Fewer pictures than this say little about what values occur.
LEAST = 8


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures as the network takes them, in memory as bytes.

    Attributes:
        paths: the files.
        pixels: ``N 3 H W`` bytes, cut as at evaluation.
        labels: the network's output that is right for each, or None where nobody said.
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

    def array(self) -> np.ndarray:
        """The same as an array."""
        return self.tensor().numpy()


@dataclass(frozen=True, slots=True)
class Found:
    """Pictures that were found and not read yet."""

    paths: Sequence[Path]
    labels: Sequence[int] | None
    source: str
    note: str = ""

    def every(self, start: int, step: int) -> Found:
        """Every `step`-th picture."""
        labels = None if self.labels is None else self.labels[start::step]
        return Found(self.paths[start::step], labels, self.source, self.note)

    def read(self, network: VisionModel, most: int) -> Pictures:
        """The pictures themselves, at most so many, evenly picked.

        Raises:
            UserError: one of them cannot be read.
        """
        count = min(most, len(self.paths))
        chosen = [number * len(self.paths) // count for number in range(count)]
        paths = tuple(self.paths[number] for number in chosen)
        transform = eval_transform(network.preprocessing)
        pixels = torch.stack([transform.pixels(open_image(path, bits=network.preprocessing.bits)) for path in paths])
        labels = None if self.labels is None else torch.tensor([self.labels[number] for number in chosen])
        where = f"{count} of {len(self.paths)} pictures of {self.source}" if count < len(self.paths) else self.source
        return Pictures(paths, pixels, labels, network.preprocessing, where, self.note)


def calibration(source: Path | str, network: VisionModel, count: int = CALIBRATE, *, bake: bool = False) -> np.ndarray:
    """Pictures of any folder (or a file, or a pattern) as the network takes them, evenly picked.

    Args:
        source: where the pictures are; sub-folders count.
        network: whose preprocessing is used.
        count: at most.
        bake: for a file that takes pixel values 0..255.

    Returns:
        ``N 3 H W`` float32, for `phonecv.exporting.export`.

    Raises:
        UserError: too few pictures, or one that cannot be read.
    """
    if count < LEAST:
        raise UserError(f"{count} pictures are too few to calibrate on; take at least {LEAST}, better 100 to 300")
    found = Found(find_images(source), None, printable(source))
    check_enough(len(found.paths), found.source, "calibrate on")
    pictures = found.read(network, count)
    return pictures.pixels.float().numpy() if bake else pictures.array()


def find(source: Path | str, network: VisionModel, split: str = "val") -> Found:
    """The pictures of a folder, with labels where its class folders are the network's classes.

    Raises:
        UserError: there are none.
    """
    folder, name = Path(source), printable(source)
    try:
        listing = read_split(folder, split)
        outputs = match_outputs(torch_runner(network, device="cpu"), listing, trust_labels=False)
    except UserError as error:
        within = folder / split
        return Found(find_images(within if within.is_dir() else source), None, name, str(error).splitlines()[0])
    labels = [outputs[label] for label in listing.labels.tolist()]
    return Found([sample.path for sample in listing.samples], labels, f"{name} ({split})")


def split_data(
    source: Path | str, network: VisionModel, *, calibrate: int = CALIBRATE, choose: int = CHOOSE
) -> tuple[Pictures, Pictures]:
    """Pictures to calibrate on, and others to choose by.

    A data folder with training and validation pictures gives one of each; of any other folder every second picture
    goes to either.

    Raises:
        UserError: there are too few, or one cannot be read.
    """
    if calibrate < LEAST or choose < LEAST:
        raise UserError(f"{min(calibrate, choose)} pictures are too few; take at least {LEAST}, better 100 to 300")
    root = Path(source)
    if root.is_dir() and all(find_split(root, split) or find_list(root, split) for split in SPLITS):
        first, second = find(root, network, "train"), find(root, network, "val")
    else:
        every = find(source, network)
        first, second = every.every(0, 2), every.every(1, 2)
    check_enough(len(first.paths), first.source, "calibrate on")
    check_enough(len(second.paths), second.source, "choose by")
    return first.read(network, calibrate), second.read(network, choose)


def check_enough(count: int, source: str, purpose: str) -> None:
    """Check that pictures are enough for something.

    Raises:
        UserError: they are not.
    """
    if count < LEAST:
        raise UserError(
            f"{source} has {count} pictures to {purpose}; at least {LEAST} are needed, and 100 to 300 "
            "like those the app will see are better"
        )


class Named(Protocol):
    """Pictures of any kind: where they are, and what to call them all."""

    @property
    def paths(self) -> tuple[Path, ...]: ...

    @property
    def source(self) -> str: ...


def refuse_shared(test: Named, *others: Named) -> None:
    """Check that no picture of the test is among the others, under whatever name.

    Raises:
        UserError: some are.
    """
    used = {_digest(path) for pictures in others for path in pictures.paths}
    shared = [path for path in test.paths if _digest(path) in used]
    if shared:
        raise UserError(
            f"{len(shared)} of the {len(test.paths)} pictures of {test.source} were used to calibrate or to choose "
            f"(the first: {printable(shared[0])}); a score on them would be too good, give other pictures"
        )


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


__all__ = ["CALIBRATE", "CHOOSE", "LEAST", "SCORE", "Found", "Pictures", "calibration", "check_enough", "find",
           "refuse_shared", "split_data"]  # fmt: skip
