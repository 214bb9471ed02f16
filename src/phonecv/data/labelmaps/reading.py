"""How the pixels of a data set's label maps become numbers: by index, by colour, black and white."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phonecv.data.labelmaps.classes import Colour, LabelClasses
from phonecv.data.labelmaps.colours import IGNORE, ColourKey, Palette, class_key, decode, encode, shown, voc_key
from phonecv.data.labelmaps.pixels import LabelColourError, LabelFormatError, MapPixels, PaletteError, read_pixels
from phonecv.data.pictures.opening import ImageError
from phonecv.text import counted, printable_name

#: Label maps that are looked into before the reading of all is chosen, spread evenly over the split.
_LOOKED_INTO = 24

#: Least value that is white in black and white masks; smaller ones may be classes.
_WHITE = 64


@dataclass(frozen=True)
class MapReading:
    """How the pixels of the label maps of a data set become numbers; `phonecv.data.labelmaps.reading` chooses it.

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
