"""Pictures that were turned or resized after labelling, or whose sizes are told wrongly; the truth is the pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phonecv.data.audit import audit
from phonecv.data.coco.reader import CocoReading, CocoSplit, find_coco, read_coco
from phonecv.data.pictures.opening import TURNS, open_image

#: The object, a bright box: left, top, width, height in a picture of 48 x 32 (or 40 x 40).
BOX = (6, 4, 20, 10)


def write(
    root: Path, *, size: tuple[int, int] = (48, 32), orientation: int = 1, told: Any = None, runs: bool = False
) -> None:
    """Two splits of one picture with one bright box, drawn on the picture as stored."""
    left, top, wide, tall = BOX
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[top : top + tall, left : left + wide] = 255
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    ring: Any = [[left, top, left + wide, top, left + wide, top + tall, left, top + tall]]
    if runs:
        flat = (pixels[..., 0] > 0).ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        ring = {"size": [size[1], size[0]], "counts": np.diff([0, *edges, flat.size]).tolist()}
    width, height = told or size
    for number, split in enumerate(("train", "val")):
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        picture.save(root / "images" / split / f"{number}.png", exif=exif)
        data = {
            "images": [{"id": 1, "file_name": f"{number}.png", "width": width, "height": height}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": list(BOX), "area": wide * tall, "segmentation": ring}
            ],
            "categories": [{"id": 1, "name": "a"}],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(data))


def change(path: Path, edit: Callable[[Image.Image], Image.Image]) -> None:
    """Edit a picture in its place; it stays turned as it is."""
    with Image.open(path) as picture:
        exif = picture.getexif()
        edited = edit(picture)
    edited.save(path, exif=exif)


def check(split: CocoSplit, *, masks: bool = True) -> None:
    """Box and mask are where the picture is bright."""
    bright = np.asarray(open_image(split.path(0)))[..., 0] > 127
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    targets = split.targets(0)
    assert (split.images[0].height, split.images[0].width) == bright.shape
    assert targets["boxes"][0].tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert float(targets["area"][0]) == bright.sum()
    if masks:
        assert np.array_equal(targets["masks"][0].numpy(), bright)


@pytest.mark.parametrize("orientation", [1, *TURNS])
@pytest.mark.parametrize("runs", [False, True])
def test_annotations_of_the_stored_picture(tmp_path: Path, orientation: int, runs: bool) -> None:
    write(tmp_path, orientation=orientation, runs=runs)
    split = read_coco(find_coco(tmp_path, "train"), masks=True, reading=CocoReading(stored=True))
    check(split)
    assert [problem.kind for problem in split.problems] == (["fitted"] if orientation in TURNS else [])


@pytest.mark.parametrize("runs", [False, True])
def test_pictures_resized_after_labelling(tmp_path: Path, runs: bool) -> None:
    write(tmp_path, runs=runs)
    change(tmp_path / "images/train/0.png", lambda picture: picture.resize((24, 16), Image.Resampling.NEAREST))
    split = read_coco(find_coco(tmp_path, "train"), masks=True, reading=CocoReading(sizes="scaled"))
    check(split)
    assert [problem.kind for problem in split.problems] == ["fitted"]


def test_resized_and_turned(tmp_path: Path) -> None:
    write(tmp_path, told=(96, 64), orientation=6)
    path = tmp_path / "annotations/instances_train.json"
    data = json.loads(path.read_text())
    data["annotations"][0] |= {"bbox": [2 * value for value in BOX], "area": 800, "segmentation": []}
    path.write_text(json.dumps(data))
    check(read_coco(path, reading=CocoReading(sizes="scaled", stored=True)), masks=False)


def test_sizes_told_wrongly(tmp_path: Path) -> None:
    write(tmp_path, told=(32, 48))
    split = read_coco(find_coco(tmp_path, "train"), masks=True, reading=CocoReading(sizes="pictures"))
    check(split)
    assert [problem.kind for problem in split.problems] == ["fitted"]


#: How a data set is written -> kind and severity of the one finding, and what it names; None for a silent one.
FINDINGS: dict[str, tuple[dict[str, Any], tuple[str, str, str] | None]] = {
    "plain": ({}, None),
    "turned by 180": ({"orientation": 3}, ("orientation", "warning", "detect.stored=true")),
    "square, turned": ({"size": (40, 40), "orientation": 6}, ("orientation", "warning", "1 of 1 pictures")),
    "as shown": ({"orientation": 6, "told": (32, 48)}, None),
    "as stored": ({"orientation": 6}, ("picture-size", "error", "detect.stored=true")),
    "exchanged": ({"told": (32, 48)}, ("picture-size", "error", "exchanged in the file: detect.sizes=pictures")),
    "other": ({"told": (500, 20)}, ("picture-size", "error", "detect.sizes=pictures")),
}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("case", FINDINGS)
def test_one_finding_for_the_split(tmp_path: Path, case: str, quick: bool) -> None:
    options, expected = FINDINGS[case]
    write(tmp_path, **options)
    path = tmp_path / "images/val/1.png"
    change(path, lambda picture: picture.point(lambda value: 255 - value))  # the same picture twice would be a leak
    report = audit(tmp_path, quick=quick)
    found = [finding for finding in report.findings if finding.severity != "note"]
    assert [(one.kind, one.severity) for one in found] == ([expected[:2]] * 2 if expected else []), report.table()
    if expected:
        assert expected[2] in found[0].message


def test_resized_pictures_are_told_as_such(tmp_path: Path) -> None:
    write(tmp_path)
    for split in ("train", "val"):
        for path in (tmp_path / "images" / split).iterdir():
            change(path, lambda picture: picture.resize((24, 16)))
    (first, _) = [one for one in audit(tmp_path, quick=True).findings if one.severity != "note"]
    assert "resized after labelling: detect.sizes=scaled" in first.message
