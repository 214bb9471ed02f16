"""What an evaluation leaves in its folder."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import mostly_long
from detect.scenes import CLASSES, colour_runner, write_scenes
from phonecv.api import evaluate
from phonecv.detect.detections import Detections, encode_masks
from phonecv.detect.draw import Drawn, class_colour, draw, draw_detections
from phonecv.detect.plates import letter_size
from phonecv.detect.result import DetectionResult
from phonecv.plots import save_precision_recall

PICTURES = ("precision_recall.png", "confusion.png", "best.png", "worst.png")


def evaluated(tmp_path: Path, *, masks: bool = True, pictures: int = 6) -> tuple[DetectionResult, Path]:
    root = write_scenes(tmp_path / "scenes", pictures)
    out = tmp_path / "out"
    return evaluate(colour_runner(masks=masks), root, out=out), out


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("masks", mostly_long([False, True], True))
def test_the_folder_holds_tables_and_pictures(tmp_path: Path, masks: bool) -> None:
    result, out = evaluated(tmp_path, masks=masks)
    tables = {"summary.json", "per_class.csv", "per_image.csv", "detections.json", "report.html"}
    assert {path.name for path in out.iterdir()} == {*tables, *PICTURES}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ap"] == pytest.approx(result.figures["ap"], abs=1e-5)
    assert ("mask_ap" in summary) == masks
    rows = read_table(out / "per_class.csv")
    assert [row["class"] for row in rows] == list(result.classes)
    assert sum(int(row["objects"]) for row in rows) == result.judged.classes.objects.sum()
    # AP is the mean of the classes' AP.
    assert np.mean([float(row["ap"]) for row in rows]) == pytest.approx(result.figures["ap"], abs=0.01)
    assert ("mask_ap" in rows[0]) == masks
    images = read_table(out / "per_image.csv")
    assert [Path(row["path"]).name for row in images] == [f"{number:03}.png" for number in range(6)]
    assert images[1]["quality"] == ""  # nothing is there and nothing was found
    for name in PICTURES:
        with Image.open(out / name) as image:
            assert image.width > 400
            assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 20
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"<b>{result.figures['ap']:.1f}</b><span>AP</span>" in page
    assert ("mask AP50" in page) == masks
    assert page.count("<img") == len(PICTURES)
    # One line for each detection.
    lines = (out / "detections.json").read_text().splitlines()
    assert len(lines) == len(result.found) + 2
    assert ("segmentation" in lines[1]) == masks


@pytest.mark.long
def test_the_same_evaluation_writes_the_same_bytes(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "a")[1]
    second = evaluated(tmp_path / "b")[1]
    for name in (*PICTURES, "per_class.csv", "detections.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    result, out = evaluated(tmp_path)
    root = tmp_path / "scenes"
    file = root / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["images"] = [image for image in content["images"] if image["file_name"] == "001.png"]
    file.write_text(json.dumps(content | {"annotations": []}))
    empty = evaluate(colour_runner(), root, out=out)
    assert empty.count == 1
    assert not any((out / name).exists() for name in PICTURES)
    assert read_table(out / "per_class.csv") == []
    assert json.loads((out / "detections.json").read_text()) == []
    assert result.count == 6


@pytest.mark.usefixtures("undrawn")
def test_unreadable_pictures_get_a_table(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", 5)
    (root / "images" / "val" / "003.png").write_bytes(b"")
    out = tmp_path / "out"
    evaluate(colour_runner(), root, out=out)
    assert [Path(row["path"]).name for row in read_table(out / "skipped.csv")] == ["003.png"]
    write_scenes(root, 5)
    evaluate(colour_runner(), root, out=out)
    assert not (out / "skipped.csv").exists()


@pytest.mark.usefixtures("undrawn")
def test_best_and_worst_are_the_best_and_the_worst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phonecv.detect import report

    monkeypatch.setattr(report, "GRID", 2)
    shown: dict[str, list[str]] = {}

    def keep(images: object, captions: list[str], path: Path, **_: object) -> Path:
        shown[path.stem] = [caption.split("\n")[0] for caption in captions]
        return path

    monkeypatch.setattr(report, "save_image_grid", keep)
    result, _ = evaluated(tmp_path, pictures=8)
    quality = {row.path.name: row.quality for row in result.pictures if not math.isnan(row.quality)}
    ranked = sorted(quality.values())
    assert [quality[name] for name in shown["worst"]] == ranked[:2]
    assert [quality[name] for name in shown["best"]] == ranked[:-3:-1]
    assert ranked[1] < ranked[-2]


# ------------------------------------------------------------------------------------------- drawing


def test_boxes_masks_and_names_are_where_they_belong() -> None:
    picture = torch.full((3, 200, 300), 255, dtype=torch.uint8)
    mask = torch.zeros(1, 200, 300, dtype=torch.bool)
    mask[:, 100:140, 60:120] = True
    drawn = draw(picture, Drawn(np.array([[50.0, 90, 130, 150]]), ["cat 90"], ["#0072B2"], mask))
    changed = (drawn != 255).any(0)
    assert changed[100:140, 60:120].all()  # the mask
    assert tuple(drawn[:, 90, 90].tolist()) == (0x00, 0x72, 0xB2)  # the upper edge
    assert changed[70:89, 50:90].any()  # the name is above
    assert not changed[160:].any()
    assert not changed[:, 140:].any()
    assert (picture == 255).all()


def test_names_stay_inside_the_picture() -> None:
    picture = torch.full((3, 100, 120), 255, dtype=torch.uint8)
    drawn = draw(picture, Drawn(np.array([[100.0, 2, 119, 40]]), ["a long name"], ["#D55E00"]))
    changed = (drawn != 255).any(0)
    # The name starts left of its box, so that it is not cut at the right border, and below it, as it would hide it.
    assert changed[42:55, 40:95].any()


def test_boxes_outside_and_without_area_do_no_harm() -> None:
    picture = torch.zeros(3, 40, 50, dtype=torch.uint8)
    boxes = np.array([[-20.0, -5, 200, 90], [49.5, 39.5, 49.6, 39.6], [10, 10, 10, 10]])
    assert draw(picture, Drawn(boxes, ["a", "", "c"], ["#009E73"] * 3)).shape == picture.shape
    assert torch.equal(draw(picture, Drawn(np.zeros((0, 4)), [], [])), picture)


def test_where_masks_overlap_the_better_one_is_seen() -> None:
    picture = torch.full((3, 60, 60), 255, dtype=torch.uint8)
    mask = torch.ones(2, 60, 60, dtype=torch.bool)
    found = Detections(
        np.zeros(2, np.int64),
        np.array([[0, 0, 60, 60]] * 2, np.float32),
        np.array([0.9, 0.8], np.float32),
        np.array([1, 0]),
        tuple(encode_masks(mask)),
    )
    drawn = draw_detections(picture, found, CLASSES)[:, 40, 30]
    expected = [round(255 * 0.55 + 0.45 * int(class_colour(1)[place : place + 2], 16)) for place in (1, 3, 5)]
    assert (drawn.float() - torch.tensor(expected)).abs().max() <= 1


def test_colours_differ() -> None:
    assert len({class_colour(label) for label in range(80)}) == 80
    assert letter_size(320, 200) == 11
    assert letter_size(1080, 1920) > 30


def test_names_of_other_peoples_classes_are_drawn_as_well_as_can_be(tmp_path: Path) -> None:
    picture = torch.zeros(3, 80, 160, dtype=torch.uint8)
    names = ("猫", "a\tb\nc", "$x^2", "", "\x1b[31mred")
    found = Detections(np.zeros(5, np.int64), np.tile(np.array([5, 30, 60, 70], np.float32), (5, 1)),
                       np.linspace(0.9, 0.5, 5, dtype=np.float32), np.arange(5))  # fmt: skip
    assert draw_detections(picture, found, names).any()
    save_precision_recall({"boxes": np.random.default_rng(0).random((10, 101, 5))}, [0.5 + 0.05 * i for i in range(10)],
                          names, tmp_path / "curve.png", title="$\\frac$")  # fmt: skip
    assert (tmp_path / "curve.png").is_file()


def test_many_classes_share_a_plot(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((10, 101, 40))
    values[:, :, ::3] = np.nan
    path = save_precision_recall({"boxes": values, "masks": values}, np.linspace(0.5, 0.95, 10).tolist(),
                                 [str(number) for number in range(40)], tmp_path / "curve.png")  # fmt: skip
    with Image.open(path) as image:
        assert image.height > 800
