"""A fourth task lives in its own folder: the row is all that the package is told, and the whole command line works."""

from __future__ import annotations

import csv
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import phonecv
from conftest import TINY
from phonecv.task import TASKS, Task

SIZE = 32


Main = Callable[[Sequence[str]], int]


@pytest.fixture(scope="module")
def main() -> Iterator[Main]:
    """The command line, started anew with the row in the table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "regress", Task("regress", "a regressor", "regress"))
        for name in [name for name in sys.modules if name == "phonecv.cli" or name.startswith("phonecv.cli.")]:
            patch.delitem(sys.modules, name)
        patch.setattr(phonecv, "cli", importlib.import_module("phonecv.cli"), raising=False)
        yield sys.modules["phonecv.cli"].main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gray pictures; their number is how bright they are."""
    root, random = tmp_path_factory.mktemp("numbers"), np.random.default_rng(0)
    (root / "pictures").mkdir()
    for split, count in (("train", 32), ("val", 16)):
        with (root / f"{split}.csv").open("w", newline="") as file:
            for number in range(count):
                level = number / count
                pixels = (255 * level + random.normal(0, 8, (SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8)
                name = f"pictures/{split}{number}.png"
                Image.fromarray(pixels).save(root / name)
                csv.writer(file).writerow((name, f"{level:.4f}"))
    return root


@pytest.fixture(scope="module")
def trained(main: Main, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training by the command line."""
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "recipe.yaml"
    settings = {
        "model": {"name": "mobileone_s0", "drop_path": None, "overrides": TINY["mobileone_s0"]},
        "data": {"batch_size": 8, "size": SIZE, "workers": 0, "crop": 1.0},
        "schedule": {"epochs": 2, "warmup_epochs": 0},
        "optimizer": {"lr": 0.01, "lr_batch": 0},
        "ema": {"enabled": False},
        "run": {"device": "cpu", "threads": 1, "amp": "none", "compile": False, "channels_last": False},
        "regress": {"head": "mean"},
    }
    recipe.write_text(json.dumps(settings))
    assert main(["train", str(recipe), "--data", str(data), "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def exported(main: Main, trained: Path) -> Path:
    assert main(["export", str(trained / "best.safetensors"), str(trained / "number.onnx")]) == 0
    return trained / "number.onnx"


def test_train_leaves_a_page(main: Main, trained: Path) -> None:
    assert phonecv.read_checkpoint(trained / "best.safetensors").task == "regress"
    assert "explained" in (trained / "report.html").read_text()


def test_audit(main: Main, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Shares are labels here alone: as the list of a classifier the same file is an error, so the task is named.
    assert main(["audit", str(data), "--task", "regress"]) == 0
    assert "numbers (regress)" in capsys.readouterr().out


def test_info(main: Main, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(trained / "best.safetensors")]) == 0
    assert "regressor, mean" in capsys.readouterr().out


def test_eval_and_its_page(main: Main, trained: Path, data: Path, tmp_path: Path) -> None:
    assert main(["eval", str(trained / "best.safetensors"), "--data", str(data), "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["task"], summary["count"]) == ("regress", 16)
    assert "mean error" in (tmp_path / "report.html").read_text()


def test_predict_with_an_option_of_its_own(
    main: Main, trained: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(data / "pictures/val3.png")
    assert main(["predict", str(trained / "best.safetensors"), picture, "--digits", "1", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert round(found["number"], 1) == found["number"]
    (said,) = phonecv.predict(trained / "best.safetensors", picture, digits=1)
    assert said.to_dict() == found
    assert main(["predict", str(trained / "best.safetensors"), picture, "--topk", "1"]) == 2
    assert "topk is for a classifier" in capsys.readouterr().err


def test_fuse(main: Main, trained: Path, tmp_path: Path, data: Path) -> None:
    fused = tmp_path / "fused.safetensors"
    assert main(["fuse", str(trained / "best.safetensors"), str(fused)]) == 0
    pictures = sorted((data / "pictures").glob("val*"))
    one, other = (phonecv.predict(path, pictures, digits=6) for path in (trained / "best.safetensors", fused))
    assert [each.number for each in one] == pytest.approx([each.number for each in other], abs=1e-4)


@pytest.mark.slow
def test_export_is_checked_and_evaluated(main: Main, exported: Path, data: Path) -> None:
    record = json.loads(exported.with_name("number.onnx.json").read_text())
    assert (record["task"], record["outputs"]) == ("regress", ["number"])
    assert record["checked"]["difference"] < 1e-4
    mine, theirs = (phonecv.evaluate(path, data) for path in (exported.with_name("best.safetensors"), exported))
    assert mine.mean_error == pytest.approx(theirs.mean_error, abs=1e-4)


@pytest.mark.slow
def test_quantize(main: Main, trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--to", "onnx", "--data", str(data / "pictures"), "--no-fine-tune", "--max-drop", "99"]
    assert main(["quantize", str(trained / "best.safetensors"), str(tmp_path), *arguments]) == 0
    assert "off by" in capsys.readouterr().out
    assert (tmp_path / "best-int8.onnx").is_file()


@pytest.mark.slow
def test_bundle(main: Main, exported: Path, tmp_path: Path) -> None:
    best = str(exported.with_name("best.safetensors"))
    assert main(["bundle", best, str(tmp_path / "app"), "--to", "onnx", "--licence", "ours"]) == 0
    expected = json.loads((tmp_path / "app" / "expected.json").read_text())
    assert "number" in json.dumps(expected)


@pytest.mark.long
@pytest.mark.slow
def test_bench(main: Main, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = str(exported.with_name("best.safetensors"))
    quick = ["--batch", "1", "--threads", "1", "--rounds", "2", "--seconds", "0.1", "--no-memory"]
    assert main(["bench", best, "--runtime", "eager", *quick]) == 0
    assert "best" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_know_the_row(main: Main, trained: Path, data: Path, tmp_path: Path) -> None:
    recipe = str(trained.with_name("recipe.yaml"))
    out = str(tmp_path / "out")
    assert main(["train", recipe, "--data", str(data), "--out", out, "--devices", "2", "schedule.epochs=1"]) == 0
    assert phonecv.read_checkpoint(tmp_path / "out" / "best.safetensors").task == "regress"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["distill", "RECIPE", "--teacher", "timm:resnet18"],
            "distill.teacher is for classifiers and detectors and",
        ),
        (["train", "RECIPE", "detect.architecture=ssdlite320"], "detect.architecture and regress.head are both set"),
        (["audit", "DATA", "--task", "regres"], "did you mean 'regress'"),
        (["convert", "BEST", "net.pth", "--to", "timm"], "a Regressor is written as 'phonecv'"),
        (["eval", "BEST", "--data", "DATA", "--reduce-zero-label"], "reduce_zero_label is for a segmenter"),
        (["predict", "emo_1m", "DATA", "--digits", "2"], "digits is for a regressor; 'emo_1m' is a classifier"),
    ],
)
def test_mistakes_are_told_in_its_words(
    main: Main,
    trained: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"RECIPE": trained.with_name("recipe.yaml"), "DATA": data, "BEST": trained / "best.safetensors"}
    assert main([str(named.get(word, word)) for word in arguments]) == 2
    assert message in capsys.readouterr().err
