"""Names on pictures: they leave the picture to be seen, whatever its size and however many objects there are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from phonecv.detect.draw import Drawn, draw
from phonecv.detect.plates import letter_size, place_plates, plate_height
from phonecv.segment.overlay import legend

NAMES = ("person", "traffic light", "dog", "a class with a rather long name", "toothbrush")


def boxes_of(count: int, height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(count)
    sides = random.uniform(0.05, 0.5, (count, 2)) * (width, height)
    corners = random.uniform(0, 1, (count, 2)) * ((width, height) - sides)
    return np.concatenate([corners, corners + sides], 1).astype(np.float32)


def things(count: int, height: int, width: int, *, named: bool = True) -> Drawn:
    texts = [f"{NAMES[row % len(NAMES)]} {99 - row % 60}" if named else "" for row in range(count)]
    return Drawn(boxes_of(count, height, width), texts, ["#D55E00"] * count)


@pytest.mark.parametrize("count", [1, 30, 300])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (225, 300), (300, 225), (30, 900), (1500, 2000)])
def test_names_leave_the_picture_to_be_seen(height: int, width: int, count: int) -> None:
    if count == 300 and height == 1500:
        height, width = 750, 1000  # the same in proportion, and faster
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    with_names = draw(picture, things(count, height, width))
    without = draw(picture, things(count, height, width, named=False))
    assert with_names.shape == picture.shape
    covered = float((with_names != without).any(0).double().mean())
    assert covered < 0.2
    # Where letters are readable at all, the surest object has a name.
    assert covered > 0 or height < 40


@pytest.mark.parametrize("count", [1, 12, 200])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (300, 400), (1500, 1000)])
def test_plates_lie_inside_and_beside_each_other(height: int, width: int, count: int) -> None:
    drawn = things(count, height, width)
    size = letter_size(height, width, count)

    def length(text: str) -> float:
        return 0.6 * size * len(text)

    plates = place_plates(drawn.boxes, drawn.texts, size, height, width, length)
    assert plates
    assert [plate.row for plate in plates] == sorted(plate.row for plate in plates)
    areas = [
        (plate.left, plate.top, plate.left + length(plate.text) + 4, plate.top + plate_height(size)) for plate in plates
    ]
    for left, top, right, bottom in areas:
        assert left >= 0
        assert top >= 0
        assert right <= width + 1
        assert bottom <= height + 1
    for one, other in combinations(areas, 2):
        assert one[0] >= other[2] - 1 or other[0] >= one[2] - 1 or one[1] >= other[3] - 1 or other[1] >= one[3] - 1
    assert sum((right - left) * (bottom - top) for left, top, right, bottom in areas) <= 0.17 * height * width


def test_few_objects_all_have_their_whole_names() -> None:
    drawn = Drawn(
        np.array([[40, 60, 120, 140], [200, 100, 320, 220]], dtype=np.float32), ["dog 91", "cat 80"], ["", ""]
    )
    plates = place_plates(drawn.boxes, drawn.texts, 11, 300, 400, lambda text: 6.0 * len(text))
    assert [(plate.text, plate.left, plate.top) for plate in plates] == [("dog 91", 40, 44), ("cat 80", 200, 84)]


def test_a_name_at_the_upper_edge_goes_inside_and_one_too_long_is_cut() -> None:
    boxes = np.array([[10, 0, 190, 90]], dtype=np.float32)
    (plate,) = place_plates(boxes, ["dog 91"], 11, 100, 200, lambda text: 6.0 * len(text))
    assert (plate.left, plate.top) == (10, 0)
    (plate,) = place_plates(boxes, ["refrigerator 97"], 11, 100, 60, lambda text: 6.0 * len(text))
    assert plate.text == "refri…"  # not "refri…97": a score cut in two would be another one
    assert place_plates(boxes, ["refrigerator 97"], 11, 100, 30, lambda text: 6.0 * len(text)) == []


def test_letters_follow_the_picture() -> None:
    assert letter_size(3000, 4000) == 89
    assert letter_size(480, 640) == 14
    sizes = [letter_size(side, side) for side in (16, 64, 150, 300, 600, 1200)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 8
    assert letter_size(3000, 4000, 300) < letter_size(3000, 4000, 30) < letter_size(3000, 4000, 1)


@pytest.mark.parametrize("width", [40, 64, 200, 900])
def test_legends_fit_their_strip(width: int) -> None:
    """Nothing is drawn up to the right edge, where a name would be cut."""
    palette = [(0, 0, 0), (255, 0, 0), (0, 200, 0)]
    strip = legend(width, range(3), ("background", "a class with a rather long name", "dog"), palette)
    assert strip.width == width
    pixels = np.asarray(strip)
    assert (pixels[:, -2:] == 255).all()
    assert (pixels < 255).any()
    assert isinstance(strip, Image.Image)
