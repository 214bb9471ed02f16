"""How the pixels of a data set's label maps become numbers: by index, by colour, black and white.

A colour is a class only where something says so: the class file beside the maps, or the palette of Pascal VOC, which
most drawing programs share. Nothing is ever taken for its nearest colour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from phonecv.data.labelmaps.classes import Colour, LabelClasses
from phonecv.data.pictures.opening import ImageError, opened, turn_of
from phonecv.text import counted, printable_name

#: Label of pixels that count for nothing.
IGNORE = 255
#: Largest number that a label map may hold.
LARGEST = 65535
#: Formats whose pixels are not what was saved.
_LOSSY = ("JPEG", "MPO", "WEBP")
#: Pillow spreads gray values of 2 and 4 bits over 0..255; in a label map they are numbers.
_SPREAD = {"L;2": 85, "L;4": 17}

#: Label maps that are looked into before the reading of all is chosen, spread evenly over the split.
_LOOKED_INTO = 24

#: Least value that is white in black and white masks; smaller ones may be classes.
_WHITE = 64


@dataclass(frozen=True)
class ColourKey:
    """Which number each colour stands for, and who says so."""

    numbers: dict[Colour, int]
    source: str
    _codes: np.ndarray = field(init=False, repr=False, compare=False)
    _values: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        codes = encode(np.array(list(self.numbers)))
        order = np.argsort(codes)
        object.__setattr__(self, "_codes", codes[order])
        object.__setattr__(self, "_values", np.array(list(self.numbers.values()), dtype=np.uint8)[order])

    def __call__(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of colours given as `encode` does, and which of them are known."""
        places = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        return self._values[places], self._codes[places] == codes

    def knows(self, colours: Sequence[Colour]) -> bool:
        """Whether every one of them stands for a number."""
        return all(colour in self.numbers for colour in colours)


def encode(pixels: np.ndarray) -> np.ndarray:
    """``... 3`` bytes as one number each."""
    wide = pixels.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def decode(codes: np.ndarray) -> list[Colour]:
    """The colours of such numbers."""
    return [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]


@cache
def voc_palette() -> tuple[Colour, ...]:
    """The 256 colours of Pascal VOC: the bits of the index, spread over red, green and blue from the highest down."""

    def channel(index: int, which: int) -> int:
        return sum((index >> (3 * place + which) & 1) << (7 - place) for place in range(3))

    return tuple((channel(index, 0), channel(index, 1), channel(index, 2)) for index in range(256))


@cache
def voc_key() -> ColourKey:
    """The VOC palette; its last colour is the border, which is ignored."""
    return ColourKey({colour: index for index, colour in enumerate(voc_palette())}, "the palette of Pascal VOC")


def class_key(classes: LabelClasses | None, reduce_zero_label: bool = False) -> ColourKey | None:
    """The colours of a class file, if it gives every class one of its own; as in `LabelClasses.under`."""
    if classes is None or classes.colours is None or len(set(classes.colours)) < len(classes.colours):
        return None
    first = int(reduce_zero_label) if classes.first is None else classes.first
    numbers = {colour: first + index for index, colour in enumerate(classes.colours)}
    return ColourKey({voc_palette()[-1]: IGNORE} | numbers, classes.path.name)


def shown(colours: Sequence[Colour], most: int = 4) -> str:
    """Some of them, for people."""
    return ", ".join(f"({r}, {g}, {b})" for r, g, b in colours[:most]) + (", ..." if len(colours) > most else "")


@dataclass(frozen=True)
class Palette:
    """What the indices of palette pictures look like, taken from one file of the data set."""

    path: Path
    colours: dict[int, Colour]

    def difference(self, colours: dict[int, Colour]) -> str:
        """In what the colours of another file's indices contradict this palette, or ""."""
        for index, colour in colours.items():
            other = self.colours.get(index, colour)
            if other != colour and index != IGNORE:
                return (
                    f"index {index} is {shown([colour])} here and {shown([other])} in {printable_name(self.path.name)}"
                )
        return ""


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
        values: ``H W``: numbers, uint8 or uint16; or colours as one number each (`encode`), int64.
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


@dataclass(frozen=True)
class MapReading:
    """How the pixels of the label maps of a data set become numbers; `choose_reading` chooses it.

    Attributes:
        key: what the colours of colour pictures stand for; None takes shades of gray as numbers and refuses colours.
        by_palette: palette pictures are read by `key`, too, not by their indices.
        palette: what the palettes of the data set have to look like.
        white: of black and white masks, the value that is class 1.
        stored: label maps are drawn on the pictures as they are stored, before they are turned by their EXIF note.
        note: what a person should know about it, or "".
        lossy: JPEG files are read, as a threshold makes two classes of what is near black and near white.
    """

    key: ColourKey | None = None
    by_palette: bool = False
    palette: Palette | None = None
    white: int | None = None
    stored: bool = False
    note: str = ""
    lossy: bool = False

    def __call__(self, pixels: MapPixels, path: Path) -> np.ndarray:
        """Numbers, ``H W``, uint8 or uint16."""
        values = self._numbers(pixels, path)
        if self.white is None:
            return values
        white = values == self.white
        strange = (values != 0) & ~white & (values != IGNORE)
        if strange.any():
            raise LabelColourError(
                path,
                f"{counted(len(np.unique(values[strange])), 'values')} on {counted(int(strange.sum()), 'pixels are')}"
                f" neither 0 nor {self.white}, as in the other masks; draw and save masks without smoothing, or set the"
                " threshold",
            )
        return np.where(white, 1, values).astype(np.uint8)

    def _numbers(self, pixels: MapPixels, path: Path) -> np.ndarray:
        values, palette = pixels.values, pixels.palette
        if pixels.coloured:
            return self._by_colour(pixels, path)
        if palette is None:
            return values
        if self.by_palette and self.key is not None:
            table = np.arange(256, dtype=np.uint8)
            numbers, known = self.key(encode(np.array(list(palette.values()), dtype=np.uint8).reshape(-1, 3)))
            foreign = [
                colour for index, colour, there in zip(palette, palette.values(), known, strict=True)
                if not there and index != IGNORE
            ]  # fmt: skip
            if foreign:
                raise LabelColourError(path, _foreign(foreign, self.key, None))
            for index, number in zip(palette, numbers.tolist(), strict=True):
                table[index] = IGNORE if index == IGNORE else number
            return table[values]
        differs = self.palette.difference(palette) if self.palette is not None else ""
        if differs:
            raise PaletteError(
                path,
                f"its palette differs from the others': {differs}; name the colours in classes.csv (name,r,g,b) to have"
                " them read, or save all maps as gray PNG of class numbers if the indices are right",
            )
        return values

    def _by_colour(self, pixels: MapPixels, path: Path) -> np.ndarray:
        if self.key is None:
            grays = pixels.grays
            if grays is not None:
                return grays
            colours = decode(np.unique(pixels.values))
            why = "nothing says what its colours mean; name them in classes.csv beside the folders (name,r,g,b)"
            if len(colours) > IGNORE:
                why = "so many are no classes: a photograph, or a map drawn with smoothing or saved as JPEG on its way"
            raise LabelFormatError(
                path,
                f"a colour picture ({len(colours)} colours: {shown(colours)}) where a label map is expected, and {why}",
            )
        numbers, known = self.key(pixels.values)
        if not known.all():
            foreign, counts = np.unique(pixels.values[~known], return_counts=True)
            order = np.argsort(-counts, kind="stable")
            raise LabelColourError(path, _foreign(decode(foreign[order]), self.key, int(counts.sum())))
        return numbers


def _foreign(colours: list[Colour], key: ColourKey, pixels: int | None) -> str:
    on = "" if pixels is None else f" on {pixels} pixels"
    return (
        f"{len(colours)} colours{on} that {key.source} does not have: {shown(colours)}; either a class is missing"
        " there, or the map was drawn or resized with smoothing, or saved as JPEG on its way"
    )


def choose_reading(
    paths: Sequence[Path],
    classes: LabelClasses | None,
    count: int | None,
    *,
    stored: bool = False,
    reduce_zero_label: bool = False,
) -> MapReading:
    """How the label maps of a data set are to be read, by a look into some of them.

    Colours go by the class file if it has a colour for every class; else shades of gray are numbers, and other colours
    those of the VOC palette, if all of them are. A palette's colours count only where the class file knows all that
    occur; otherwise its indices are the numbers, and all palettes have to agree. With two classes, masks of 0 and one
    high value such as 255 are black and white.

    Args:
        paths: the label maps; those that can't be read are passed over.
        classes: of the class file.
        count: how many classes there are, if that is known.
        stored: see `MapReading`.
        reduce_zero_label: see `LabelClasses.under`.
    """
    step = max(1, len(paths) // _LOOKED_INTO)
    looked: list[tuple[Path, MapPixels]] = []
    for path in paths[::step]:
        try:
            looked.append((path, read_pixels(path)))
        except ImageError:  # whoever reads the data reports it
            continue
    key: ColourKey | None = None
    notes: list[str] = []
    named = class_key(classes, reduce_zero_label)
    coloured = [pixels for _, pixels in looked if pixels.coloured]
    if coloured:
        colours = _colours(coloured)
        gray = all(pixels.grays is not None for pixels in coloured)
        if named is not None and (named.knows(colours) or not gray):
            key = named
        elif gray:
            pass  # numbers in three channels
        elif sum(voc_key().knows(_colours([pixels])) for pixels in coloured) > len(coloured) / 2:
            key = voc_key()
            known = [colour for colour in colours if colour in key.numbers]
            numbers = ", ".join(f"{shown([colour])} is {key.numbers[colour]}" for colour in known[:4])
            notes.append(
                f"the label maps hold the colours of the VOC palette and are read by it ({numbers}); a class file with"
                " colours (name,r,g,b) says otherwise"
            )
    paletted = [(path, pixels.palette) for path, pixels in looked if pixels.palette]
    fitting = 0 if named is None else sum(_fits(palette, named) for _, palette in paletted)
    by_palette = fitting > len(paletted) / 2
    if by_palette and named is not None:
        key = key or named
        moved = next((text for path, palette in paletted if (text := _moved(path, palette, named))), "")
        if moved:
            notes.append(f"palette label maps are read by their colours as {named.source} names them ({moved})")
    palette = None
    if paletted and not by_palette:
        palette = usual_palette(paletted)
    white = _white_of(looked) if count == 2 and key is None else None
    if white is not None:
        notes.append(f"black and white masks: 0 is class 0 and {white} class 1; any other value is refused")
    return MapReading(key, by_palette, palette, white, stored, "; ".join(notes))


def usual_palette(paletted: Sequence[tuple[Path, dict[int, Colour]]]) -> Palette:
    """The colour that most files give each index, and the first file that agrees with all of them."""
    seen: dict[int, Counter[Colour]] = {}
    for _, palette in paletted:
        for index, colour in palette.items():
            seen.setdefault(index, Counter())[colour] += 1
    usual = {index: counts.most_common(1)[0][0] for index, counts in seen.items()}
    agreeing = (path for path, palette in paletted if not Palette(path, usual).difference(palette))
    return Palette(next(agreeing, paletted[0][0]), usual)


def _colours(coloured: Sequence[MapPixels]) -> list[Colour]:
    return decode(np.unique(np.concatenate([np.unique(pixels.values) for pixels in coloured])))


def _fits(palette: dict[int, Colour], key: ColourKey) -> bool:
    return key.knows([colour for index, colour in palette.items() if index != IGNORE])


def _moved(path: Path, palette: dict[int, Colour], key: ColourKey) -> str:
    moved = [(index, key.numbers.get(colour, index)) for index, colour in palette.items() if index != IGNORE]
    return next(
        (f"index {index} of {printable_name(path.name)} is {number}" for index, number in moved if index != number), ""
    )


def _white_of(looked: Sequence[tuple[Path, MapPixels]]) -> int | None:
    """The value that is white: alone beside 0 in most masks, while 1 is in none."""
    votes: Counter[int] = Counter()
    voters = 0
    for _, pixels in looked:
        numbers = pixels.grays if pixels.coloured else pixels.values
        if numbers is None or pixels.palette:
            return None
        values = set(np.unique(numbers).tolist()) - {0}
        if 1 in values:
            return None
        voters += bool(values)
        votes.update(values if len(values) == 1 else ())
    white, count = votes.most_common(1)[0] if votes else (0, 0)
    return white if count > voters / 2 and _WHITE <= white <= IGNORE else None
