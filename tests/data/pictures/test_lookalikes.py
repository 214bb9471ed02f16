"""Pictures that are in two splits, saved anew."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.label_folders import save_map, squares, write_labels
from data.picture_files import noise
from phonecv.data.audit import audit
from phonecv.data.pictures.lookalikes import Lookalikes

SIZE = (160, 120)


def scene(seed: int) -> Image.Image:
    """Smooth areas and fine structure, as a photograph has them."""
    random = np.random.default_rng(seed)
    fine = random.integers(-40, 40, (60, 80, 1)).repeat(2, 0).repeat(2, 1)
    return Image.fromarray((np.asarray(noise(SIZE, seed), dtype=np.int16) + fine).clip(0, 255).astype(np.uint8))


def copy(way: str, path: Path, seed: int = 0) -> Path:
    """The scene once more, in some way that people copy pictures."""
    image = scene(seed)
    if way == "half":
        image = image.resize((80, 60), Image.Resampling.LANCZOS)
    elif way == "larger":
        image = image.resize((224, 224), Image.Resampling.BICUBIC)
    target = path.with_suffix(".webp" if way == "webp" else ".jpg")
    image.save(target, quality={"poor": 40, "webp": 60}.get(way, 80))
    return target


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Class folders with six different scenes."""
    for split, first in (("train", 0), ("val", 10)):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(3):
                scene(first + index + 3 * (name == "b")).save(tmp_path / split / name / f"{index}.png")
    return tmp_path


@pytest.mark.parametrize("way", ["good", "poor", "webp", "half", "larger"])
def test_a_picture_saved_anew_is_found(folders: Path, way: str) -> None:
    assert audit(folders).findings == ()
    path = copy(way, folders / "val/b/copy")
    (finding,) = audit(folders).findings
    assert (finding.kind, finding.severity) == ("near-duplicate", "warning")
    assert finding.path == str(path.relative_to(folders))
    assert finding.message == "seems to be a picture of train, saved or taken once more: train/a/0.png"
    if way == "half":
        assert audit(folders, workers=2).findings == (finding,)
    assert audit(folders, quick=True).findings == ()


def test_exact_copies_are_not_told_twice(folders: Path) -> None:
    scene(0).save(folders / "val/a/copy.png")
    assert [finding.kind for finding in audit(folders).findings] == ["split-leak"]


def test_uniform_pictures_are_no_copies(folders: Path) -> None:
    for split, value in (("train", 255), ("val", 254)):
        for index in range(3):
            Image.new("RGB", SIZE, (value, value, 250 + index)).save(folders / split / "a" / f"white{index}.png")
    assert audit(folders).findings == ()


def test_one_place_with_another_thing_is_no_copy(folders: Path) -> None:
    """Coarsely alike, finely not: what a fixed camera takes."""
    random = np.random.default_rng(5)
    coarse = np.asarray(noise(SIZE, 0), dtype=np.int16)
    for split in ("train", "val"):
        fine = random.integers(-40, 40, (60, 80, 1)).repeat(2, 0).repeat(2, 1)
        Image.fromarray((coarse + fine).clip(0, 255).astype(np.uint8)).save(folders / split / "a" / "camera.png")
    assert audit(folders).findings == ()


def test_coco_and_label_maps(tmp_path: Path) -> None:
    root = write_labels(tmp_path)
    for split, first in (("train", 0), ("val", 50)):
        images = []
        for path in sorted((root / "images" / split).iterdir()):
            scene(first + int(path.stem)).save(path, quality=95)
            save_map(squares(size=SIZE[::-1]), root / f"annotations/{split}/{path.stem}.png")
            images.append({"id": int(path.stem), "file_name": path.name, "width": SIZE[0], "height": SIZE[1]})
        coco = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "box"}]}
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(coco))
    for task in ("detect", "segment"):
        assert "near-duplicate" not in audit(root, task=task).counts
    copy("poor", root / "images/val/1", seed=2)
    for task in ("detect", "segment"):
        found = [finding for finding in audit(root, task=task).findings if finding.kind == "near-duplicate"]
        assert [finding.path for finding in found] == ["images/val/1.jpg"]
        assert found[0].message.endswith("images/train/2.jpg")


def test_ten_thousand_pictures_take_seconds() -> None:
    pictures, random = Lookalikes(), np.random.default_rng(0)
    for index in range(10_000):
        look = random.integers(0, 256, 768, dtype=np.uint8).tobytes()
        pictures.add("train" if index < 7000 else "val", Path(str(index)), look, str(index).encode())
    started = time.process_time()
    assert pictures.find() == []
    assert time.process_time() - started < 20
