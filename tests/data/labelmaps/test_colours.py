"""Label maps in colours, with palettes, black and white: each gives the numbers it was made from, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.label_folders import squares, write_labels
from phonecv.data.audit import audit
from phonecv.data.labelmaps.classes import Colour, read_label_classes
from phonecv.data.labelmaps.listing import read_label_split
from phonecv.data.pictures.opening import ImageError
from phonecv.errors import UserError

#: Not the order of their numbers, so that a guess by order would show.
COLOURS: tuple[Colour, ...] = ((70, 70, 70), (0, 0, 142), (128, 0, 0))
#: The first colours of Pascal VOC: bit 0 of the index is red's highest bit, bit 1 green's, bit 2 blue's.
VOC: tuple[Colour, ...] = ((0, 0, 0), (128, 0, 0), (0, 128, 0))

CSV = "name,r,g,b\nfloor,70,70,70\nbox,0,0,142\nball,128,0,0\n"
COLOUR_FILES = {
    "class_dict.csv": CSV,
    "classes.csv": "name, red, green, blue\n floor,70,70,70\nbox,0,0,142\nball,128,0,0\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nfloor:70,70,70::\nbox:0,0,142::a,b\nball:128,0,0::\n",
    "label_colors.txt": "70 70 70\tfloor\n0 0 142\tbox\n128 0 0\tball\n",
    "classes.txt": "floor 70 70 70\nbox 0 0 142\nball 128 0 0\n",
}
NAMES = ("floor", "box", "ball")


def painted(colours: tuple[Colour, ...], mode: str = "RGB") -> Callable[[np.ndarray], Image.Image]:
    return lambda labels: Image.fromarray(np.array(colours, dtype=np.uint8)[labels]).convert(mode)


def with_palette(
    colours: tuple[Colour, ...], order: tuple[int, ...] = (0, 1, 2)
) -> Callable[[np.ndarray], Image.Image]:
    """Palette pictures in which class c has the index order[c] and its own colour."""

    def make(labels: np.ndarray) -> Image.Image:
        image = Image.fromarray(np.array(order, dtype=np.uint8)[labels])
        image.putpalette([part for index in range(len(order)) for part in colours[order.index(index)]])
        return image

    return make


def rewrite(root: Path, make: Callable[[np.ndarray], Image.Image], pattern: str = "*.png") -> None:
    for path in sorted((root / "annotations" if root.name not in ("train", "val") else root).rglob(pattern)):
        with Image.open(path) as image:
            labels = np.asarray(image)
        make(labels).save(path)


def seeds(split: str, count: int) -> list[np.ndarray]:
    return [squares(index + 100 * (split == "val")) for index in range(count)]


def check(root: Path) -> None:
    """Every label map of both splits means what it was made from."""
    for split, count in (("train", 4), ("val", 3)):
        read = read_label_split(root, split)
        assert len(read) == count
        for index, labels in enumerate(seeds(split, count)):
            np.testing.assert_array_equal(read.read(index)[1], labels)


@pytest.mark.parametrize("file", COLOUR_FILES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_of_the_class_file(tmp_path: Path, file: str, mode: str) -> None:
    root = write_labels(tmp_path, classes=None)
    (root / file).write_text(COLOUR_FILES[file])
    assert read_label_classes(root / file).colours == COLOURS
    rewrite(root, painted(COLOURS, mode))
    assert read_label_split(root).classes == NAMES
    check(root)
    assert audit(root).findings == ()


def test_numbers_in_a_class_file_with_colours(tmp_path: Path) -> None:
    """Values and colours beside each other: the colour of class 2 is that of value 2, in whatever line."""
    root = write_labels(tmp_path, classes="2 ball 128 0 0\n0 floor 70 70 70\n1 box 0 0 142\n")
    rewrite(root, painted(COLOURS))
    check(root)


def test_a_class_file_with_colours_beside_numbers(tmp_path: Path) -> None:
    """Colours may be for looking only: gray maps, also in three channels, are numbers then."""
    root = write_labels(tmp_path, classes=None)
    (root / "class_dict.csv").write_text(CSV)
    check(root)
    rewrite(root, lambda labels: Image.fromarray(labels).convert("RGB"))
    check(root)
    assert audit(root).findings == ()


@pytest.mark.parametrize("classes", ["floor\nbox\nball\n", None])
def test_the_palette_of_voc_is_known(tmp_path: Path, classes: str | None) -> None:
    root = write_labels(tmp_path, classes=classes)
    rewrite(root, painted(VOC))
    read = read_label_split(root, classes=None if classes else 3)
    np.testing.assert_array_equal(read.read_label(1), squares(1))
    assert "VOC palette" in read.problems[0]
    assert {finding.kind for finding in audit(root).findings if finding.kind != "structure"} == {"reading"}


def test_the_border_of_voc_is_ignored(tmp_path: Path) -> None:
    root = write_labels(tmp_path, classes="floor\nbox\nball\n")
    border = np.zeros((24, 32), dtype=bool)
    border[5] = True
    rewrite(root, lambda labels: painted((*VOC, (224, 224, 192)))(np.where(border, 3, labels)))
    np.testing.assert_array_equal(read_label_split(root).read_label(0), np.where(border, 255, squares(0)))


def test_colours_that_nothing_explains(tmp_path: Path) -> None:
    root = write_labels(tmp_path, classes=None)
    rewrite(root, painted(COLOURS))
    with pytest.raises(UserError, match=r"no class file, .* 3 colours \(\(0, 0, 142\), \(70, 70, 70\), .*name,r,g,b"):
        read_label_split(root)
    (root / "classes.txt").write_text("floor\nbox\nball\n")
    with pytest.raises(
        ImageError, match=r"3 colours: .* nothing says what its colours mean; name them in classes\.csv"
    ):
        read_label_split(root).read(0)


@pytest.mark.parametrize("damage", ["blurred", "jpeg"])
def test_damaged_colours_are_counted(tmp_path: Path, damage: str) -> None:
    root = write_labels(tmp_path, classes=None)
    (root / "class_dict.csv").write_text(CSV)
    rewrite(root, painted(COLOURS))
    path = root / "annotations/train/2.png"
    with Image.open(path) as image:
        if damage == "jpeg":
            image.save(tmp_path / "x.jpg", quality=80)
            changed = Image.open(tmp_path / "x.jpg")
        else:
            changed = image.resize((64, 48), Image.Resampling.BILINEAR).resize((32, 24), Image.Resampling.BILINEAR)
        changed.save(path)
    flat = np.asarray(changed).reshape(-1, 3)
    foreign = {colour for colour in map(tuple, flat.tolist()) if colour not in COLOURS}
    pixels = sum(tuple(colour) not in COLOURS for colour in flat.tolist())
    with pytest.raises(ImageError, match=f"^{path}: {len(foreign)} colours on {pixels} pixels that class_dict.csv"):
        read_label_split(root).read(2)
    (finding,) = audit(root).findings
    assert (finding.kind, finding.severity, finding.path) == ("label-colour", "error", "annotations/train/2.png")


def test_palettes_of_two_orders_are_read_by_colour(tmp_path: Path) -> None:
    """Two people, two tools: the same colours under other indices, and a class file that names the colours."""
    root = write_labels(tmp_path, classes=None)
    (root / "class_dict.csv").write_text(CSV)
    rewrite(root, with_palette(COLOURS), "[01].png")
    rewrite(root, with_palette(COLOURS, (2, 0, 1)), "[23].png")
    check(root)
    (finding,) = audit(root).findings
    assert (finding.kind, finding.severity) == ("reading", "note")
    assert "are read by their colours as class_dict.csv names them" in finding.message


def test_palettes_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    root = write_labels(tmp_path)
    rewrite(root, with_palette(COLOURS))
    check(root)
    assert audit(root).findings == ()
    odd = root / "annotations/train/3.png"
    with_palette(COLOURS, (0, 2, 1))(squares(3)).save(odd)
    read = read_label_split(root)
    np.testing.assert_array_equal(read.read(2)[1], squares(2))
    with pytest.raises(
        ImageError, match=r"palette differs .*: index 1 is \(128, 0, 0\) here and \(0, 0, 142\) in 0.png"
    ):
        read.read(3)
    for quick in (False, True):
        (finding,) = audit(root, quick=quick).findings
        assert (finding.kind, finding.severity, finding.path) == ("palette", "error", "annotations/train/3.png")


def test_splits_with_unlike_palettes(tmp_path: Path) -> None:
    """Each split agrees with itself, and yet val would be scored as other classes."""
    root = write_labels(tmp_path)
    rewrite(root / "annotations/train", with_palette(COLOURS))
    rewrite(root / "annotations/val", with_palette(COLOURS, (0, 2, 1)))
    np.testing.assert_array_equal(read_label_split(root).read(1)[1], squares(1))
    with pytest.raises(ImageError, match="its palette differs"):
        read_label_split(root, "val").read(1)
    train = read_label_split(root, images="images/train", labels="annotations/train")
    val = read_label_split(root, "val", images="images/val", labels="annotations/val", reading=train.reading)
    with pytest.raises(ImageError, match="its palette differs"):
        val.read(1)
    assert {finding.path[:15] for finding in audit(root).findings} == {"annotations/val"}


def test_splits_with_unlike_class_files(tmp_path: Path) -> None:
    root = write_labels(tmp_path, images="{split}/images", labels="{split}/masks", classes=None)
    for split, names in (("train", ("floor", "box", "ball")), ("val", ("floor", "ball", "box"))):
        lines = [f"{value}, {name}" for value, name in enumerate(names)]
        (root / split / "_classes.csv").write_text("\n".join(["Pixel Value, Class", *lines]))
    message = "train/_classes.csv has floor, box, ball, but val/_classes.csv has floor, ball, box"
    with pytest.raises(UserError, match=message):
        read_label_split(root)
    assert [finding.message.startswith(message) for finding in audit(root).findings] == [True]


def test_colours_under_reduce_zero_label(tmp_path: Path) -> None:
    """A plain list of colours then starts with the value 1, as a plain list of names does."""
    root = write_labels(tmp_path, classes="box 0 0 142\nball 128 0 0\nfloor 70 70 70\n")
    rewrite(root, painted(COLOURS))
    read = read_label_split(root, reduce_zero_label=True)
    assert read.classes == ("box", "ball", "floor")
    np.testing.assert_array_equal(read.read(1)[1], np.array([2, 0, 1], dtype=np.uint8)[squares(1)])


def test_palettes_of_other_lengths_agree(tmp_path: Path) -> None:
    """A tool that writes only the colours a map needs, and one that pads with black."""
    root = write_labels(tmp_path)
    rewrite(root, with_palette(COLOURS), "[012].png")
    path = root / "annotations/train/3.png"
    image = Image.fromarray(squares(3, values=(0, 1)))
    image.putpalette([*COLOURS[0], *COLOURS[1]])
    image.save(path)
    assert audit(root).findings == ()
    np.testing.assert_array_equal(read_label_split(root).read(3)[1], squares(3, values=(0, 1)))


@pytest.mark.parametrize("white", [255, 128, 254])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_black_and_white_masks(tmp_path: Path, white: int, mode: str) -> None:
    root = write_labels(tmp_path, values=(0, white), classes="background\nthing\n")
    rewrite(root, lambda labels: Image.fromarray(labels).convert(mode))
    read = read_label_split(root)
    np.testing.assert_array_equal(read.read(1)[1], squares(1, values=(0, 1)))
    report = audit(root)
    assert [finding.kind for finding in report.findings] == ["reading"]
    assert report.splits["train (label maps)"] == {"images": 4, "classes": 2, "smallest": 4, "largest": 4}
    gray = squares(2, values=(0, white))
    gray[0, :5] = 77
    Image.fromarray(gray).convert(mode).save(root / "annotations/train/2.png")
    read = read_label_split(root)
    np.testing.assert_array_equal(read.read(1)[1], squares(1, values=(0, 1)))
    with pytest.raises(ImageError, match=r"2\.png: 1 value on 5 pixels are neither 0 nor"):
        read.read(2)


def test_one_and_ignored_pixels_are_no_black_and_white_masks(tmp_path: Path) -> None:
    root = write_labels(tmp_path, values=(0, 1, 255), classes="background\nthing\n")
    np.testing.assert_array_equal(read_label_split(root).read(1)[1], squares(1, values=(0, 1, 255)))
    assert audit(root).findings == ()


def test_one_bit(tmp_path: Path) -> None:
    root = write_labels(tmp_path, values=(0, 1), classes="background\nthing\n")
    rewrite(root, lambda labels: Image.fromarray(labels.astype(bool)))
    np.testing.assert_array_equal(read_label_split(root).read(1)[1], squares(1, values=(0, 1)))
    assert audit(root).findings == ()


def test_black_and_white_without_classes(tmp_path: Path) -> None:
    root = write_labels(tmp_path, values=(0, 255), classes=None)
    with pytest.raises(UserError, match="black and white masks, so two lines"):
        read_label_split(root)
    np.testing.assert_array_equal(read_label_split(root, classes=2).read(0)[1], squares(0, values=(0, 1)))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_black_and_white_in_jpeg_takes_a_threshold(tmp_path: Path, mode: str) -> None:
    root = write_labels(tmp_path, values=(0, 255), classes=None)
    for path in sorted(root.glob("annotations/*/*.png")):
        Image.open(path).convert(mode).save(path.with_suffix(".jpg"), quality=75)
        path.unlink()
    read = read_label_split(root, threshold=128)
    np.testing.assert_array_equal(read.read(0)[1], squares(0, values=(0, 1)))
    with pytest.raises(ImageError, match=r"segment\.threshold=128"):
        read_label_split(root, classes=2).read(0)


def test_a_threshold_goes_before(tmp_path: Path) -> None:
    root = write_labels(tmp_path, values=(0, 100, 255), classes=None)
    read = read_label_split(root, threshold=200)
    np.testing.assert_array_equal(read.read(0)[1], squares(0, values=(0, 0, 1)))
