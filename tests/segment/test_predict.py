"""Label maps for pictures, and the files that are written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phonecv.api import predict
from phonecv.data.labelmaps.listing import read_label_split
from phonecv.data.pictures.opening import file_names
from phonecv.errors import UserError
from segment.scenes import ByColour, write_scenes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "data", counts={"val": 6})


def test_pictures_are_labelled_and_saved(root: Path, tmp_path: Path) -> None:
    pictures, out = root / "images/val", tmp_path / "out"
    (pictures / "0.jpg").write_bytes(b"")
    seen: list[tuple[int, int]] = []
    found = predict(ByColour(), pictures, out=out, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 6), (6, 6)]
    split = read_label_split(root, "val")
    assert [entry.path for entry in found] == list(split.images)
    assert found[0].error == "empty file"
    assert "0.jpg: empty file" in str(found[0])
    for index, entry in list(enumerate(found))[1:]:
        truth = split.read_label(index)
        assert entry.labels == out / f"labels/{index}.png"
        with Image.open(out / f"labels/{index}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), truth)
        with Image.open(out / f"overlays/{index}.jpg") as image:
            assert image.size == entry.size == (32, 24)
        shares = dict(entry.shares)
        assert shares["box"] == pytest.approx((truth == 1).mean())
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
    legend = json.loads((out / "legend.json").read_text())["classes"]
    assert [(row["value"], row["name"]) for row in legend] == [(0, "floor"), (1, "box"), (2, "ball")]
    with Image.open(out / "labels/1.png") as image:
        assert "#{:02x}{:02x}{:02x}".format(*(image.getpalette() or [])[3:6]) == legend[1]["color"]
    entries = json.loads((out / "predictions.json").read_text())
    assert [entry["labels"] for entry in entries] == [None, *[f"labels/{index}.png" for index in range(1, 6)]]
    with Image.open(out / "predictions.png") as image:
        assert min(image.size) > 200


def test_nothing_is_written_without_a_folder(root: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    (found,) = predict(ByColour(), root / "images/val/1.jpg")
    assert found.labels is found.overlay is None
    assert "floor" in str(found)
    assert sorted(tmp_path.rglob("*")) == before


def test_pictures_called_alike_do_not_meet(root: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(root / "images/val/1.jpg", tmp_path / folder / "x.jpg")
    found = predict(ByColour(), [tmp_path / "a", tmp_path / "b"], out=tmp_path / "out")
    assert [entry.labels and entry.labels.name for entry in found] == ["x.png", "x-2.png"]
    assert file_names([Path("a/X.jpg"), Path("b/x.png"), Path("x-2.gif")]) == ["X", "x-2", "x-2-2"]


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pictures were named"):
        predict(ByColour(), [])
    with pytest.raises(UserError, match="no such file"):
        predict(ByColour(), tmp_path / "absent.jpg")
