"""A split of the data."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from phonecv.data.folders.listing import Listing, Sample
from phonecv.errors import UserError
from phonecv.files import digest


@dataclass(frozen=True)
class Split:
    """Pictures with a number each.

    Attributes:
        listing: the pictures; a label is the place in `numbers`.
        numbers: in the same order.
    """

    listing: Listing
    numbers: tuple[float, ...]

    @property
    def label_digest(self) -> str:
        return digest(self.listing.labels, repr(self.numbers).encode())

    @property
    def paths(self) -> list[Path]:
        return [sample.path for sample in self.listing.samples]


def read_split(root: Path | str, split: str, limit: int | None = None) -> Split:
    file = Path(root) / f"{split}.csv"
    if not file.is_file():
        raise UserError(f"{root} has no {file.name}, lines of picture,number")
    with file.open(newline="") as lines:
        rows = list(csv.reader(lines))[:limit]
    samples = tuple(Sample(Path(root) / name, place) for place, (name, _) in enumerate(rows))
    return Split(Listing(Path(root), split, (), samples), tuple(float(number) for _, number in rows))
