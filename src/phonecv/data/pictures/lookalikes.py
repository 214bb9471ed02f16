"""Pictures that are in a data set twice, though saved anew: as JPEG of another quality, in another size.

Each picture is reduced to 16 x 16 colours. Pairs of pictures whose reductions agree are compared once more by their
finer structure. Among 4,800 real pictures of eight data sets (photographs, cells, hands) unrelated ones
differed by 0.2 of their contrast at least, copies of quality 40 to 95 and half to one and a half size by 0.11 at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from phonecv.data.pictures.opening import ImageError, open_image

#: Side of the reduced picture.
_SIDE = 16
#: Standard deviation of its values from which on a picture has something to be known by: white frames are no copies.
_CONTRAST = 6.0
#: Mean difference of two copies in relation to their contrast, and in values.
_RELATIVE, _ABSOLUTE = 0.12, 6.0
#: Side for the finer structure, and its least correlation in copies.
_FINE, _CORRELATION = 64, 0.7
#: Pairs beyond which nothing is compared: seconds up to 20,000 pictures, but hours for a million.
_MOST_PAIRS = 200_000_000
#: Rows compared at once, and pairs whose files are opened again.
_ROWS, _MOST_OPENED = 1024, 1000
#: The same within one set, whose pictures have been decoded for it: 60,000 of them take a minute.
_MOST_WITHIN, _MOST_OPENED_WITHIN = 2_000_000_000, 5000
#: Correlation that copies have at least: what differs by 0.12 of the contrast on average has 0.98 and more.
_LEAST_CORRELATION = 0.95


def reduced(image: Image.Image) -> bytes:
    """What a picture is known by, 768 bytes; nothing for one of hardly any contrast."""
    small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return small.tobytes() if np.asarray(small).std() >= _CONTRAST else b""


class Known(NamedTuple):
    """What a picture is known by: the digest of its pixels, which equal ones share, and `reduced` of it."""

    digest: bytes = b""
    reduced: bytes = b""


NOTHING = Known()


def known_by(image: Image.Image) -> Known:
    """Of the pixels, not of the file: a copy saved again as PNG, or with other metadata, is the same picture."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16, salt=b"%dx%d" % image.size).digest()
    return Known(digest, reduced(image))


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A picture of one split that seems to be in another, too."""

    split: str
    path: Path
    other_split: str
    other: Path


class Lookalikes:
    """Collects the pictures of all splits."""

    def __init__(self) -> None:
        self._splits: dict[str, list[tuple[Path, bytes, bytes]]] = {}

    def add(self, split: str, path: Path, look: bytes, digest: bytes) -> None:
        """Take up a picture: what it is known by (`reduced`), and what equal pictures have in common."""
        if look:
            self._splits.setdefault(split, []).append((path, look, digest))

    def find(self) -> list[Lookalike]:
        """For every picture of a later split the one of an earlier split that it seems to be a copy of, if any."""
        names = list(self._splits)
        found: list[Lookalike] = []
        for place, later in enumerate(names):
            for earlier in names[:place]:
                found += self._between(earlier, later)
        return found

    def _between(self, earlier: str, later: str) -> list[Lookalike]:
        ours, theirs = self._splits[earlier], self._splits[later]
        if len(ours) * len(theirs) > _MOST_PAIRS:
            return []
        known, known_flat = _vectors([look for _, look, _ in ours])
        digests = {digest for _, _, digest in ours}
        found: list[Lookalike] = []
        for start in range(0, len(theirs), _ROWS):
            rows = [row for row in theirs[start : start + _ROWS] if row[2] not in digests]  # equal ones are told
            if not rows:
                continue
            asked, asked_flat = _vectors([look for _, look, _ in rows])
            best = (asked @ known.T).argmax(1)  # the largest correlation
            for index in np.flatnonzero(_close(asked_flat, known_flat[best])).tolist():
                path, other = rows[index][0], ours[best[index]][0]
                if len(found) >= _MOST_OPENED or _alike(path, other, open_image):
                    found.append(Lookalike(later, path, earlier, other))
        return found


class Joined:
    """Places that were joined, by twos (union-find)."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def first(self, place: int) -> int:
        """What stands for all that `place` is joined with."""
        above = self._above
        while above[place] != place:
            above[place] = place = above[above[place]]
        return place

    def __call__(self, one: int, other: int) -> None:
        """Join two."""
        one, other = sorted((self.first(one), self.first(other)))
        self._above[other] = one

    def apart(self, one: int, other: int) -> bool:
        """Whether two places are not joined so far."""
        return self.first(one) != self.first(other)

    def all_of(self, groups: Iterable[Sequence[int]]) -> None:
        """Join the places of each group."""
        for places in groups:
            for place in places[1:]:
                self(places[0], place)

    def groups(self) -> list[int]:
        """The number of each place's group."""
        return [self.first(place) for place in range(len(self._above))]


def alike_pairs(
    paths: Sequence[Path], looks: Sequence[bytes], joined: Joined, opener: Callable[[Path], Image.Image]
) -> bool:
    """Join all pairs of pictures of one set that seem to be copies; False where there are too many to compare.

    Args:
        paths: their files.
        looks: what each is known by (`reduced`).
        joined: takes up the pairs; those that are joined already are not looked at.
        opener: gives a picture again, for its finer structure.
    """
    places = np.array([place for place, look in enumerate(looks) if look], dtype=np.int64)
    if len(places) < 2:
        return True
    vectors, flat = _vectors([looks[place] for place in places])
    # Copies are equally bright, to `_ABSOLUTE`: sorted, each has to be compared with some of its neighbours alone.
    order = flat.mean(1).argsort(kind="stable")
    places, vectors, flat = places[order], vectors[order], flat[order]
    bright = flat.mean(1)
    ends = np.searchsorted(bright, bright + _ABSOLUTE, side="right")
    if int((ends - np.arange(len(places))).sum()) > _MOST_WITHIN:
        return False
    opened = 0
    for start in range(0, len(places), _ROWS):
        stop = min(start + _ROWS, len(places))
        for first in range(start, int(ends[stop - 1]), _ROWS * 8):
            last = min(first + _ROWS * 8, int(ends[stop - 1]))
            near = vectors[start:stop] @ vectors[first:last].T >= _LEAST_CORRELATION
            rows, columns = (index + base for index, base in zip(np.nonzero(near), (start, first), strict=True))
            rows, columns = rows[columns > rows], columns[columns > rows]
            close = np.concatenate(
                [
                    _close(flat[rows[at : at + _ROWS]], flat[columns[at : at + _ROWS]])
                    for at in range(0, len(rows), _ROWS)
                ]
                or [np.zeros(0, dtype=bool)]
            )
            for one, other in zip(places[rows[close]].tolist(), places[columns[close]].tolist(), strict=True):
                if not joined.apart(one, other):
                    continue
                opened += 1
                if opened > _MOST_OPENED_WITHIN or _alike(paths[one], paths[other], opener):
                    joined(one, other)
    return True


def _close(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """N bool: whether the reduced pictures, N 768 of either, differ as little as copies do."""
    differences = np.abs(one - other).mean(1)
    contrast = np.sqrt(one.std(1) * other.std(1))
    return (differences <= _ABSOLUTE) & (differences <= _RELATIVE * contrast)


def _alike(path: Path, other: Path, opener: Callable[[Path], Image.Image]) -> bool:
    try:
        one, two = (_structure(opener(file)) for file in (path, other))
    except ImageError:  # gone since; nothing to compare
        return False
    scale = float(one.std() * two.std())
    return scale < 0.25 or float((one * two).mean()) / scale >= _CORRELATION


def _vectors(looks: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """N 768 each: of mean 0 and length 1, and as they are."""
    flat = np.frombuffer(b"".join(looks), dtype=np.uint8).reshape(len(looks), -1).astype(np.float32)
    centred = flat - flat.mean(1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True), flat


def _structure(image: Image.Image) -> np.ndarray:
    """64 x 64 grays less what the reduced picture tells already."""
    fine = image.convert("L").resize((_FINE, _FINE), Image.Resampling.BOX)
    coarse = fine.resize((_SIDE, _SIDE), Image.Resampling.BOX).resize((_FINE, _FINE), Image.Resampling.BILINEAR)
    residual = np.asarray(fine, dtype=np.float32) - np.asarray(coarse, dtype=np.float32)
    return residual - residual.mean()
