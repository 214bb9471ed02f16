"""How a COCO file is to be understood where it is not written as COCO is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from phonecv.errors import UserError

#: The group of a recipe that has the settings of COCO data: that of detection.
GROUP = "detect"

#: COCO's own (left, top, width, height); two corners; centre and size. "shares" are those of the picture's sides.
BoxLayout = Literal["xywh", "xyxy", "cxcywh", "xywh_shares", "xyxy_shares", "cxcywh_shares"]

BOX_LAYOUTS: tuple[BoxLayout, ...] = get_args(BoxLayout)

#: What holds where a picture has another size than the file says: "told": the picture is left out; "pictures": the
#: size in the file is wrong, and boxes are pixels of the picture; "scaled": the picture was resized after labelling,
#: and boxes are resized with it.
Sizes = Literal["told", "pictures", "scaled"]


@dataclass(frozen=True, slots=True)
class CocoReading:
    """How a COCO file is to be understood.

    Attributes:
        boxes: how boxes are written; None: as the files of their layout write them, in COCO files "xywh".
        sizes: what holds where a picture has another size than the file says.
        stored: boxes and masks were drawn on pictures as they are stored, before their EXIF orientation turns them.
    """

    boxes: BoxLayout | None = None
    sizes: Sizes = "told"
    stored: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (("boxes", self.boxes, BOX_LAYOUTS), ("sizes", self.sizes, get_args(Sizes))):
            if value is not None and value not in known:
                raise UserError(f"{name}={value!r} is unknown (known: {', '.join(known)})")

    @property
    def looks(self) -> bool:
        """Whether the pictures have to be looked at for it."""
        return self.stored or self.sizes != "told"


#: As COCO is written.
PLAIN = CocoReading()


def setting(name: str, value: str = "true") -> str:
    """How a person sets something of the data in a recipe."""
    return f"{GROUP}.{name}={value}"


def setting_and_flag(name: str, value: str = "true") -> str:
    """The same, with what the evaluation on the command line calls it."""
    return f"{setting(name, value)} (eval: --{name}{'' if value == 'true' else f' {value}'})"
