"""Reading single label maps, and what their values mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.label_folders import gray_png, squares
from data.picture_files import noise
from phonecv.data.labelmaps.files import LabelFormatError, LabelSizeError, LabelValues, read_map, read_pair
from phonecv.data.pictures.opening import TURNS, ImageError
from phonecv.errors import UserError

_ORIENTATION = 0x0112


def palette_image(labels: np.ndarray) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette([255, 0, 0, 0, 255, 0, 9, 9, 9])
    return image


#: The same numbers, saved in every way that keeps them.
WAYS = {
    "gray.png": Image.fromarray,
    "palette.png": palette_image,
    "gray.tif": Image.fromarray,
    "palette.gif": palette_image,
    "gray.bmp": Image.fromarray,
    "16bit.png": lambda labels: Image.fromarray(labels.astype(np.uint16)),
    "16bit.tif": lambda labels: Image.fromarray(labels.astype(np.uint16)),
    "32bit.tif": lambda labels: Image.fromarray(labels.astype(np.int32)),
    "float.tif": lambda labels: Image.fromarray(labels.astype(np.float32)),
    "three.png": lambda labels: Image.fromarray(labels).convert("RGB"),
    "alpha.png": lambda labels: Image.fromarray(labels).convert("LA"),
    "rgba.png": lambda labels: Image.fromarray(labels).convert("RGBA"),
    "gray palette.png": lambda labels: Image.fromarray(labels, "L").convert("P"),
}


@pytest.mark.parametrize("name", WAYS)
def test_numbers_survive_every_format(tmp_path: Path, name: str) -> None:
    labels = squares()
    WAYS[name](labels).save(tmp_path / name)
    read = read_map(tmp_path / name)
    assert read.dtype in (np.uint8, np.uint16)
    np.testing.assert_array_equal(read, labels)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_of_few_bits_holds_numbers(tmp_path: Path, bits: int) -> None:
    labels = squares(values=(0, 1) if bits == 1 else (0, 1, 3))
    (tmp_path / "few.png").write_bytes(gray_png(labels, bits))
    np.testing.assert_array_equal(read_map(tmp_path / "few.png"), labels)


def test_what_holds_no_numbers_is_refused(tmp_path: Path) -> None:
    gray = Image.fromarray(squares())
    soft = gray.convert("RGBA")
    soft.putalpha(Image.fromarray(90 * squares(1)))
    cases = {
        "colours.png": (noise(), r"colour picture \([0-9]+ colours: .* so many are no classes"),
        "soft.png": (soft, "3 degrees of opacity"),
        "cmyk.tif": (gray.convert("CMYK"), "channels C M Y K"),
        "half.tif": (Image.fromarray(squares() + np.float32(0.5)), "768 pixels hold no whole number"),
        "nan.tif": (Image.fromarray(np.full((4, 4), np.nan, np.float32)), "16 pixels hold no whole number"),
        "lossy.jpg": (gray, r"saved as JPEG, .* \(it holds 3 different values"),
        "minus.tif": (Image.fromarray(squares().astype(np.int32) - 5), "-5 to -3 are outside"),
    }
    for name, (image, reason) in cases.items():
        image.save(tmp_path / name)
        with pytest.raises(LabelFormatError, match=reason) as raised:
            read_map(tmp_path / name)
        assert name in str(raised.value)


def test_a_cut_file_never_gives_wrong_numbers(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (40, 50), dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    refused = []
    for length in range(0, len(content), 7):
        (tmp_path / "cut.png").write_bytes(content[:length])
        try:
            np.testing.assert_array_equal(read_map(tmp_path / "cut.png"), labels)
        except ImageError as error:
            refused.append(str(error))
    assert all("cut.png: " in message for message in refused)
    assert len(refused) > 0.9 * len(range(0, len(content), 7))


def by_hand(raw: int, *, classes: int, reduce: bool, ignore: int = 255) -> int | None:
    if raw == ignore:
        return 255
    if reduce:
        return 255 if raw == 0 else raw - 1 if raw <= classes else None
    return raw if raw < classes else None


@pytest.mark.parametrize("reduce", [False, True])
@pytest.mark.parametrize("classes", [2, 150, 254])
def test_every_byte_means_what_it_says(reduce: bool, classes: int) -> None:
    values = LabelValues(classes, reduce_zero_label=reduce)
    for raw in range(256):
        wanted = by_hand(raw, classes=classes, reduce=reduce)
        one = np.array([[raw]], dtype=np.uint8)
        if wanted is None:
            with pytest.raises(ImageError, match=rf"^x\.png: label value {raw} \(1 px\) with {classes} classes"):
                values(one, Path("x.png"))
        else:
            result = values(one, Path("x.png"))
            assert result.dtype == np.uint8
            assert int(result[0, 0]) == wanted


def test_the_message_suggests_counting_from_one() -> None:
    labels = np.array([[1, 2, 3]], dtype=np.uint8)
    with pytest.raises(ImageError, match="reduce_zero_label=true"):
        LabelValues(3)(labels, Path("x.png"))
    assert LabelValues(3, reduce_zero_label=True)(labels, Path("x.png")).tolist() == [[0, 1, 2]]


def test_another_ignored_value_and_threshold() -> None:
    labels = np.array([[0, 1, 65535]], dtype=np.uint16)
    assert LabelValues(2, ignore=65535)(labels, Path("x")).tolist() == [[0, 1, 255]]
    masks = np.array([[0, 127, 128, 255]], dtype=np.uint8)
    assert LabelValues(2, threshold=128)(masks, Path("x")).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_classes": 0},
        {"num_classes": 256},
        {"num_classes": 255, "reduce_zero_label": True},
        {"num_classes": 10, "ignore": 9},
        {"num_classes": 3, "threshold": 128},
        {"num_classes": 2, "threshold": 128, "reduce_zero_label": True},
    ],
)
def test_contradictions_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(UserError):
        LabelValues(**arguments)  # type: ignore


def test_pairs_of_unequal_size_are_refused(tmp_path: Path) -> None:
    noise((32, 24)).save(tmp_path / "a.jpg")
    Image.fromarray(squares(size=(10, 12))).save(tmp_path / "a.png")
    with pytest.raises(LabelSizeError, match=r"a\.png: label map of 12 x 10 pixels for a picture of 32 x 24"):
        read_pair(tmp_path / "a.jpg", tmp_path / "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stored", [False, True])
def test_label_maps_stand_upright_like_their_pictures(tmp_path: Path, orientation: int, stored: bool) -> None:
    """A camera's note turns the picture; a label map drawn on the upright or on the stored picture fits either way."""
    if stored and orientation < 5:
        return  # sizes agree, so nothing tells the label map from an upright one
    upright = Image.fromarray(squares(values=(0, 1, 2), size=(24, 32)))
    picture = Image.merge("RGB", [upright.point(lambda value: 120 * value)] * 3)
    turn = TURNS.get(orientation)
    undo = {
        Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
        Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
    }
    lying = picture if turn is None else picture.transpose(undo.get(turn, turn))
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    lying.save(tmp_path / "a.png", exif=exif)
    drawn = upright if not stored or turn is None else upright.transpose(undo.get(turn, turn))
    drawn.save(tmp_path / "label.png")
    image, labels = read_pair(tmp_path / "a.png", tmp_path / "label.png")
    assert image.size == (32, 24)
    np.testing.assert_array_equal(labels, np.asarray(upright))
    np.testing.assert_array_equal(np.asarray(image)[..., 0], 120 * labels)
