"""Label maps: pictures whose pixels are class numbers, or colours that stand for them.

What a value means is never guessed: `reduce_zero_label` and `threshold` are choices of the person, and a value that is
neither a class nor the ignored one is an error that names the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from phonecv.data.labelmaps.reading import IGNORE, LARGEST, LabelFormatError, MapReading, read_pixels
from phonecv.data.pictures.opening import ImageError, decoded, opened, turn_of
from phonecv.errors import UserError
from phonecv.text import counted, printable

__all__ = ["IGNORE", "LabelFormatError", "LabelSizeError", "LabelValues", "read_map", "read_pair"]


@dataclass(frozen=True)
class LabelValues:
    """What the values of a label map mean.

    Attributes:
        num_classes: they become 0 to num_classes - 1.
        reduce_zero_label: the value 0 is ignored, and 1 is class 0 (ADE20K).
        threshold: values from this one on are class 1 and all others class 0 (black and white masks); None: values
            are classes.
        ignore: value of pixels that count for nothing; it becomes `IGNORE`.

    Raises:
        UserError: they contradict each other.
    """

    num_classes: int
    reduce_zero_label: bool = False
    threshold: float | None = None
    ignore: int = IGNORE
    _table: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        count, shift = self.num_classes, int(self.reduce_zero_label)
        if not 1 <= count <= IGNORE:
            raise UserError(f"{count} classes; label maps may have 1 to {IGNORE}, as {IGNORE} means ignored")
        if not count + shift <= self.ignore <= LARGEST:
            raise UserError(
                f"the ignored value {self.ignore} has to lie above the values of all {count} classes"
                f" ({shift} to {count - 1 + shift}) and not above {LARGEST}"
            )
        if self.threshold is not None and (shift or count != 2):
            raise UserError(
                f"threshold={self.threshold} makes two classes out of black and white masks; it does not go with"
                f" {count} classes{' and reduce_zero_label=true' if shift else ''}"
            )
        # Reading ADE20K, 0 has to be taken out before one is subtracted, and 255 has to stay itself: in bytes 0 - 1
        # is 255 and 255 - 1 is 254, a class that nobody has. A table has none of these traps.
        table = np.full(LARGEST + 1, -1, dtype=np.int16)
        table[shift : shift + count] = np.arange(count)
        table[:shift] = IGNORE
        table[self.ignore] = IGNORE
        object.__setattr__(self, "_table", table)

    def __call__(self, raw: np.ndarray, path: Path) -> np.ndarray:
        """Classes and `IGNORE`, uint8."""
        if self.threshold is not None:
            return (raw >= self.threshold).astype(np.uint8)
        labels = self._table[raw]
        if labels.min(initial=0) < 0:
            raise ImageError(path, self._strange(raw[labels < 0]))
        return labels.astype(np.uint8)

    @property
    def known(self) -> str:
        """Which values have a meaning, for people."""
        first = int(self.reduce_zero_label)
        zero = "0 (nothing), " if first else ""
        return f"{zero}{first} to {first + self.num_classes - 1} and {self.ignore} (ignored)"

    def _strange(self, raw: np.ndarray) -> str:
        values, counts = np.unique(raw, return_counts=True)
        shown = ", ".join(f"{value} ({count} px)" for value, count in zip(values[:5], counts[:5], strict=True))
        more = f" and {len(values) - 5} more" if len(values) > 5 else ""
        text = f"label value {shown}{more} with {counted(self.num_classes, 'classes')}; known are {self.known}"
        if not self.reduce_zero_label and values.tolist() == [self.num_classes]:
            text += "; if classes are counted from 1 in these files, set reduce_zero_label=true"
        return text


class LabelSizeError(ImageError):
    """A label map that has another size than its picture; `sizes` are width and height of both, where still known."""

    sizes: tuple[int, int, int, int] | None = None


def read_map(path: Path, reading: MapReading | None = None) -> np.ndarray:
    """The numbers in a label map, ``H W``, uint8 or uint16.

    Args:
        path: the file.
        reading: what its colours stand for; None takes numbers as they are, and shades of gray as numbers.

    Raises:
        ImageError: unreadable, or with colours that stand for nothing.
    """
    reading = reading or MapReading()
    return reading(read_pixels(path, lossy=reading.lossy), path)


def read_pair(
    image_path: Path, label_path: Path, reading: MapReading | None = None, *, bits: int | None = None
) -> tuple[Image.Image, np.ndarray]:
    """A picture as upright RGB, and the numbers of its label map, which must have its size.

    A camera may have stored the picture lying, with a note to turn it. A label map that has the stored size, unlike the
    upright one, is turned like its picture; where both sizes are the same, `MapReading.stored` decides.
    """
    with opened(image_path) as image:
        turn, stored = turn_of(image), (image.height, image.width)
        picture = decoded(image, image_path, bits)
    raw = read_map(label_path, reading)
    size = (picture.height, picture.width)
    as_stored = raw.shape != size or (reading is not None and reading.stored)
    if turn is not None and raw.shape == stored and as_stored:
        raw = np.asarray(Image.fromarray(raw).transpose(turn))
    if raw.shape != size:
        error = LabelSizeError(
            label_path,
            f"label map of {raw.shape[1]} x {raw.shape[0]} pixels for a picture of {size[1]} x {size[0]}"
            f" ({printable(image_path.name)})",
        )
        error.sizes = (raw.shape[1], raw.shape[0], size[1], size[0])
        raise error
    return picture, raw
