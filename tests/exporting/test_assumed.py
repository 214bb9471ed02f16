"""Files that nothing describes: what is assumed is said, with the file that would say better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opened import open_classifier
from phonecv.errors import UserError
from phonecv.exporting import opening
from phonecv.exporting.job import Session
from phonecv.exporting.record import find_record, read_record, record_path
from phonecv.preprocessing import Preprocessing

SUFFIXES = [".onnx", ".xml", ".pte", ".tflite", ".mlpackage", ".param"]


def alone(path: Path, monkeypatch: pytest.MonkeyPatch, *, classes: int = 3, size: int | None = 8) -> Path:
    """A file that, opened, gives zeros, and says of itself what stands beside it."""
    path.write_bytes(b"")

    def opened(asked: Path | str, **_: Any) -> Session:
        sides = None if size is None else (size, size)
        zeros = lambda images: [np.zeros((len(images), classes), np.float32)]  # noqa: E731
        return Session(zeros, "PyTorch", None, sides, read_record(Path(asked)))

    monkeypatch.setattr(opening, "open_session", opened)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_assumed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    path = alone(tmp_path / f"m{suffix}", monkeypatch)
    runner = open_classifier(path)
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"no m{suffix}.json beside it" in line
    assert runner.preprocessing.in_words() in line
    assert "centre crop 8 px" in line
    assert "3 classes called by number" in line
    # The example in the line is one: written as it stands, the file counts and nothing is assumed.
    caplog.clear()
    example = json.loads(line[line.index("{") :])
    example["preprocessing"]["size"], example["classes"] = 8, ["a", "b", "c"]
    record_path(path).write_text(json.dumps(example))
    runner = open_classifier(path)
    assert runner.classes == ("a", "b", "c")
    assert runner.preprocessing == Preprocessing(8, mean=(0, 0, 0), std=(1, 1, 1))
    assert not caplog.records


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_a_clone_or_a_download_leaves_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    for text, words in (
        ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("\n<!DOCTYPE html>", "web page"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            find_record(path)


def test_imagenets_names_are_said_to_be_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = alone(tmp_path / "m.param", monkeypatch, classes=1000, size=None)
    assert open_classifier(path).classes[2] == "great white shark"
    assert "ImageNet's 1000 classes" in caplog.text
    caplog.clear()
    record_path(path).write_text(json.dumps({"model": "m"}))
    open_classifier(path)
    assert "its record lacks the preprocessing" in caplog.text


def test_a_record_of_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = alone(tmp_path / "m.pte", monkeypatch)
    record_path(path).write_text(json.dumps({"classes": ["a", "b"], "preprocessing": {"size": 8}}))
    with pytest.raises(UserError, match="gives 3 classes, its record names 2"):
        open_classifier(path)


def test_a_detectors_file_without_its_record_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.param"
    outputs = [np.zeros((1, 30, 3), np.float32), np.zeros((1, 30, 4), np.float32)]
    monkeypatch.setattr(opening, "open_session", lambda asked: Session(lambda images: outputs, "PyTorch"))
    with pytest.raises(UserError, match=r"needs its record, m\.param\.json"):
        open_classifier(path)
