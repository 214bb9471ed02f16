"""`phonecv train`: what a recipe promises, options that are settings, and low precision that is only imitated."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import yaml

from phonecv import devices
from phonecv.cli.app import main
from phonecv.cli.tables import RECIPE_GROUPS, recipe_rows
from phonecv.errors import UserError
from phonecv.training.recipe import find_recipe, load_config, read_promise, recipe_names

FLAGGED = [
    (("--epochs", "3"), "schedule.epochs", 3),
    (("--batch-size", "8"), "data.batch_size", 8),
    (("--lr", "1e-3"), "optimizer.lr", 1e-3),
    (("--model", "emo_1m"), "model.name", "emo_1m"),
    (("--weights", "none"), "model.weights", None),
    (("--seed", "1"), "run.seed", 1),
    (("--workers", "0"), "data.workers", 0),
    (("--input-size=96",), "data.size", 96),
    (("--data", "photos"), "data.path", "photos"),
    (("--out", "runs/a"), "run.out", "runs/a"),
]


@pytest.mark.parametrize("verb", ["train", "distill"])
def test_plain_options_are_settings(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--teacher", "emo_1m"] if verb == "distill" else []
    given = [text for option, _, _ in FLAGGED for text in option]
    assert main([verb, "finetune", *more, *given, "--show"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    for _, setting, value in FLAGGED:
        group, name = setting.split(".")
        assert shown[group][name] == value, setting


def test_an_option_and_a_setting_may_not_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "finetune", "--epochs", "3", "schedule.epochs=4", "--show"]) == 2
    assert "--epochs 3 and schedule.epochs=4 set the same; leave one of them out" in capsys.readouterr().err
    assert main(["train", "finetune", "--epochs", "3", "schedule={epochs: 4}", "--show"]) == 2
    assert "--epochs 3 and schedule={epochs: 4} set the same" in capsys.readouterr().err
    assert main(["train", "finetune", "--lr", "0.001", "optimizer.lr=1e-3", "schedule.epochs=4", "--show"]) == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--epocs", "3"), "unknown option '--epocs'; did you mean '--epochs'?"),
        (("--epochs", "1.5"), "invalid value for --epochs: '1.5' is not a whole number"),
        (("loss.class_weights=inverse",), "is not one of balanced, nor a table such as {name: 2}"),
        (("--weigths=a.pth",), "unknown option '--weigths'; did you mean '--weights'?"),
        (("--warmup-epochs", "3"), "settings are written without dashes: schedule.warmup_epochs=3"),
        (("--weight-decay=0.1",), "settings are written without dashes: optimizer.weight_decay=0.1"),
        (("--precise-bn",), "settings are written without dashes: run.precise_bn=VALUE"),
        (("--work-dir", "a"), "there is no option '--work-dir'; here it is `--out RUN`"),
        (("--turbo",), "unknown option '--turbo'; see `phonecv train --help`"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest(
    given: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "finetune", *given]) == 2
    assert expected in capsys.readouterr().err


def test_the_help_of_a_recipe_shows_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "probe", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "* model.freeze=['all']" in out
    assert "--epochs 10 Times that the training pictures are gone through. (`schedule.epochs`)" in out
    assert " schedule.power=0.9 of" in out
    assert "segment." not in out
    assert main(["train", "prob", "--help"]) == 2
    assert "did you mean 'probe'?" in capsys.readouterr().err


def test_fewer_epochs_than_warm_up_shorten_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "phonecv"):
        config = load_config("emov2_224", ["schedule.epochs=6"])
    assert config.schedule.warmup_epochs == pytest.approx(0.4)
    assert "warm-up takes 0.4 of 6 epochs, as it takes 20 of the 300 epochs of the recipe" in caplog.text
    assert load_config("emov2_224", ["schedule.epochs=60"]).schedule.warmup_epochs == 20
    with pytest.raises(UserError, match="leaves nothing of"):
        load_config("emov2_224", ["schedule.epochs=6", "schedule.warmup_epochs=20"])


def test_a_configuration_says_what_it_was_made_from(tmp_path: Path) -> None:
    config = load_config("probe", ["schedule.epochs=3"])
    assert config.run.recipe == "probe"
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


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
    assert set(promise.fields) == {"for", "data", "hardware", "time", "score", "source", "command"}
    joined = " ".join(promise.text.split())
    for field in promise.fields.values():
        assert " ".join(field.split()) in joined
    row = next(row for row in recipe_table if row[1] == name)
    assert row[3:] == (promise.title, promise.fields["score"], promise.fields["time"])
    assert row[0] in RECIPE_GROUPS
    assert all(cell.rstrip()[-1] in ".)" for cell in row[3:]), row  # sentences to their end


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
