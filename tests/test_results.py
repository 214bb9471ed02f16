"""Figures in the texts are those of the committed result files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRAININGS = json.loads((ROOT / "benchmarks" / "results" / "trainings.json").read_text(encoding="utf-8"))


def test_readme_tells_the_measured_demo() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    runs = TRAININGS["demo"]["runs"]
    first, second, third = (f"{100 * run['top1'] / run['count']:.1f}" for run in runs)
    assert f"{first}, {second} and {third} % of {runs[0]['count']} held-out digits" in text
    seconds = [run["seconds"] for run in runs]
    assert f"{min(seconds):.0f} to {max(seconds):.0f} s" in text
    assert all(run["onnx_same_top1"] == run["count"] for run in runs)


def test_the_small_recipe_promises_what_was_measured() -> None:
    recipe = (ROOT / "src" / "phonecv" / "training" / "recipes" / "from_scratch_small.yaml").read_text(encoding="utf-8")
    measured = TRAININGS["signs"]["runs"]
    assert f"# Time: {measured['seconds']:.0f} s" in recipe
    assert f"# Score: {measured['best_top1_percent']:.1f} %" in recipe
    assert f"the last one has {measured['last_top1_percent']:.1f};" in recipe


def test_the_small_detector_promises_what_was_measured() -> None:
    recipe = (ROOT / "src" / "phonecv" / "training" / "recipes" / "detect_scratch.yaml").read_text(encoding="utf-8")
    measured = TRAININGS["cells"]["runs"]
    assert f"# Time: {measured['seconds']:.0f} s" in recipe
    assert f"# Score: AP50 {measured['figures']['ap50']:.1f} " in recipe
    assert f"{measured['test_figures']['ap50']:.1f} on its 72 test pictures" in recipe


def test_the_recipe_of_moving_digits_promises_what_was_measured() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results" / "video.json").read_text(encoding="utf-8"))["results"]
    four, one = measured["four frames"], measured["one frame"]
    recipe = (ROOT / "src" / "phonecv" / "training" / "recipes" / "clips_digits.yaml").read_text(encoding="utf-8")
    guide = (ROOT / "docs" / "video.md").read_text(encoding="utf-8")
    assert f"# Time: {four['seconds']:.0f} s" in recipe
    assert (
        f"# Score: {four['top1_percent']:.1f} % of {four['of']} held-out clips; the same network on one frame" in recipe
    )
    for text in (recipe, guide):
        assert f" {one['top1_percent']:.1f} %" in text
    assert f"all of {four['right']} held-out clips after {four['seconds']:.0f} s" in guide


def test_the_recipe_of_drawn_digits_promises_what_was_measured() -> None:
    path = ROOT / "benchmarks" / "results" / "generation.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["generators"]
    ours = [row for row in rows if row["network"] == "d_emov2_digits"]
    read = [row["samples"][-1]["agreement_percent"] for row in ours]
    cost = [row["processor_seconds"] for row in ours if row["processor_seconds"] is not None]
    recipe = (ROOT / "src" / "phonecv" / "training" / "recipes" / "generate_digits.yaml").read_text(encoding="utf-8")
    assert f"# Time: {min(cost):.0f} to {max(cost):.0f} s of processor time" in recipe
    assert f"# Score: {min(read):.1f} to {max(read):.1f} % of 1000 samples are read as the class asked for" in recipe


@pytest.mark.parametrize(
    ("recipe", "part", "run", "figure", "told"),
    [
        ("digits_backbone", "scenes", "digits_backbone", "top1", "{:.1f} % of 1000"),
        ("scenes_ssdlite", "scenes", "scenes_ssdlite", "ap50", "AP50 {:.1f},"),
        ("scenes_retinanet", "scenes", "scenes_retinanet", "ap50", "AP50 {:.1f},"),
        ("nuclei_mask_rcnn", "nuclei", "mask_rcnn", "mask_ap50", "mask AP50 {:.1f},"),
        ("segment_scratch", "nuclei", "segformer", "miou", "mIoU {:.1f} of"),
    ],
)
def test_the_small_recipes_promise_what_was_measured(recipe: str, part: str, run: str, figure: str, told: str) -> None:
    text = (ROOT / "src" / "phonecv" / "training" / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    measured = TRAININGS[part]["runs"][run]
    assert f"# Time: {measured['seconds']:.0f} s" in text
    assert f"# Score: {told.format(measured['figures'][figure])}" in text


@pytest.mark.parametrize(
    ("recipe", "part", "run", "net", "told"),
    [
        ("probe", "pets", "probe", "net", "{:.1f} % of 66"),
        ("finetune", "pets", "finetune", "net", "{:.1f} % of 66"),
        ("detect_small", "own_boxes", "detect_small", "ema", "AP {:.1f} of"),
        ("segment_small", "own_maps", "segment_small", "ema", "mIoU {:.1f} of"),
    ],
)
def test_the_recipes_for_ones_own_pictures_promise_the_last_epoch(
    recipe: str, part: str, run: str, net: str, told: str
) -> None:
    text = (ROOT / "src" / "phonecv" / "training" / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    measured = TRAININGS[part]["runs"][run]
    assert not TRAININGS[part]["machine"].get("shared", False)
    assert f"# Time: {measured['seconds']:.0f} s on two CPU cores" in text
    assert f"# Score: {told.format(measured['last_scores'][net])}" in text
