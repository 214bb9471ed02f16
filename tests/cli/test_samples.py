"""`phonecv samples`: what it writes is what the other verbs read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phonecv.cli import main


def test_scenes_are_coco_and_label_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples", "scenes", str(tmp_path / "scenes"), "--train", "2", "--val", "1"]) == 0
    assert str(tmp_path / "scenes") in capsys.readouterr().out
    content = json.loads((tmp_path / "scenes" / "annotations" / "instances_train.json").read_text())
    assert len(content["images"]) == 2
    assert len(list((tmp_path / "scenes" / "annotations" / "validation").glob("*.png"))) == 1


def test_digits_are_class_folders(tmp_path: Path) -> None:
    assert main(["samples", "digits", str(tmp_path / "digits"), "--train", "10", "--val", "10"]) == 0
    assert len(list((tmp_path / "digits" / "train").glob("*/*.jpg"))) == 10


def test_a_mistake_names_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples", "scenery", str(tmp_path / "x")]) == 2
    assert "scenes" in capsys.readouterr().err


def test_only_scenes_have_crowds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples", "digits", str(tmp_path / "x"), "--crowd", "9"]) == 2
    assert "--crowd 9" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
