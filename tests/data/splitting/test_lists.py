"""The lists of a division: read back as they were written, whatever the names, and as any list file."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.picture_files import noise
from phonecv.data.folders.list_file import read_list
from phonecv.data.splitting.lists import Division, list_of, own_list, read_division, write_division
from phonecv.errors import UserError

ODD = ("cat/a b.png", "#1/c.png", "dög/x,y.png")


def test_lists_come_back(tmp_path: Path) -> None:
    division = Division(ODD, ("cat/2.png",), "3 of 4\nand more")
    words = {name: name.partition("/")[0] for name in (*ODD, "cat/2.png")}
    write_division(tmp_path / "run", division, words)
    assert read_division(tmp_path / "run") == Division(ODD, ("cat/2.png",))
    assert list_of(tmp_path / "run", "val").read_text().splitlines() == ["# 3 of 4", "# and more", "cat/2.png\tcat"]
    for name in (*ODD, "cat/2.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        noise().save(tmp_path / "data" / name)
    entries = read_list(list_of(tmp_path / "run", "train"), tmp_path / "data", "train")
    assert entries.paths == ODD
    assert entries.class_names == ("cat", "#1", "dög")
    assert not entries.problems


def test_a_model_finds_the_lists_of_its_run(tmp_path: Path) -> None:
    write_division(tmp_path / "run", Division(("a/1.png",), ("a/2.png",)))
    model = tmp_path / "run" / "export" / "model.onnx"
    model.parent.mkdir()
    model.touch()
    (tmp_path / "data" / "a").mkdir(parents=True)
    assert own_list(model, tmp_path / "data", "val") is None, "other pictures"
    (tmp_path / "data" / "a" / "2.png").touch()
    assert own_list(model, tmp_path / "data", "val") == list_of(tmp_path / "run", "val").absolute()
    settings = tmp_path / "run" / "config.yaml"
    settings.write_text(f"data:\n  path: {tmp_path / 'moved'}\n")
    assert own_list(model, tmp_path / "data", "val") is not None
    (tmp_path / "moved").mkdir()
    assert own_list(model, tmp_path / "data", "val") is None, "other data, with samples of the same names"
    settings.write_text(f"data:\n  path: {tmp_path / 'data' / 'a' / '..' / 'boxes.json'}\n")
    (tmp_path / "data" / "boxes.json").touch()
    assert own_list(model, tmp_path / "data", "val") is not None
    assert own_list(model, tmp_path / "data", "test") is None
    assert own_list("mobileone_s0", tmp_path / "data", "val") is None
    (tmp_path / "data" / "val" / "a").mkdir(parents=True)
    assert own_list(model, tmp_path / "data", "val") is None, "a split of its own"


def test_a_name_that_no_list_can_hold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rename the file"):
        write_division(tmp_path, Division(("a\nb.png",), ("c.png",)))
    assert read_division(tmp_path) is None
