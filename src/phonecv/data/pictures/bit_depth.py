"""How many bits the values of 16-bit pictures hold: cameras and scanners of 12 bits write files of 16."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from phonecv.data.pictures.opening import DEPTHS, ImageError, depth_of, largest_value, suffix_of
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.text import counted

T = TypeVar("T")

#: Extensions of files that may hold 16 bits per channel.
_DEEP = (".png", ".tif", ".tiff", ".pgm", ".pnm", "")
#: Files whose name is looked at, of those that may have 16 bits the ones whose header is read, and of those that have
#: the ones that are decoded; all evenly picked.
_NAMES, _HEADERS, _DECODED = 20_000, 256, 64


@dataclass(frozen=True, slots=True)
class Depth:
    """What was found in a data set: bits that the values need, the largest one, 16-bit pictures looked at, and whether
    their colours have so few bits that their high bytes, all that is read, are coarse."""

    bits: int
    largest: int
    looked_at: int
    coarse: bool = False

    def __str__(self) -> str:
        text = (
            f"16-bit pictures hold values up to {self.largest} (in {self.looked_at} of them), so they are read as"
            f" {self.bits} bits"
        )
        if self.coarse:
            steps = counted((self.largest >> 8) + 1, "steps")
            text += f"; of 16-bit colours the high bytes alone are read, so these have {steps}: save them with 8 bits"
        return text


def find_depth(paths: Sequence[Path]) -> Depth | None:
    """The depth of the 16-bit gray pictures among `paths`; None where there are none.

    One for the whole data set: scaled picture by picture, a dark one would come out as bright as a bright one.
    """
    candidates = [path for path in _picked(paths, _NAMES) if suffix_of(path.name) in _DEEP]
    deep, values = [], []
    for path in _picked(candidates, _HEADERS):
        with suppress(ImageError):  # told when its turn comes
            deep += [path] * (largest_value(path, header_only=True)[0] > 0xFF)
    for path in _picked(deep, _DECODED):
        with suppress(ImageError):
            values.append(largest_value(path))
    if not values:
        return None
    largest, colours = max(values)
    bits = depth_of(largest)
    return Depth(bits, largest, len(values), colours and bits < DEPTHS[-1])


Spec = TypeVar("Spec", bound=Preprocessing | DensePreprocessing)


def settle_depth(spec: Spec, paths: Sequence[Path]) -> tuple[Spec, str]:
    """The preprocessing with the depth that pictures are read with (its own if it has one), and what to know of it."""
    found = find_depth(paths)
    if found is None:
        return spec, ""
    if spec.bits is None:
        return replace(spec, bits=found.bits), str(found)
    text = f"16-bit pictures are read as {spec.bits} bits, as the network has it"
    if found.bits != spec.bits:
        effect = "those beyond are cut" if found.bits > spec.bits else "they come out dark"
        text += f"; these hold values up to {found.largest}, so {effect}"
    return spec, text


def tell_depth(text: str) -> None:
    """Log what `settle_depth` says, where there is no report to put it into."""
    if text:
        logging.getLogger("phonecv").warning("%s", text)


def _picked(items: Sequence[T], most: int) -> list[T]:
    count = min(most, len(items))
    return [items[number * len(items) // count] for number in range(count)]
