"""`phonecv export`: every option reaches the function, several formats in one call, and what is printed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Run
from exporting.fake_formats import fake
from phonecv.exporting import EXPORTERS
from phonecv.exporting.options import ExportOptions
from phonecv.exporting.run import ExportResult
from phonecv.exporting.targets import destination_of, stem_of


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Arguments of `export`, which does nothing else."""
    seen: list[dict[str, Any]] = []

    def export(model: object, destination: Path, options: ExportOptions) -> ExportResult:
        seen.append({"model": model, "destination": destination} | dataclasses.asdict(options))
        return ExportResult(
            destination, (destination,), destination.with_suffix(".json"), str(options.format), "float32", "emo_1m",
            "deploy", (32, 32), 2**20, 12, 1e-6, 1.0, "Fake 1", 2.0,
            {"where": [{"title": "GPU", "operators": 12, "left": 6}]},
        )  # fmt: skip

    monkeypatch.setattr("phonecv.exporting.run.export_with", export)
    return seen


DEFAULTS = {
    "precision": "float32", "form": "deploy", "size": None, "dynamic_size": False, "bake": False, "decode": "raw",
    "images": None, "verify": True, "max_diff": None, "min_agreement": None,
    "opset": None, "calibration": None, "settings": {}, "licence": None, "replace_file": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", {}),
        ("--precision fp16", {"precision": "fp16"}),
        ("--form training", {"form": "training"}),
        ("--size 64x96", {"size": (64, 96)}),
        ("--size 64", {"size": 64}),
        ("--any-size", {"dynamic_size": True}),
        ("--bake", {"bake": True}),
        ("--opset 15", {"opset": 15}),
        ("--decode final", {"decode": "final"}),
        ("--images photos", {"images": "photos"}),
        ("--no-verify", {"verify": False}),
        ("--max-diff 1e-3", {"max_diff": 1e-3}),
        ("--min-agreement 0.9", {"min_agreement": 0.9}),
    ],
)
def test_every_option_reaches(
    run: Run, calls: list[dict[str, Any]], checkpoints: Path, tmp_path: Path, words: str, options: dict[str, Any]
) -> None:
    source = checkpoints / "emo_1m.safetensors"
    done = run("export", source, tmp_path / "x.onnx", *words.split())
    assert done.status == 0, done.err
    (call,) = calls
    assert call == {"model": str(source), "destination": tmp_path / "x.onnx", "format": "onnx"} | DEFAULTS | options
    for text in ("1.00 MiB, 12 operators", "1.00e-06", "Fake 1", "GPU: 6 of 12 operators left out"):
        assert text in done.out


@pytest.mark.parametrize(
    ("formats", "opset", "message"),
    [
        ("mnn,onnx", "12", "opset 12 cannot be written; ONNX files have 13 to 20"),
        ("mnn,pt2", "15", "have no ONNX opset"),
    ],
)
def test_an_opset_that_none_takes_is_told_before_anything_is_written(
    run: Run, calls: list[dict[str, Any]], checkpoints: Path, tmp_path: Path, formats: str, opset: str, message: str
) -> None:
    source = checkpoints / "emo_1m.safetensors"
    done = run("export", source, tmp_path / "out", "--to", formats, "--opset", opset)
    assert (done.status, calls) == (2, [])
    assert message in done.err


def test_several_formats_go_into_a_folder(
    run: Run, calls: list[dict[str, Any]], checkpoints: Path, tmp_path: Path
) -> None:
    done = run("export", checkpoints / "emo_1m.safetensors", tmp_path / "phone", "--to", "onnx, pt2,onnx", "--json")
    assert done.status == 0, done.err
    assert [call["destination"] for call in calls] == [tmp_path / "phone" / f"emo_1m.{end}" for end in ("onnx", "pt2")]
    assert [item["format"] for item in json.loads(done.out)] == ["onnx", "pt2"]
    assert calls[0]["model"] is calls[1]["model"]  # read once


@pytest.mark.parametrize(
    ("target", "words", "wanted"),
    [
        ("new", "--to onnx", "new/emo_1m.onnx"),
        ("new", "", "new/emo_1m.onnx"),
        ("new/", "--to pt2", "new/emo_1m.pt2"),
        ("v1.2/", "--to onnx", "v1.2/emo_1m.onnx"),
        ("there.d", "--to onnx", "there.d/emo_1m.onnx"),
        ("there.d", "--to onnx,pt2", "there.d/emo_1m.onnx"),
        ("x.mlpackage", "--force", "x.mlpackage"),
        ("x.mlpackage/", "--force", "x.mlpackage"),
        ("deep/er/x.onnx", "", "deep/er/x.onnx"),
    ],
)
def test_one_format_goes_into_a_folder_as_two_do(
    run: Run, calls: list[dict[str, Any]], checkpoints: Path, tmp_path: Path, target: str, words: str, wanted: str
) -> None:
    (tmp_path / "there.d").mkdir()
    (tmp_path / "x.mlpackage").mkdir()
    done = run("export", checkpoints / "emo_1m.safetensors", f"{tmp_path}/{target}", *words.split())
    assert done.status == 0, done.err
    assert calls[0]["destination"] == tmp_path / wanted
    # Python means the same by it.
    exporter = EXPORTERS[calls[0]["format"]]
    assert destination_of("a/emo_1m.pth", f"{tmp_path}/{target}", exporter) == tmp_path / wanted


def test_the_tag_of_weights_is_no_part_of_a_name() -> None:
    assert [stem_of(name) for name in ("emo_1m:imagenet", Path("a/my run.pth"), object())] == [
        "emo_1m",
        "my_run",
        "model",
    ]


@pytest.mark.parametrize(
    ("target", "words", "message"),
    [
        ("file", "--to onnx", "is a file; give a folder, or a name that ends in .onnx"),
        ("file", "--to onnx,pt2", "is a file; give a folder"),
        ("x.onnx", "--to onnx,pt2", "is one file for 2 formats; give a folder, such as 'x/'"),
        ("x.bin", "--to onnx", "does not end in .onnx"),
    ],
)
def test_targets_that_are_neither(
    run: Run, calls: list[dict[str, Any]], checkpoints: Path, tmp_path: Path, target: str, words: str, message: str
) -> None:
    (tmp_path / "file").write_text("")
    done = run("export", checkpoints / "emo_1m.safetensors", f"{tmp_path}/{target}", *words.split())
    assert done.status == 2
    assert message in done.err
    assert not calls
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_suffix_names_the_format(run: Run, calls: list[dict[str, Any]], checkpoints: Path, tmp_path: Path) -> None:
    assert run("export", checkpoints / "emo_1m.safetensors", tmp_path / "x.pt2").status == 0
    assert calls[0]["format"] == "pt2"


def test_the_help_names_every_format(run: Run) -> None:
    shown = " ".join(run("export", "--help").out.split())
    for name in EXPORTERS:
        assert name in shown


def test_a_missed_budget_is_status_2_and_leaves_no_file(
    run: Run, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPORTERS, "fake", fake(session="open_shifted"))
    done = run("export", checkpoints / "mobileone_s0.safetensors", tmp_path / "x.fake", "--max-diff", "0.001")
    assert done.status == 2
    assert "1e-03 is allowed (max_diff)" in done.err
    assert list(tmp_path.iterdir()) == []


def test_one_format_that_fails_does_not_stop_the_others(
    run: Run, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = dataclasses.replace(fake("write_good"), format="good", suffix=".good", parts=())
    monkeypatch.setitem(EXPORTERS, "fake", fake("fail"))
    monkeypatch.setitem(EXPORTERS, "good", good)
    done = run("export", checkpoints / "mobileone_s0.safetensors", tmp_path, "--to", "fake,good")
    assert done.status == 2
    assert "1 of 2 formats were not written; fake: " in done.err
    assert "mobileone_s0.good" in done.out
    assert {path.suffix for path in tmp_path.iterdir()} == {".good", ".json", ".log", ".png"}
