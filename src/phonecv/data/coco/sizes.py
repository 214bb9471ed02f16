"""Whether pictures have the sizes that a COCO file says, and what is behind it where they have not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from phonecv.data.coco.conventions import setting, setting_and_flag
from phonecv.data.coco.fitting import stored_size, upright
from phonecv.data.coco.split import CocoSplit
from phonecv.data.pictures.opening import ImageError, printable

#: Rounding of a side when pictures are resized, in pixels.
_ROUNDING = 1.5


#: What seems to be behind wrong sizes, and what to do.
_BEHIND = {
    "stored": "They are turned by their EXIF orientation and have the sizes of the pictures as stored: if boxes are for"
    f" those too, choose {setting_and_flag('stored')}; if they are for the pictures as shown,"
    f" {setting_and_flag('sizes', 'pictures')}",
    "exchanged": "Width and height seem to be exchanged in the file:"
    f" {setting_and_flag('sizes', 'pictures')}"
    " takes the sizes of the pictures",
    "resized": "The pictures seem to have been resized after labelling:"
    f" {setting_and_flag('sizes', 'scaled')} resizes boxes with them",
    "other": "If boxes are pixels of the pictures as they are, choose"
    f" {setting_and_flag('sizes', 'pictures')}; if the pictures were resized after labelling,"
    f" {setting('sizes', 'scaled')}",
}


@dataclass
class SizeCheck:
    """The pictures of a split that were looked at.

    Attributes:
        split: theirs.
        looked: how many.
        wrong: places of those that have another size than the file says, by what seems to be behind it.
        turned: places of those whose EXIF orientation turns them and leaves their sides as they are, so that the file
            can't tell whether its boxes are for the picture as stored or as shown.
        upright: how many are turned and have the size of the picture as shown.
    """

    split: CocoSplit
    looked: int = 0
    wrong: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    turned: list[int] = field(default_factory=list)
    upright: int = 0

    @classmethod
    def of(cls, split: CocoSplit, places: Iterable[int]) -> SizeCheck:
        """Look at the headers of some pictures."""
        check = cls(split)
        for place in places:
            check.take(place)
        return check

    def take(self, index: int) -> None:
        """Look at the header of one picture; one that can't be read is not counted."""
        image = self.split.images[index]
        try:
            width, height, turn = stored_size(image.path)
        except ImageError:
            return
        self.looked += 1
        told, stored = (image.width, image.height), (width, height)
        shown = upright(width, height, turn)
        if not image.height:
            return
        if told == shown:
            if turn is not None:
                if shown == stored:
                    self.turned.append(index)
                else:
                    self.upright += 1
        elif turn is not None and told == stored:
            self.wrong["stored"].append(index)
        elif told == shown[::-1]:
            self.wrong["exchanged"].append(index)
        elif _proportional(told, shown):
            right, bottom = self._reach(index)
            beyond = right > shown[0] + _ROUNDING or bottom > shown[1] + _ROUNDING
            self.wrong["resized" if beyond else "other"].append(index)
        else:
            self.wrong["other"].append(index)

    def messages(self) -> list[tuple[int, str]]:
        """The first picture of every kind of wrong sizes, and what to say of all of them."""
        return [(places[0], self._message(kind, places)) for kind, places in self.wrong.items()]

    def turned_message(self) -> str:
        """What to say of the pictures whose turn the file can't tell."""
        return (
            f"{len(self.turned)} of {self.looked} pictures are turned by their EXIF orientation and have the same sides"
            " either way: boxes are taken as drawn on the pictures as shown; if they were drawn on the pictures as"
            f" stored, choose {setting_and_flag('stored')}"
        )

    def _message(self, kind: str, places: list[int]) -> str:
        image = self.split.images[places[0]]
        width, height = upright(*stored_size(image.path))
        return (
            f"has {width} x {height} pixels, but {printable(self.split.source.name)} says {image.width} x"
            f" {image.height}; so it is with {len(places)} of {self.looked} pictures, which training leaves out as it"
            f" is. {_BEHIND[kind]}"
        )

    def _reach(self, index: int) -> tuple[float, float]:
        """How far to the right and down the boxes of a picture go."""
        boxes = self.split.targets(index, masks=False)["boxes"]
        return (float(boxes[:, 2].max()), float(boxes[:, 3].max())) if len(boxes) else (0.0, 0.0)


def _proportional(told: tuple[int, int], shown: tuple[int, int]) -> bool:
    factor = shown[0] / told[0]
    return abs(told[1] * factor - shown[1]) <= _ROUNDING * max(1.0, factor)
