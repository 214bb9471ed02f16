"""`phonecv bench` as a person types it."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import phonecv.benchmarking.run
import phonecv.benchmarking.serve
from benchmarking.test_run import result, row
from cli.conftest import Run
from phonecv.benchmarking.options import BenchOptions


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command line asked for, in the place of timing it."""
    seen: dict[str, Any] = {}

    def pretend(models: Any, options: BenchOptions) -> Any:
        seen.update(asdict(options), models=list(models))
        return result(row(), row(batch=16), warnings=("the machine is busy",))

    monkeypatch.setattr(phonecv.benchmarking.run, "bench_with", pretend)
    return seen


def test_defaults_and_table(run: Run, asked: dict[str, Any]) -> None:
    done = run("bench", "emov2_5m")
    assert done.status == 0
    assert asked["models"] == ["emov2_5m"]
    assert (asked["batches"], asked["threads"], asked["form"], asked["runtimes"]) == ((1, 16), None, "deploy", None)
    assert done.out.count("eager") == 2 + 1
    assert "warning: the machine is busy" in done.out
    assert "ratio: times as fast as net/eager/float32" in done.out


def test_every_option_arrives(run: Run, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.onnx").touch()
    done = run(
        "bench", "a.onnx", "emo_1m", "--batch", "1,4,32", "--threads", "2", "--precision", "float32, int8",
        "--runtime", "onnxruntime,openvino", "--size", "256x192", "--form", "training", "--layout", "nchw",
        "--baseline", "emo_1m", "--rounds", "7", "--seconds", "2.5", "--no-memory", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert json.loads(done.out)["baseline"] == "net/eager/float32"
    assert asked == {
        "models": ["a.onnx", "emo_1m"], "batches": (1, 4, 32), "threads": (2,), "precisions": ("float32", "int8"),
        "runtimes": ("onnxruntime", "openvino"), "device": "cpu", "size": (256, 192), "form": "training",
        "layout": "nchw", "baseline": "emo_1m", "rounds": 7, "seconds": 2.5, "memory": False, "out": tmp_path,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name at least one network"),
        (["emo_1"], "did you mean 'emo_1m'"),
        (["emo_1m", "--batch", "two"], "--batch 'two' is not a whole number"),
        (["emo_1m", "--batch", "0"], "batch 0"),
        (["emo_1m", "--threads", ""], "--threads '' is not a whole number"),
        (["emo_1m", "--threads", "5000"], "threads 5000"),
        (["emo_1m", "--size", "big"], "size 'big'"),
        (["missing.onnx"], "there is no file 'missing.onnx'"),
    ],
)
def test_mistakes(arguments: list[str], words: str, run: Run) -> None:
    done = run("bench", *arguments)
    assert done.status == 2
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the phone page was asked for, in the place of serving it."""
    seen: dict[str, Any] = {}

    def pretend(files: Any, *, say: Any, **choices: Any) -> int:
        seen.update(choices, files=list(files))
        say("open on the phone: somewhere")
        return 0

    monkeypatch.setattr(phonecv.benchmarking.serve, "serve", pretend)
    return seen


def test_serving_times_nothing_here(run: Run, offered: dict[str, Any], asked: dict[str, Any], tmp_path: Path) -> None:
    done = run("bench", "--serve", "a.onnx", "b.tflite")
    assert done.status == 0, done.err
    assert asked == {}
    assert offered == {
        "files": ["a.onnx", "b.tflite"], "out": "runs/phones", "host": "0.0.0.0", "port": 8420, "https": False,
        "rounds": 30, "seconds": 15.0,
    }  # fmt: skip
    assert "open on the phone: somewhere" in done.out
    run("bench", "a.onnx", "--serve", "--https", "--port", "0", "--host", "127.0.0.1", "--out", tmp_path)
    assert (offered["https"], offered["port"], offered["host"], offered["out"]) == (True, 0, "127.0.0.1", tmp_path)


@pytest.mark.parametrize("option", [["--https"], ["--port", "80"], ["--host", "127.0.0.1"]])
def test_options_of_the_page_alone_are_a_mistake(run: Run, option: list[str], asked: dict[str, Any]) -> None:
    done = run("bench", "emo_1m", *option)
    assert done.status == 2
    assert "belong to --serve" in done.err
    assert asked == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "name the exported files"), (["emo_1m"], "does not run in a browser"), (["no.onnx"], "there is no file")],
)
def test_mistakes_in_serving(arguments: list[str], words: str, run: Run) -> None:
    done = run("bench", "--serve", *arguments)
    assert done.status == 2
    assert words in done.err


@pytest.mark.slow
def test_a_checkpoint_for_real(run: Run, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timing = phonecv.benchmarking.run
    monkeypatch.setattr(timing, "measure", partial(timing.measure, peaks=False))  # the machine's are in test_machine.py
    done = run(
        "bench", checkpoints / "mobileone_s0.safetensors", "--batch", "2", "--threads", "1", "--runtime", "eager",
        "--precision", "float32", "--rounds", "1", "--seconds", "0.1", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "was in training form; its deploy form is timed" in done.out
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"bench.csv", "bench.json", "bench.png"}


@pytest.mark.long
def test_the_training_form_for_real(run: Run, checkpoints: Path) -> None:
    done = run(
        "bench", checkpoints / "mobileone_s0.safetensors", "--form", "training", "--batch", "1", "--threads", "1",
        "--runtime", "eager", "--precision", "float32", "--rounds", "3", "--no-memory",
    )  # fmt: skip
    assert "training  eager" in done.out
    assert "rows of training form" in done.out
