"""Figures in the texts are those of the committed result files."""

from __future__ import annotations

import json
from pathlib import Path

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
    recipe = (ROOT / "src" / "phonecv" / "train" / "recipes" / "from_scratch_small.yaml").read_text(encoding="utf-8")
    measured = TRAININGS["signs"]["runs"]
    assert f"# Time: {measured['seconds']:.0f} s" in recipe
    assert f"# Score: {measured['best_top1_percent']:.1f} %" in recipe
    assert f"the last one has {measured['last_top1_percent']:.1f};" in recipe


def test_the_small_detector_promises_what_was_measured() -> None:
    recipe = (ROOT / "src" / "phonecv" / "train" / "recipes" / "detect_scratch.yaml").read_text(encoding="utf-8")
    measured = TRAININGS["cells"]["runs"]
    assert f"# Time: {measured['seconds']:.0f} s" in recipe
    assert f"# Score: AP50 {measured['figures']['ap50']:.1f} " in recipe
    assert f"{measured['test_figures']['ap50']:.1f} on its 72 test pictures" in recipe
