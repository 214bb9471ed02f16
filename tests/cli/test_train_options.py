"""`phonecv train`: what a recipe promises, options that are settings, and low precision that is only imitated."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from phonecv import devices
from phonecv.cli.app import main
from phonecv.cli.tables import recipe_rows
from phonecv.training.recipe import find_recipe, read_promise, recipe_names


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--epochs", "3"), "schedule.epochs=3"),
        (("--epochs=3",), "schedule.epochs=3"),
        (("--lr", "0.1"), "optimizer.lr=0.1"),
        (("--batch-size", "8"), "data.batch_size=8"),
        (("--model", "emo_1m"), "model.name=emo_1m"),
        (("--epochs",), "schedule.epochs=VALUE"),
        (("--weigths=a.pth",), "model.weights=a.pth or distill.weights=a.pth"),
        (("--seed=1",), "run.seed=1"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "distill"])
def test_an_option_that_is_a_setting_is_named(
    verb: str, given: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "finetune", *given]) == 2
    error = capsys.readouterr().err
    assert f"unknown option {given[0]!r}; settings are written without dashes: {expected}\n" in error


def test_an_option_like_no_setting_is_only_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "finetune", "--turbo"]) == 2
    assert "unknown option: --turbo" in capsys.readouterr().err


def test_about_prints_the_head_of_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "detect_scratch", "--about"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("A small SSDLite from random weights")
    assert "\nCommand: phonecv train detect_scratch --data cells --out runs/cells\n" in out
    assert "#" not in out
    own = tmp_path / "own.yaml"
    own.write_text("run: {seed: 3}\n")
    assert main(["train", str(own), "--about"]) == 0
    assert "states no promise; --show prints its settings" in capsys.readouterr().out


@pytest.fixture(scope="module")
def recipe_table() -> list[tuple[str, ...]]:
    """The table of recipes, for which each is read."""
    return recipe_rows()[1]


@pytest.mark.parametrize("name", recipe_names())
def test_promises_are_read_whole(name: str, recipe_table: list[tuple[str, ...]]) -> None:
    promise = read_promise(find_recipe(name))
    assert set(promise.fields) == {"data", "hardware", "time", "score", "source", "command"}
    joined = " ".join(promise.text.split())
    for field in promise.fields.values():
        assert " ".join(field.split()) in joined
    row = next(row for row in recipe_table if row[0] == name)
    assert row[2:] == (promise.title, promise.fields["score"], promise.fields["time"])
    assert all(cell.rstrip()[-1] in ".)" for cell in row[2:]), row  # sentences to their end


@pytest.mark.parametrize(
    ("amp", "able", "told"),
    [("bf16", False, True), ("bf16", True, False), ("fp16", True, True), ("none", False, False)],
)
def test_imitated_precision_is_told(
    amp: str, able: bool, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "computes_bf16", lambda: able)
    with caplog.at_level(logging.WARNING, "phonecv"):
        devices.low_precision(amp, torch.device("cpu"))
    assert (f"this processor does not compute in {amp}" in caplog.text) == told
