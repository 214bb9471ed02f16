"""Pictures that are in two splits, though saved anew: as JPEG of another quality, in another size.

Each picture is reduced to 16 x 16 colours. Pairs of pictures of two splits whose reductions agree are compared once
more by their finer structure. Among 4,800 real pictures of eight data sets (photographs, cells, hands) unrelated ones
differed by 0.2 of their contrast at least, copies of quality 40 to 95 and half to one and a half size by 0.11 at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


def reduced(image: Image.Image) -> bytes:
    """What a picture is known by, 768 bytes; nothing for one of hardly any contrast."""
    small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return small.tobytes() if np.asarray(small).std() >= _CONTRAST else b""


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A picture of one split that seems to be in another, too."""

    split: str
    path: Path
    other_split: str
    other: Path


class Lookalikes:
    """Collects the pictures of all splits; `opener` gives one again, for its finer structure."""

    def __init__(self, opener: Callable[[Path], Image.Image] = open_image) -> None:
        self._splits: dict[str, list[tuple[Path, bytes, bytes]]] = {}
        self._open = opener

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
            differences = np.abs(asked_flat - known_flat[best]).mean(1)
            contrast = np.sqrt(asked_flat.std(1) * known_flat[best].std(1))
            close = (differences <= _ABSOLUTE) & (differences <= _RELATIVE * contrast)
            for index in np.flatnonzero(close).tolist():
                path, other = rows[index][0], ours[best[index]][0]
                if len(found) >= _MOST_OPENED or self._alike(path, other):
                    found.append(Lookalike(later, path, earlier, other))
        return found

    def _alike(self, path: Path, other: Path) -> bool:
        try:
            one, two = (_structure(self._open(file)) for file in (path, other))
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
