"""Evaluating a segmenter: figures, choices that the data leaves open, and the files that are written."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.label_folders import save_map, squares
from opened import open_segmenter
from phonecv.api import evaluate
from phonecv.data.labelmaps import ade20k
from phonecv.data.labelmaps.listing import read_label_split
from phonecv.errors import UserError
from phonecv.evaluating import write_evaluation
from phonecv.segment.evaluate import choose_reading
from phonecv.segment.overlay import overlay, save_label_map
from phonecv.segment.report import BARS
from phonecv.segment.result import SegmentationResult
from segment.scenes import LEVELS, ByColour, write_scenes
from segment.tiny import tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "data", counts={"train": 2, "val": 5})


def spoil(root: Path, index: int) -> None:
    """Call everything in one picture a ball."""
    shape = np.asarray(Image.open(root / f"images/val/{index}.jpg")).shape
    Image.fromarray(np.full(shape, LEVELS[2], dtype=np.uint8)).save(root / f"images/val/{index}.jpg", "PNG")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_perfect_and_a_spoilt_picture(root: Path) -> None:
    result = evaluate(ByColour(), root)
    assert (result.scores.miou, result.scores.aacc, result.count) == (1.0, 1.0, 5)
    spoil(root, 2)
    seen: list[tuple[int, int]] = []
    result = evaluate(ByColour(), root, batch_size=2, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    # By hand: every pixel of picture 2 is found as class 2.
    split = read_label_split(root, "val")
    labels = np.stack([split.read_label(index) for index in range(5)])
    found = labels.copy()
    found[2] = 2
    wanted = [((found == c) & (labels == c)).sum() / ((found == c) | (labels == c)).sum() for c in range(3)]
    np.testing.assert_allclose(result.scores.iou, wanted, rtol=1e-12)
    assert result.scores.aacc == (found == labels).mean()
    assert result.worst[0].path.name == "2.jpg"
    assert result.worst[0].miou == pytest.approx((labels[2] == 2).mean() / 3)
    assert np.unique(np.asarray(result.worst[0].found)).tolist() == [2]
    assert {one.path for one in result.worst}.isdisjoint(one.path for one in result.best)
    assert "mIoU" in str(result)


def test_batch_size_and_workers_change_nothing(root: Path) -> None:
    save_map(squares(5, size=(30, 20)), root / "annotations/val/3.png")
    Image.new("RGB", (20, 30), (130,) * 3).save(root / "images/val/3.jpg", "PNG")
    model = tiny("segformer", num_classes=3)
    results = [evaluate(model, root, batch_size=size, workers=workers) for size, workers in ((1, 0), (5, 0), (2, 1))]
    for other in results[1:]:
        np.testing.assert_array_equal(other.matrix, results[0].matrix)
        assert [one.miou for one in other.pictures] == [one.miou for one in results[0].pictures]


def test_maps_in_colours_and_on_stored_pictures(root: Path, tmp_path: Path) -> None:
    """Scores are those of the plain maps: read by the VOC palette, turned like their pictures."""
    colours = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], dtype=np.uint8)
    for path in (root / "annotations").rglob("*.png"):
        Image.fromarray(colours[np.asarray(Image.open(path))]).save(path)
    result = evaluate(ByColour(), root, out=tmp_path / "out")
    assert (result.scores.miou, result.count) == (1.0, 5)
    assert "read by it ((0, 0, 0) is 0, (0, 128, 0) is 2" in str(result)
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    for path in (root / "images/val").iterdir():
        Image.open(path).save(path, "PNG", exif=upside_down)
    assert evaluate(ByColour(), root).scores.miou < 0.9
    assert evaluate(ByColour(), root, stored=True, out=tmp_path / "stored").scores.miou == 1.0


def test_files(root: Path, tmp_path: Path) -> None:
    spoil(root, 2)
    (root / "annotations/val/1.png").write_bytes(b"")
    (root / "annotations/val/4.png").unlink()
    out = tmp_path / "out"
    result = evaluate(ByColour(), root, out=out)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["miou"] == round(100 * result.scores.miou, 4)
    assert (summary["task"], summary["count"], summary["skipped"]) == ("segment", 3, 2)
    assert summary["reduce_zero_label"] is False
    per_class = rows(out / "per_class.csv")
    assert [row["class"] for row in per_class] == ["floor", "box", "ball"]
    assert sum(int(row["pixels"]) for row in per_class) == 3 * 24 * 32
    assert float(per_class[2]["accuracy_percent"]) == 100
    skipped = {Path(row["path"]).name: row["reason"] for row in rows(out / "skipped.csv")}
    assert "annotations/val/1.png: empty file" in skipped["1.jpg"]
    assert skipped["4.jpg"] == "picture without a label map"
    assert len(rows(out / "per_image.csv")) == 3
    page = (out / "report.html").read_text(encoding="utf-8")
    for part in (f"{summary['miou']:.2f} %", "picture without a label map", "accuracy %"):
        assert part in page
    for name in ("per_class", "confusion", "best", "worst"):
        with Image.open(out / f"{name}.png") as image:
            assert min(image.size) > 200
    (root / "annotations/val/1.png").unlink()
    for index in (1, 4):
        (root / f"images/val/{index}.jpg").unlink()
    evaluate(ByColour(), root, out=out)
    assert not (out / "skipped.csv").exists()


def test_many_classes_are_drawn(root: Path, tmp_path: Path) -> None:
    small = evaluate(ByColour(), root)
    random = np.random.default_rng(0)
    matrix = np.hstack([random.integers(0, 10**6, (150, 150)), np.zeros((150, 1), dtype=int)])
    result = SegmentationResult(
        scores=type(small.scores).of(matrix),
        classes=ade20k.CLASSES,
        palette=ade20k.PALETTE,
        matrix=matrix,
        pictures=small.pictures,
        best=(),
        worst=(),
        skipped=(),
        split=small.split,
        outputs=small.outputs,
        seconds=1,
        model="m",
        data="d",
    )
    write_evaluation(result, tmp_path / "out")
    assert len(rows(tmp_path / "out/per_class.csv")) == 150 > BARS
    assert not (tmp_path / "out/best.png").exists()


def test_ignored_pixels_and_pictures_count_nothing(root: Path) -> None:
    labels = squares(100)
    labels[:5] = 255
    save_map(labels, root / "annotations/val/0.png")
    save_map(np.full_like(labels, 255), root / "annotations/val/1.png")
    result = evaluate(ByColour(), root)
    assert int(result.scores.labelled.sum()) == 5 * 768 - 5 * 32 - 768
    assert [one.pixels for one in result.pictures[:2]] == [768 - 160, 0]
    assert result.scores.miou == 1.0
    for index in range(5):
        save_map(np.full_like(labels, 255), root / f"annotations/val/{index}.png")
    with pytest.raises(UserError, match="no pixel of 5 images is labelled"):
        evaluate(ByColour(), root)


def test_no_usable_picture(root: Path) -> None:
    for index in range(5):
        (root / f"annotations/val/{index}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 5 images .*empty file"):
        evaluate(ByColour(), root)


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (("floor", "box", "ball"), "0 floor\n1 box\n2 ball\n", False),
        (("box", "ball"), "0 floor\n1 box\n2 ball\n", True),
        (("box", "ball"), "1 box\n2 ball\n", True),
        (("background", "box", "ball"), "1 box\n2 ball\n", False),
        (None, "1 floor\n2 box\n3 ball\n", True),
        (None, "1 box\n2 ball\n", False),
        (("floor", "box", "ball"), "floor\nbox\nball\n", False),
        (("floor", "box", "ball"), None, False),
        (ade20k.CLASSES, None, True),
    ],
)
def test_what_zero_means_follows_from_the_classes(
    root: Path, names: tuple[str, ...] | None, text: str | None, expected: bool
) -> None:
    (root / "classes.txt").unlink()
    if text is not None:
        (root / "classes.txt").write_text(text)
    found, note = choose_reading(root, open_segmenter(ByColour(names)))
    assert found is expected
    assert f"reduce_zero_label={str(expected).lower()}" in note


def test_zero_as_nothing(root: Path) -> None:
    (root / "classes.txt").write_text("1 box\n2 ball\n")
    model = ByColour(("box", "ball"))
    model.levels.data = torch.tensor(LEVELS[1:]) / 255
    result = evaluate(model, root)
    assert result.split.values.reduce_zero_label
    assert result.scores.miou == 1.0
    split = read_label_split(root, "val", reduce_zero_label=True)
    assert int(result.scores.labelled.sum()) == sum(int((split.read_label(i) != 255).sum()) for i in range(5))


def test_black_and_white_masks(root: Path) -> None:
    for path in sorted((root / "annotations/val").iterdir()):
        with Image.open(path) as image:
            labels = np.asarray(image)
        save_map(np.where(labels == 1, 255, 0).astype(np.uint8), path)
    (root / "classes.txt").unlink()
    model = ByColour(("rest", "box"))
    model.levels.data = torch.tensor(LEVELS[:2]) / 255
    result = evaluate(model, root, threshold=128.0)
    assert result.notes == ()
    assert result.scores.accuracy[1] == 1.0
    assert result.scores.labelled.sum() == 5 * 24 * 32


def test_classes_are_matched_by_name(root: Path) -> None:
    """A model that knows more classes, in another order."""
    model = ByColour(("ball", "bird", "floor", "box"))
    model.levels = torch.nn.Parameter(torch.tensor([LEVELS[2], 1000, LEVELS[0], LEVELS[1]]) / 255)
    result = evaluate(model, root)
    assert result.scores.miou == 1.0
    assert result.scores.labelled[1] == 0
    assert np.isnan(result.scores.iou[1])
    (root / "classes.txt").write_text("0 floor\n1 box\n2 whale\n")
    with pytest.raises(UserError, match="whale"):
        evaluate(model, root)


def test_strange_models_and_numbers(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a segmenter"):
        open_segmenter(torch.nn.Identity())  # type: ignore
    with pytest.raises(UserError, match="there is no file"):
        open_segmenter(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="batch_size=0"):
        evaluate(ByColour(), root, batch_size=0)
    with pytest.raises(UserError, match="scales"):
        evaluate(ByColour(), root, scales=(0,))
    broken = ByColour()
    broken.levels.data[1] = float("nan")
    with pytest.raises(UserError, match="not numbers, first: levels"):
        evaluate(broken, root)
    assert evaluate(ByColour(), root, limit=2).count == 2


def test_windows_scales_and_flips_reach_the_network(root: Path) -> None:
    model = ByColour()
    plain = evaluate(model, root)
    ways: list[dict[str, Any]] = [{"slide": (16, 8)}, {"flip": True}, {"scales": (1.0, 2.0)}]
    for way in ways:
        result = evaluate(model, root, **way)
        assert result.scores.aacc > 0.9
        assert result.details != plain.details
    assert model.windows is None


def test_overlay_and_label_files(tmp_path: Path) -> None:
    picture = Image.new("RGB", (2, 2), (100, 100, 100))
    labels = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    painted = np.asarray(overlay(picture, labels, [(0, 0, 0), (255, 0, 0), (0, 0, 200)], alpha=0.5))
    # Black classes and what is ignored stay as they are.
    assert painted[0, 0].tolist() == painted[1, 1].tolist() == [100, 100, 100]
    assert np.abs(painted[0, 1].astype(int) - [177, 50, 50]).max() <= 1
    assert np.abs(painted[1, 0].astype(int) - [50, 50, 150]).max() <= 1
    save_label_map(labels, [(0, 0, 0), (255, 0, 0), (0, 0, 200)], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), labels)
        assert image.convert("RGB").getpixel((1, 0)) == (255, 0, 0)
    many = np.array([[0, 299]], dtype=np.int64)
    save_label_map(many, [(index % 256, 0, 0) for index in range(300)], tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode.startswith("I")
        np.testing.assert_array_equal(np.asarray(image), many)
