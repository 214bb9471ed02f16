"""The pixels of label maps, before anything says what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from phonecv.data.labelmaps.classes import Colour
from phonecv.data.labelmaps.colours import encode
from phonecv.data.pictures.opening import ImageError, opened, turn_of

#: Largest number that a label map may hold.
LARGEST = 65535
#: Formats whose pixels are not what was saved.
_LOSSY = ("JPEG", "MPO", "WEBP")
#: Pillow spreads gray values of 2 and 4 bits over 0..255; in a label map they are numbers.
_SPREAD = {"L;2": 85, "L;4": 17}


class LabelFormatError(ImageError):
    """A file whose pixels are no class numbers; `kind` is of the finding that an audit makes of it."""

    kind = "label-format"


class LabelColourError(LabelFormatError):
    """Colours that stand for no class."""

    kind = "label-colour"


class PaletteError(LabelFormatError):
    """A palette that contradicts those of the other label maps."""

    kind = "palette"


@dataclass(frozen=True)
class MapPixels:
    """The pixels of a label map before anything says what they mean, upright.

    Attributes:
        values: ``H W``: numbers, uint8 or uint16; or colours as one number each (`label_colours.encode`), int64.
        coloured: whether they are colours.
        palette: colours of the numbers that occur, if the file has a palette that is more than shades of gray.
    """

    values: np.ndarray
    coloured: bool = False
    palette: dict[int, Colour] | None = None

    @property
    def grays(self) -> np.ndarray | None:
        """Colours that are all gray as numbers; None if there are others."""
        red, green, blue = (self.values >> shift & 255 for shift in (16, 8, 0))
        return blue.astype(np.uint8) if bool(((red == green) & (green == blue)).all()) else None


def read_pixels(path: Path, *, lossy: bool = False) -> MapPixels:
    """What is in a label map: gray of 1 to 32 bits, whole floating point numbers, a palette's indices, or colours;
    `lossy`: also of a JPEG, whose numbers are only near those that were saved."""
    with opened(path) as image:
        refused = image.format in _LOSSY and not lossy
        arguments = image.tile[0][3] if image.tile else None
        raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
        image.load()
        if refused:
            raise LabelFormatError(path, _lossy(image))
        turn = turn_of(image)
        whole = image if turn is None else image.transpose(turn)
        if len(image.getbands()) > 1:
            return _coloured(whole, path)
        palette = _palette(image) if image.mode == "P" else None
        values = np.asarray(whole)
    if values.dtype == np.bool_:
        return MapPixels(values.astype(np.uint8))
    if values.dtype == np.uint8:
        values = values // _SPREAD[raw_mode] if raw_mode in _SPREAD else values
        if palette is not None:
            palette = {index: palette[index] for index in np.unique(values).tolist() if index in palette}
        return MapPixels(values, palette=palette)
    if values.dtype.kind == "f":
        strange = ~np.isfinite(values) | (values != np.round(values))
        if strange.any():
            some = ", ".join(f"{value:g}" for value in values[strange][:3].tolist())
            raise LabelFormatError(
                path, f"{int(strange.sum())} pixels hold no whole number ({some}), so they are no class numbers"
            )
    if values.min(initial=0) < 0 or values.max(initial=0) > LARGEST:
        low, high = values.min(), values.max()
        raise LabelFormatError(
            path, f"label values {low:g} to {high:g} are outside 0..{LARGEST}; save the label map with 8 or 16 bits"
        )
    return MapPixels(values.astype(np.uint16))


def _coloured(image: Image.Image, path: Path) -> MapPixels:
    bands = image.getbands()
    if bands[-1] in ("A", "a"):
        alpha = np.asarray(image.getchannel(len(bands) - 1))
        levels = np.unique(alpha)
        # Fully transparent pixels are taken by their colour, black as a rule; half-transparent ones are edges.
        if set(levels.tolist()) - {0, 255} and len(levels) > 1:
            raise LabelFormatError(
                path, f"{len(levels)} degrees of opacity: a label map has none, so it was drawn with smoothing"
            )
    if image.mode in ("LA", "La"):
        return MapPixels(np.asarray(image.getchannel(0)))
    if image.mode not in ("RGB", "RGBA", "RGBa", "RGBX"):
        raise LabelFormatError(path, f"channels {' '.join(bands)}; save label maps as gray, palette or RGB PNG")
    return MapPixels(encode(np.asarray(image)[..., :3]), coloured=True)


def _palette(image: Image.Image) -> dict[int, Colour] | None:
    flat = image.getpalette("RGB") or []
    colours = {index: (flat[3 * index], flat[3 * index + 1], flat[3 * index + 2]) for index in range(len(flat) // 3)}
    return None if all(colour == (index, index, index) for index, colour in colours.items()) else colours


def _lossy(image: Image.Image) -> str:
    gray = image.mode == "L"
    pixels = np.asarray(image if gray else image.convert("RGB"))
    count = len(np.unique(pixels if gray else encode(pixels)))
    what = "values" if gray else "colours"
    return (
        f"label map saved as {image.format}, which changes the numbers of its classes (it holds {count} different"
        f" {what}); save it as PNG, or, if it is black and white, set segment.threshold=128 (eval: --threshold)"
    )
