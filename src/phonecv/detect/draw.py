"""Boxes, masks and their names drawn onto a picture, by torchvision; here is only where and in which colour."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageFont
from torch import Tensor

from phonecv.detect.detections import Detections, decode_masks
from phonecv.detect.plates import letter_size, place_plates
from phonecv.plots import COLOURS, font_file

#: Share of a mask's colour in its pixels.
MASK_ALPHA = 0.45

#: As torchvision wants colours, in a list of exactly this.
_Colour = str | tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Things to draw, all of one picture.

    Attributes:
        boxes: N 4, xyxy in pixels.
        texts: a name beside each box; an empty one draws none.
        colours: "#RRGGBB" for each.
        masks: N H W bool, or None.
    """

    boxes: np.ndarray
    texts: Sequence[str]
    colours: Sequence[str]
    masks: Tensor | None = None


def draw(picture: Tensor, things: Drawn, letters: int | None = None) -> Tensor:
    """A copy of the picture (``3 H W`` bytes) with masks, boxes and the names that find room; the first lies on top.

    Letters of the names are so many pixels high; None goes by the size of the picture and the number of names.
    """
    from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

    if not len(things.boxes):
        return picture.clone()
    height, width = picture.shape[1:]
    shown = picture.cpu()
    if things.masks is not None:
        areas, colours = _areas(things.masks, things.colours)
        if len(areas):
            shown = draw_segmentation_masks(shown, areas, alpha=MASK_ALPHA, colors=colours)
    boxes = torch.from_numpy(np.asarray(things.boxes, dtype=np.float32))
    line = max(1, round(min(height, width) / 200))
    # The last lie on top, so the best are drawn last.
    back = list(range(len(boxes)))[::-1]
    shown = draw_bounding_boxes(
        shown, _inside(boxes, height, width)[back], colors=[things.colours[row] for row in back], width=line
    )
    named = sum(bool(text) for text in things.texts)
    if not named:
        return shown
    size = letters or letter_size(height, width, named)
    length = ImageFont.truetype(font_file(), size).getlength
    plates = place_plates(boxes.numpy(), things.texts, size, height, width, length)
    if not plates:
        return shown
    anchors = torch.tensor([[plate.left, plate.top, plate.left, plate.top] for plate in plates], dtype=torch.float32)
    colours: list[_Colour] = [things.colours[plate.row] for plate in plates]
    inks: list[_Colour] = [_ink(things.colours[plate.row]) for plate in plates]
    # torchvision would write names into the boxes, where they hide small objects, and cut them at the border. So they
    # get boxes of their own, whose outline has no width.
    return draw_bounding_boxes(
        shown, anchors, labels=[plate.text for plate in plates], colors=colours, width=0, font=font_file(),
        font_size=size, fill_labels=True, label_colors=inks,
    )  # fmt: skip


def draw_detections(picture: Tensor, found: Detections, classes: Sequence[str]) -> Tensor:
    """Detections of a picture in a colour for each class, with names and scores in percent."""
    things = Drawn(
        found.boxes,
        [f"{classes[label]} {100 * score:.0f}" for label, score in zip(found.labels, found.scores, strict=True)],
        [class_colour(int(label)) for label in found.labels],
        decode_masks(found.masks) if found.masks else None,
    )
    return draw(picture, things)


@cache
def class_colour(label: int) -> str:
    """A colour for a class: those told apart by every kind of colour vision first, then hues as far apart as can be."""
    if label < len(COLOURS) - 1:
        return COLOURS[label]
    # Steps of the golden angle never come close to an earlier hue.
    hue = (label * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.62 + 0.3 * (label % 2))
    return f"#{round(255 * red):02X}{round(255 * green):02X}{round(255 * blue):02X}"


def to_image(picture: Tensor) -> Image.Image:
    """``3 H W`` bytes as a picture to save."""
    return Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())


def _areas(masks: Tensor, colours: Sequence[str]) -> tuple[Tensor, list[_Colour]]:
    """Where each colour goes, ``C H W`` bool, and the colours.

    Where masks overlap torchvision paints black; here each pixel has the colour of the first of its masks.
    """
    ranks = torch.arange(len(masks), 0, -1, dtype=torch.uint8 if len(masks) < 256 else torch.int16)
    first = (masks * ranks[:, None, None]).amax(0).long()  # H W: the highest rank, 0 outside all masks
    names = list(dict.fromkeys(colours))
    numbers = torch.tensor([-1, *(names.index(colour) for colour in reversed(colours))])[first]
    areas = numbers == torch.arange(len(names))[:, None, None]
    used = areas.flatten(1).any(1)
    return areas[used], [name for name, there in zip(names, used.tolist(), strict=True) if there]


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes whose lines lie within the picture, ordered as torchvision wants them."""
    limits = boxes.new_tensor([width - 1, height - 1])
    low = torch.minimum(boxes[:, :2].clamp(min=0), limits)
    high = torch.maximum(torch.minimum(boxes[:, 2:], limits), low)
    return torch.cat([low, high], 1)


def _ink(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
