"""What the audit finds in label maps, and what it suspects behind it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.label_folders import save_map, squares, write_labels
from data.picture_files import noise
from phonecv.data.audit import Finding, audit
from phonecv.data.labelmaps.audit import MAP_FIXES
from phonecv.data.labelmaps.suspicions import smoothed

TRAIN, VAL = "annotations/train", "annotations/val"


def edit(change: Callable[[np.ndarray], np.ndarray], *files: str) -> Callable[[Path], object]:
    """Change label maps; all of them if none is named."""

    def run(root: Path) -> None:
        for path in [root / name for name in files] or sorted((root / "annotations").rglob("*.png")):
            with Image.open(path) as image:
                labels = np.asarray(image)
            save_map(change(labels), path)

    return run


def set_corner(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(labels: np.ndarray) -> np.ndarray:
        changed = labels.copy()
        changed[:2, :2] = value
        return changed

    return change


def smooth(labels: np.ndarray) -> np.ndarray:
    """Enlarged and shrunk again, as an editor does it."""
    image = Image.fromarray(labels).resize((120, 90), Image.Resampling.BILINEAR)
    return np.asarray(image.resize(labels.shape[::-1], Image.Resampling.BILINEAR))


def drop(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).unlink()


#: What is done to a good data set -> kind and severity of the finding, its path, and words of its message.
CASES: dict[str, tuple[Callable[[Path], object], str, str, str, str]] = {
    "value": (edit(set_corner(200), f"{VAL}/1.png"), "label-value", "error", f"{VAL}/1.png",
              "200 (4 px) with 3 classes"),
    "size": (lambda r: save_map(squares(size=(9, 9)), r / f"{TRAIN}/0.png"), "label-size", "error", f"{TRAIN}/0.png",
             "9 x 9 pixels for a picture of 32 x 24"),
    "colours": (lambda r: noise((32, 24)).save(r / f"{TRAIN}/0.png"), "label-format", "error", f"{TRAIN}/0.png",
                "a colour picture"),
    "broken": (lambda r: (r / f"{TRAIN}/0.png").write_bytes(b""), "unreadable", "error", f"{TRAIN}/0.png", "empty"),
    "broken picture": (lambda r: (r / "images/train/0.jpg").write_bytes(b""), "unreadable", "error",
                       "images/train/0.jpg", "empty"),
    "no label map": (drop(f"{TRAIN}/0.png"), "partner", "error", "images/train/0.jpg", "without a label map"),
    "no picture": (drop("images/val/0.jpg"), "partner", "warning", f"{VAL}/0.png", "without a picture"),
    "smoothed": (edit(lambda labels: smooth(100 * labels), f"{TRAIN}/0.png"), "anti-aliased", "error", f"{TRAIN}/0.png",
                 "resized with smoothing"),
    "from one": (edit(lambda labels: labels + 1), "off-by-one", "error", "classes.txt", "seem to be counted from 1"),
    "one more": (edit(set_corner(3)), "off-by-one", "error", "classes.txt", "0 seems to mean nothing"),
    "no zero": (edit(lambda labels: np.maximum(labels, 1)), "off-by-one", "warning", "classes.txt",
                "'floor' has no pixel"),
    "subtracted": (edit(set_corner(254)), "off-by-one", "error", "classes.txt", "254 occurs"),
    "black and white": (lambda r: (edit(lambda labels: np.where(labels > 0, 255, 0).astype(np.uint8))(r),
                                   (r / "classes.txt").write_text("no\nyes\n")),
                        "reading", "note", "classes.txt", "0 is class 0 and 255 class 1"),
    "for viewing": (edit(lambda labels: labels * 100), "label-value", "error", "classes.txt", "multiples of 100"),
    "unlabelled": (edit(lambda labels: np.full_like(labels, 255), f"{TRAIN}/0.png"), "unlabelled", "warning",
                   f"{TRAIN}/0.png", "no pixel"),
    "unseen": (lambda r: (r / "classes.txt").write_text("floor\nbox\nball\nbird\n"), "unseen-class", "warning",
               "classes.txt", "1 of 4 classes without a pixel: bird"),
    "not in train": (edit(lambda labels: labels % 2, *(f"{TRAIN}/{index}.png" for index in range(4))), "unseen-class",
                     "warning", "classes.txt", "1 class occurs in val but never in train: ball"),
    "no class file": (drop("classes.txt"), "structure", "warning", ".", "no classes.txt"),
    "bad class file": (lambda r: (r / "classes.txt").write_text("0 a\n0 b\n"), "structure", "error", "classes.txt",
                       "twice"),
    "leak": (lambda r: shutil.copy(r / "images/train/0.jpg", r / "images/val/0.jpg"), "split-leak", "error",
             "images/train/0.jpg", "in train and val"),
    "twice": (lambda r: shutil.copy(r / "images/train/0.jpg", r / "images/train/1.jpg"), "duplicate", "warning",
              "images/train/0.jpg", "again"),
    "extension": (lambda r: noise((32, 24)).save(r / "images/train/0.jpg", "PNG"), "extension", "warning",
                  "images/train/0.jpg", "PNG data"),
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "data")


def named(root: Path, kind: str, **options: object) -> list[Finding]:
    return [finding for finding in audit(root, **options).findings if finding.kind == kind]  # type: ignore


def test_a_good_data_set(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    for quick in (False, True):
        report = audit(root, quick=quick, progress=lambda done, total: seen.append((done, total)))
        assert report.findings == ()
        assert report.checked == 14
        assert report.splits["train (label maps)"] == {"images": 4, "classes": 3, "smallest": 4, "largest": 4}
        assert "nothing to complain about" in report.table()
    assert seen == 2 * [(index, 7) for index in range(1, 8)]


@pytest.mark.parametrize("case", CASES)
def test_findings(root: Path, case: str) -> None:
    change, kind, severity, path, words = CASES[case]
    change(root)
    report = audit(root)
    found = [finding for finding in report.findings if finding.kind == kind and words in finding.message]
    assert len(found) == 1, report.table()
    assert (found[0].severity, found[0].path, found[0].fix) == (severity, path, MAP_FIXES[kind])
    assert json.loads(json.dumps(report.to_json()))["counts"] == report.counts
    assert named(root, kind, quick=True)


@pytest.mark.parametrize("case", ["from one", "one more", "for viewing", "smoothed"])
def test_an_explained_value_is_not_reported_again(root: Path, case: str) -> None:
    CASES[case][0](root)
    report = audit(root)
    assert len(report.errors) == 1, report.table()


def test_classes_counted_from_one(root: Path) -> None:
    (root / "classes.txt").write_text("1 box\n2 ball\n")
    report = audit(root)
    assert report.counts == {"zero-label": 1}
    assert "0 has no name in the class file and is on" in report.findings[0].message
    (root / "classes.txt").write_text("1 floor\n2 box\n3 ball\n")
    assert [finding.kind for finding in audit(root).findings] == ["off-by-one", "unseen-class", "zero-label"]


def test_without_classes_values_are_told(root: Path) -> None:
    (root / "classes.txt").unlink()
    assert "the values are 0 to 2, 3 different ones" in audit(root).table()
    edit(lambda labels: 100 * labels)(root)
    assert "multiples of 100" in audit(root).table()


def test_both_kinds_of_annotations(root: Path) -> None:
    """A folder that holds COCO annotations beside the label maps is looked at for both."""
    coco = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "box"}]}
    for index in range(4):
        coco["images"].append({"id": index, "file_name": f"{index}.jpg", "width": 32, "height": 24})
    (root / "annotations/instances_train.json").write_text(json.dumps(coco))
    save_map(squares(size=(9, 9)), root / f"{TRAIN}/0.png")
    shutil.copy(root / "images/train/1.jpg", root / "images/train/2.jpg")
    report = audit(root)
    assert {"train", "train (label maps)"} <= set(report.splits)
    assert "label-size" in report.counts
    assert report.counts["duplicate"] == 1


def test_workers_change_nothing(root: Path) -> None:
    CASES["value"][0](root)
    CASES["size"][0](root)
    assert audit(root, workers=2).findings == audit(root).findings


def honest(seed: int) -> np.ndarray:
    """Areas, small things and thin ones."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.repeat(random.integers(1, 6, (3, 4)), 40, 0), 40, 1).astype(np.uint8)
    for _ in range(30):
        top, left, tall, wide = (int(random.integers(1, limit)) for limit in (110, 150, 9, 9))
        labels[top : top + tall, left : left + wide] = random.integers(10, 150)
    labels[60:62, :] = 77
    return labels


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("way", ["larger", "smaller", "blurred", "jpeg"])
def test_smoothing_is_told_from_small_things(tmp_path: Path, seed: int, way: str) -> None:
    def judge(labels: np.ndarray) -> str:
        return smoothed(labels, *np.unique(labels, return_counts=True))

    labels = honest(seed)
    assert judge(labels) == ""
    image = Image.fromarray(labels)
    if way == "jpeg":
        image.save(tmp_path / "x.jpg", quality=85)
        image = Image.open(tmp_path / "x.jpg")
    elif way == "blurred":
        image = image.resize((320, 240), Image.Resampling.BICUBIC).resize((160, 120), Image.Resampling.BILINEAR)
    else:
        image = image.resize((240, 180) if way == "larger" else (107, 80), Image.Resampling.BILINEAR)
    assert judge(np.asarray(image))


def test_honest_reference_maps_are_not_suspected(shared_dir: Path) -> None:
    for name in ("ade20k-sample", "coco-semantic", "nuclei"):
        assert audit(shared_dir / "data" / name).errors == ()
