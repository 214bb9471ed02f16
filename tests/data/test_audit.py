from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from data.picture_files import noise
from phonecv.data.audit import FIXES, audit
from phonecv.errors import UserError


def kinds(root: Path, **options: object) -> set[tuple[str, str]]:
    return {(finding.kind, finding.severity) for finding in audit(root, **options).findings}  # type: ignore


def same_pixels_as_bmp(root: Path) -> None:
    with Image.open(root / "train/cat/0.png") as image:
        image.save(root / "train/cat/x.bmp")


def damage_pixels(root: Path) -> None:
    path = root / "train/cat/0.png"
    path.write_bytes(path.read_bytes()[:-300])


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


def copy(target: str) -> Callable[[Path], object]:
    return lambda root: shutil.copy(root / "train/cat/0.png", root / target)


#: What is done to a good data set -> kind, severity and path of the finding, and whether the quick audit sees it.
CASES: dict[str, tuple[Callable[[Path], object], str, str, str, bool]] = {
    "unreadable": (write("train/cat/0.png", "x"), "unreadable", "error", "train/cat/0.png", True),
    "damaged pixels": (damage_pixels, "unreadable", "error", "train/cat/0.png", False),
    "extension": (copy("train/cat/x.jpg"), "extension", "warning", "train/cat/x.jpg", True),
    "duplicate": (copy("train/cat/x.png"), "duplicate", "warning", "train/cat/0.png", False),
    "duplicate in other format": (same_pixels_as_bmp, "duplicate", "warning", "train/cat/0.png", False),
    "label conflict": (copy("train/dog/x.png"), "label-conflict", "error", "train/cat/0.png", False),
    "leak": (copy("val/cat/x.png"), "split-leak", "error", "train/cat/0.png", False),
    "unknown class": (lambda r: (r / "val/cat").rename(r / "val/emu"), "class-drift", "error", "val", True),
    "no validation": (lambda r: shutil.rmtree(r / "val/dog"), "class-drift", "warning", "val", True),
    "no training": (lambda r: [p.unlink() for p in (r / "train/dog").iterdir()], "class-drift", "error", "val", True),
    "empty class": (lambda r: (r / "train/emu").mkdir(), "empty-class", "warning", "train", True),
    "link": (lambda r: (r / "train/cat/x.png").symlink_to("nowhere"), "link", "warning", "train/cat/x.png", False),
    "other files": (write("train/cat/Thumbs.db", ""), "ignored", "note", "train", False),
    "bad line": (write("val.txt", "val/cat/0.png 0\nval/cat/1.png x\n"), "list", "error", "val.txt", True),
    "missing file": (write("val.txt", "val/cat/0.png 0\nval/cat/9.png 0\n"), "list", "error", "val.txt", True),
    "repeated line": (write("val.txt", "val/cat/0.png 0\n" * 2), "repeated-line", "warning", "val.txt", True),
    "empty list": (write("val.txt", ""), "structure", "error", "val.txt", True),
    "unlisted": (write("val.txt", "val/cat/0.png 0\n"), "unlisted", "note", "val.txt", False),
    "bad class file": (write("classes.txt", "0 a\n0 b\n"), "class-drift", "error", "train", True),
}


def test_a_good_data_set(dataset_dir: Path) -> None:
    for quick in (False, True):
        report = audit(dataset_dir, quick=quick)
        assert report.findings == report.errors == ()
        assert report.checked == 14
        assert report.splits["train"] == {"images": 10, "classes": 2, "smallest": 4, "largest": 6}
        assert "nothing to complain about" in report.table()


@pytest.mark.parametrize("case", CASES)
def test_findings(dataset_dir: Path, case: str) -> None:
    change, kind, severity, path, quick = CASES[case]
    expected = (kind, severity)
    change(dataset_dir)
    report = audit(dataset_dir)
    found = [finding for finding in report.findings if (finding.kind, finding.severity) == expected]
    assert found, report.table()
    assert found[0].path == path
    assert found[0].fix == FIXES[found[0].kind]
    assert path in report.table()
    assert json.loads(json.dumps(report.to_json()))["counts"] == report.counts
    assert (expected in kinds(dataset_dir, quick=True)) == quick


def test_list_errors_have_line_numbers(dataset_dir: Path) -> None:
    (dataset_dir / "val_list.txt").write_text("val/cat/0.png 0\n\nval/cat/1.png -3\n../x 0\nval/q.png 1\n")
    assert [finding.line for finding in audit(dataset_dir).errors] == [3, 4, 5]


def test_imbalance(dataset_dir: Path) -> None:
    for index in range(40):
        noise(seed=500 + index).save(dataset_dir / f"train/cat/m{index}.png")
    finding = next(finding for finding in audit(dataset_dir, quick=True).findings if finding.kind == "imbalance")
    assert "dog has 4 pictures, cat has 46" in finding.message


def test_workers_and_progress(dataset_dir: Path) -> None:
    shutil.copy(dataset_dir / "train/cat/0.png", dataset_dir / "val/cat/x.png")
    seen: list[tuple[int, int]] = []
    alone = audit(dataset_dir, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(index, 15) for index in range(1, 16)]
    assert audit(dataset_dir, workers=2).findings == alone.findings


def test_long_lists_of_findings_are_cut(dataset_dir: Path) -> None:
    for index in range(30):
        (dataset_dir / f"train/cat/bad{index:02d}\n.png").write_bytes(b"")
    report = audit(dataset_dir)
    assert len(report.errors) == 30
    assert "; and 29 more of this (train/cat/bad01\\x0a.png, train/cat/bad02\\x0a.png, " in report.table()
    assert "bad00\\x0a.png: empty file" in report.table()


def test_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        audit(tmp_path / "absent")
    assert kinds(tmp_path) == {("structure", "error")}


def test_reference_sets(shared_dir: Path) -> None:
    for name in ("imagenet-samples", "sign-digits", "imagenette-mini"):
        assert audit(shared_dir / "data" / name, quick=True).findings == ()
