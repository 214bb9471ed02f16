"""The demo: a glimpse of it that checks what it leaves and how it fails, and the whole of it (slow).

The whole takes nearly three minutes a seed; PHONECV_DEMO_SEEDS=0,1,2 runs the three it is promised for.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import phonecv
from conftest import TINY
from phonecv import demonstration
from phonecv.classify.config import ClassifyConfig
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS
from phonecv.training import load_config


def test_the_configuration_is_one_a_recipe_can_hold(tmp_path: Path) -> None:
    config = demonstration.demo_config(tmp_path / "data", tmp_path, 3)
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "c.yaml") == config
    assert config.run.seed == 3
    network = phonecv.create_model(config.model.name, **config.model.overrides)
    assert {block.window for block in network.modules() if hasattr(block, "window")} == {0}


def test_what_is_missing_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORTERS, "onnx", replace(EXPORTERS["onnx"], packages=("no_such_package",)))
    with pytest.raises(UserError, match=r"pip install"):
        demonstration.demo(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_glimpse_leaves_everything_and_says_what_it_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = demonstration.demo_config

    def narrow(*given: Any, **named: Any) -> ClassifyConfig:
        config = real(*given, **named)
        return replace(config, model=replace(config.model, overrides={**config.model.overrides, **TINY["emo_1m"]}))

    monkeypatch.setattr(demonstration, "demo_config", narrow)
    lines: list[str] = []
    result = demonstration.demo(tmp_path / "run", epochs=1, train_images=64, val_images=40, say=lines.append)
    for name in (
        "config.yaml", "metrics.csv", "curves.png", "best.safetensors", "training.safetensors", "deploy.safetensors",
        "deploy.onnx", "forms.json", "export.json", "evaluation/confusion.png", "evaluation/summary.json",
        "predictions/predictions.png", "predictions/predictions.csv", "report.html",
    ):  # fmt: skip
        assert (tmp_path / "run" / name).stat().st_size > 0, name
    # Two steps of training cannot keep the promise: the demo has to notice.
    assert not result.passed
    assert any("top-1" in failure for failure in result.failures)
    assert any(line.startswith("FAILED") for line in lines)
    # What does not depend on training holds.
    assert result.same == result.evaluation.count == 40
    assert result.forms["difference"] < 1e-5
    deploy, training = (result.forms["forms"][form] for form in ("deploy", "training"))
    assert deploy["layers"] < training["layers"]
    assert deploy["parameters"] <= training["parameters"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == 5
    assert json.loads((tmp_path / "run" / "export.json").read_text())["agreement"]["same"] == 40


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [int(seed) for seed in os.environ.get("PHONECV_DEMO_SEEDS", "0").split(",")])
def test_the_demo_keeps_its_promises(tmp_path: Path, seed: int) -> None:
    result = demonstration.demo(tmp_path / "run", seed=seed)
    assert result.failures == ()
    assert result.evaluation.top1_percent >= 95.0
    assert result.same == result.evaluation.count == 1000
    # The same call again finds the finished run and ends with the same figures.
    assert demonstration.demo(tmp_path / "run", seed=seed).evaluation.top1 == result.evaluation.top1
