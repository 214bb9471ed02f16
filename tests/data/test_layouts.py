"""What a folder is: every layout named, one of several chosen, equal findings together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.label_folders import save_map, squares, write_labels
from data.picture_files import noise
from phonecv.data.audit import audit
from phonecv.data.findings import AuditReport, Finding, group_findings


def write_coco(root: Path) -> None:
    for split, count in (("train", 4), ("val", 3)):
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for index in range(count):
            path = root / "images" / split / f"{index}.jpg"
            if not path.exists():
                noise((32, 24), index + 100 * (split == "val")).save(path)
            images.append({"id": index, "file_name": path.name, "width": 32, "height": 24})
            box = {"id": index + 1, "image_id": index, "category_id": 1, "bbox": [2, 2, 9, 9], "area": 81, "iscrowd": 0}
            annotations.append(box)
        coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(coco))


def write_lists(root: Path) -> None:
    for split, count in (("train", 4), ("val", 3)):
        lines = [f"images/{split}/{index}.jpg {index % 2}" for index in range(count)]
        (root / f"{split}.txt").write_text("\n".join(lines))


def write_folders(root: Path, *splits: str) -> None:
    for number, split in enumerate(splits):
        for label, name in enumerate(("cat", "dog")):
            for index in range(3):
                folder = root / split / name
                folder.mkdir(parents=True, exist_ok=True)
                noise(seed=index + 10 * label + 100 * number).save(folder / f"{index}.png")


def test_each_layout_is_named(tmp_path: Path) -> None:
    write_labels(tmp_path / "maps")
    write_coco(tmp_path / "coco")
    write_folders(tmp_path / "folders", "train", "val")
    write_folders(tmp_path, "flat")
    names = {name: audit(tmp_path / name).layouts for name in ("maps", "coco", "folders", "flat")}
    assert names == {
        "maps": ("label maps (segment)",),
        "coco": ("COCO boxes and masks (detect)",),
        "folders": ("class folders (classify)",),
        "flat": ("class folders (classify)",),
    }
    assert "read as label maps (segment)\n" in audit(tmp_path / "maps").table()


@pytest.mark.parametrize("classes", [None, "0 floor\n1 box\n2 ball\n"])
def test_masks_beside_coco_raise_no_alarm(tmp_path: Path, classes: str | None) -> None:
    """Instance masks, or maps without a class file, are no fault of a detector's data."""
    write_labels(tmp_path, labels="masks/{split}", classes=classes)
    write_coco(tmp_path)
    report = audit(tmp_path)
    assert report.layouts == ("COCO boxes and masks (detect)", "label maps (segment)")
    assert {finding.severity for finding in report.findings} <= {"note"}
    assert "--task audits one of them alone" in report.table()
    assert set(audit(tmp_path, task="detect").splits) == {"train", "val"}
    assert set(audit(tmp_path, task="segment").splits) == {"train (label maps)", "val (label maps)"}
    severities = [finding.severity for finding in audit(tmp_path, task="segment").findings]
    assert severities == ([] if classes else ["warning", "note"])  # alone, maps need their classes


def test_lists_beside_label_maps(tmp_path: Path) -> None:
    """One folder for two tasks: both are looked at, and each alone on demand."""
    write_labels(tmp_path, classes=None)
    write_lists(tmp_path)
    report = audit(tmp_path)
    assert report.layouts == ("label maps (segment)", "list files (classify)")
    assert {"train", "val", "train (label maps)", "val (label maps)"} == set(report.splits)
    (tmp_path / "train.txt").write_text("images/train/absent.jpg 0\nimages/train/1.jpg 1\n")
    assert audit(tmp_path, task="segment").errors == ()
    assert [finding.kind for finding in audit(tmp_path, task="classify").errors] == ["list"]


def test_a_task_without_data(tmp_path: Path) -> None:
    write_folders(tmp_path, "train", "val")
    (finding,) = audit(tmp_path, task="segment").findings
    assert finding.severity == "error"
    assert finding.message == "no label maps or outlines of objects here, but class folders"


def test_a_data_set_one_folder_deeper(tmp_path: Path) -> None:
    """A folder of data sets is not taken for classes."""
    write_labels(tmp_path / "seg")
    write_coco(tmp_path / "boxes")
    (finding,) = audit(tmp_path).findings
    assert finding.severity == "error"
    assert "in boxes/ (COCO boxes and masks), seg/ (label maps)" in finding.message
    assert audit(tmp_path / "seg").findings == ()


@pytest.mark.parametrize(
    ("images", "masks", "ending"), [("PNGImages", "PedMasks", "_mask"), ("photos", "photo_masks", "")]
)
def test_pictures_and_masks_under_other_names_are_no_classes(
    tmp_path: Path, images: str, masks: str, ending: str
) -> None:
    for index in range(4):
        for folder in (images, masks):
            (tmp_path / folder).mkdir(exist_ok=True)
        noise((32, 24), index).save(tmp_path / images / f"{index}.jpg")
        save_map(squares(index), tmp_path / masks / f"{index}{ending}.png")
    (finding,) = audit(tmp_path).findings
    assert (finding.severity, finding.message.startswith(f"{images}/ and {masks}/ seem to be pictures")) == (
        "error",
        True,
    )
    assert f"segment.train_labels={masks}" in finding.message


def test_classes_called_mask_stay_classes(tmp_path: Path) -> None:
    """Photographs with equal names, of people with and without."""
    for label, name in enumerate(("plain", "with_mask")):
        (tmp_path / name).mkdir()
        for index in range(4):
            noise(seed=index + 10 * label).save(tmp_path / name / f"{index}.png")
    assert audit(tmp_path).layouts == ("class folders (classify)",)


def test_splits_of_label_maps_that_training_would_miss(tmp_path: Path) -> None:
    write_labels(tmp_path / "flat", images="images", labels="masks", counts={"all": 4})
    write_labels(tmp_path / "train", counts={"train": 4})
    found = {name: audit(tmp_path / name).findings for name in ("flat", "train")}
    for findings in found.values():
        assert [(finding.kind, finding.severity) for finding in findings] == [("unsplit", "note")]
        assert "a training holds 1 of the 4 pictures out" in findings[0].message


def test_layouts_of_other_tools(tmp_path: Path) -> None:
    """YOLO: pictures beside text files, lists of paths alone; nothing of it is taken for classes."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / split / kind).mkdir(parents=True)
        noise().save(tmp_path / split / "images/0.jpg")
        (tmp_path / split / "labels/0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
        (tmp_path / f"{split}.txt").write_text(f"./{split}/images/0.jpg\n")
    (finding,) = audit(tmp_path, task="classify").findings
    assert (finding.kind, finding.severity) == ("foreign", "error")
    for task in (None, "detect"):
        report = audit(tmp_path, task=task)
        assert report.layouts == ("YOLO's label files (detect)",)
        assert [finding.kind for finding in report.findings] == ["split-leak", "reading"]
    (tmp_path / "mixed").mkdir()
    write_labels(tmp_path / "mixed", labels="masks/{split}")
    (tmp_path / "mixed/labels").mkdir()
    (tmp_path / "mixed/labels/0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    report = audit(tmp_path / "mixed")
    assert report.layouts == ("label maps (segment)",)
    assert [(finding.kind, finding.severity) for finding in report.findings] == [("foreign", "note")]


def test_equal_findings_are_one_line(tmp_path: Path) -> None:
    write_folders(tmp_path, "train", "val")
    for index in range(120):
        (tmp_path / f"train/cat/bad{index:03d}.png").write_bytes(b"")
    (tmp_path / "train/dog/page.png").write_text("<!doctype html><html>")
    report = audit(tmp_path)
    assert len(report.errors) == 121
    lines = [line for line in report.table().splitlines() if line.startswith("  error")]
    assert lines == [
        "  error   unreadable     train/cat/bad000.png: empty file; and 119 more of this (train/cat/bad001.png,"
        " train/cat/bad002.png, train/cat/bad003.png, ...)",
        "  error   unreadable     train/dog/page.png: a web page, not a picture; download the file again",
    ]
    found = [entry for entry in report.to_json()["findings"] if entry["kind"] == "unreadable"]
    assert [entry["count"] for entry in found] == [120, 1]
    assert found[0]["places"][119] == "train/cat/bad119.png"
    assert report.to_json()["counts"]["unreadable"] == 121


def test_findings_that_differ_stay_apart() -> None:
    def finding(message: str, path: str = "a.json", line: int = 0, severity: str = "error") -> Finding:
        return Finding("record", severity, path, line, message, "")

    groups = group_findings(
        [
            finding("annotations[3] (id 7, picture a.jpg): bbox is None"),
            finding("annotations[4] (id 8, picture b.jpg): bbox is None"),
            finding("annotations[5] (id 9, picture c.jpg): area is -3"),
            finding("annotations[5] (id 9, picture c.jpg): area is -4", severity="warning"),
            finding("no such file", "train.txt", 3),
            finding("no such file", "train.txt", 9),
        ]
    )
    assert [group.places for group in groups] == [
        ("a.json annotations[3]", "a.json annotations[4]"),
        ("a.json annotations[5]",),
        ("a.json annotations[5]",),
        ("train.txt:3", "train.txt:9"),
    ]
    assert str(groups[3]) == "train.txt:3: no such file; and 1 more of this (train.txt:9)"


def test_findings_of_several_places_are_counted_once() -> None:
    def finding(record: int, count: int) -> Finding:
        return Finding("area", "warning", "a.json", 0, f"annotations[{record}]: no area", "", count)

    one, both = group_findings([finding(1, 71)]), group_findings([finding(1, 71), finding(80, 2)])
    assert str(one[0]) == "a.json: annotations[1]: no area; and 70 more of this"
    assert str(both[0]) == "a.json: annotations[1]: no area; and 72 more of this (a.json annotations[80], ...)"
    assert both[0].to_json()["count"] == 73
    report = AuditReport("data", quick=True, findings=(finding(1, 71), finding(80, 2)))
    assert report.counts == {"area": 73}


@pytest.mark.parametrize("largest", [2, 400])
def test_a_table_shows_six_findings_of_a_kind_whatever_the_classes_hold(largest: int) -> None:
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight")
    findings = tuple(Finding("list", "error", "train.txt", 0, f"{word} things", "mend it") for word in words)
    splits = {"train": {"images": 400, "classes": 2, "smallest": 1, "largest": largest}}
    lines = AuditReport("data", quick=True, findings=findings, splits=splits).table().splitlines()
    assert sum("things" in line for line in lines) == 6
    assert "  ... and 2 more of kind list" in lines
