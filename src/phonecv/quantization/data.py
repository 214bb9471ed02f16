"""Pictures for quantization: some to find ranges on, others to choose by, and those of the last word.

Three sets that share no picture. A method chosen on the pictures it was calibrated on looks better than it is, and a
score that was used to choose is no measurement any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from phonecv.data.pictures.opening import find_images, open_image, printable
from phonecv.errors import UserError
from phonecv.exporting.record import check_size
from phonecv.exporting.run import as_input
from phonecv.files import sha256
from phonecv.quantization.options import CALIBRATE
from phonecv.text import counted

#: Fewer pictures than this say little about what values occur.
LEAST = 8

T = TypeVar("T")


class PictureSet(Protocol):
    """Pictures of any kind."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""

    @property
    def source(self) -> str:
        """What to call them all."""

    @property
    def note(self) -> str:
        """What a person should know of the choice, or nothing."""


def calibration(source: Path | str, network: Any, count: int = CALIBRATE, *, bake: bool = False) -> np.ndarray:
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
    check_counts(count, purpose=" to calibrate on")
    paths = find_images(source)
    check_enough(len(paths), printable(source), "calibrate on")
    size, bits = check_size(None, network), network.preprocessing.bits
    # One after the other: pictures in full would fill the memory.
    parts = [as_input([open_image(path, bits=bits)], network, *size, bake=bake) for path in evenly(paths, count)]
    return torch.cat(parts).numpy()


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly picked."""
    count = min(most, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def picked_text(count: int, of: int, name: str) -> str:
    """What to call pictures that were picked from many."""
    return f"{counted(count, 'pictures', of=of)} of {name}" if count < of else name


def check_counts(*counts: int, purpose: str = "") -> None:
    """Check how many pictures are asked for."""
    if min(counts) < LEAST:
        raise UserError(
            f"{counted(min(counts), 'pictures are')} too few{purpose}; take at least {LEAST}, better 100 to 300"
        )


def check_enough(count: int, source: str, purpose: str) -> None:
    """Check that pictures are enough for something."""
    if count < LEAST:
        raise UserError(
            f"{source} has {counted(count, 'pictures')} to {purpose}; at least {LEAST} are needed, and 100 to 300 "
            "like those the app will see are better"
        )


def refuse_shared(test: PictureSet, *others: PictureSet) -> None:
    """Check that no picture of the test is among the others, under whatever name."""
    used = {sha256(path) for pictures in others for path in pictures.paths}
    shared = [path for path in test.paths if sha256(path) in used]
    if shared:
        raise UserError(
            f"{len(shared)} of the {len(test.paths)} pictures of {test.source} were used to calibrate or to choose "
            f"(the first: {printable(shared[0])}); a score on them would be too good, give other pictures"
        )
