"""Splits with nothing to learn or to score by, and how turned pictures and their label maps lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.label_folders import SIZE, save_map, squares, write_labels
from data.picture_files import noise
from phonecv.data.audit import audit
from phonecv.data.labelmaps.listing import read_label_split
from phonecv.data.labelmaps.suspicions import check_content
from phonecv.data.pictures.opening import TURNS
from phonecv.errors import UserError

#: What is in every label map, and what is said of it.
NOTHING = {
    "ignored": (255, "no pixel belongs to a class"),
    "background": (0, "every labelled pixel is 'floor'"),
    "one class": (2, "every labelled pixel is 'ball'"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_nothing_to_learn(tmp_path: Path, case: str) -> None:
    value, words = NOTHING[case]
    root = write_labels(tmp_path)
    assert check_content(read_label_split(root)) == ""
    for index in range(3):
        save_map(np.full(SIZE, value, np.uint8), root / f"annotations/val/{index}.png")
    assert check_content(read_label_split(root, "val")) == f"{root}/annotations/val: {words}: its scores say nothing"
    for index in range(4):
        save_map(np.full(SIZE, value, np.uint8), root / f"annotations/train/{index}.png")
    with pytest.raises(UserError, match=f"annotations/train: {words}: there is nothing to learn"):
        check_content(read_label_split(root))
    found = {finding.path: finding.severity for finding in audit(root).findings if finding.kind == "nothing"}
    assert found == {"annotations/train": "error", "annotations/val": "warning"}


def test_one_map_of_many_is_enough(tmp_path: Path) -> None:
    root = write_labels(tmp_path, counts={"train": 40})
    for index in range(39):
        save_map(np.full(SIZE, 1, np.uint8), root / f"annotations/train/{index}.png")
    assert check_content(read_label_split(root)) == ""


def test_nothing_that_can_be_used(tmp_path: Path) -> None:
    root = write_labels(tmp_path)
    for path in (root / "annotations/train").iterdir():
        save_map(squares(size=(12, 16)), path)
    with pytest.raises(
        UserError, match=r"none of the 4 label maps of 'train' looked into can be used; .* 16 x 12 pixels for"
    ):
        check_content(read_label_split(root))


def turned(root: Path, orientation: int, size: tuple[int, int], *, upright: bool) -> None:
    """Pictures stored lying with an EXIF note, and label maps drawn on what is shown or on what is stored."""
    undo = {
        Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
        Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
    }
    turn = TURNS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in (root / "images").rglob("*.jpg"):
        noise(size[::-1], int(path.stem)).transpose(undo.get(turn, turn)).save(path, exif=exif)
    for path in (root / "annotations").rglob("*.png"):
        labels = Image.fromarray(squares(int(path.stem), size=size))
        (labels if upright else labels.transpose(undo.get(turn, turn))).save(path)


@pytest.mark.parametrize(("orientation", "size"), [(3, (24, 32)), (2, (24, 32)), (6, (32, 32)), (8, (32, 32))])
@pytest.mark.parametrize("upright", [True, False])
def test_turns_that_keep_the_size(tmp_path: Path, orientation: int, size: tuple[int, int], upright: bool) -> None:
    root = write_labels(tmp_path)
    turned(root, orientation, size, upright=upright)
    read = read_label_split(root, stored=not upright)
    np.testing.assert_array_equal(read.read(2)[1], squares(2, size=size))
    notes = [finding for finding in audit(root).findings if finding.kind == "turned"]
    assert [finding.severity for finding in notes] == ["note"]
    assert notes[0].message.startswith("7 of 7 pictures looked at are turned by their EXIF note and keep their size")
    assert "taken as drawn on the upright picture" in notes[0].message
    assert "segment.stored=true says otherwise" in notes[0].message


@pytest.mark.parametrize("stored", [True, False])
def test_turns_that_change_the_size_decide_by_it(tmp_path: Path, stored: bool) -> None:
    root = write_labels(tmp_path)
    for upright in (True, False):
        turned(root, 6, (24, 32), upright=upright)
        read = read_label_split(root, stored=stored)
        np.testing.assert_array_equal(read.read(2)[1], squares(2))
        (note,) = [finding for finding in audit(root).findings if finding.kind == "turned"]
        assert (note.severity, f"{0 if upright else 7} maps lie as stored" in note.message) == ("note", True)


def test_what_other_pictures_tell_of_the_convention(tmp_path: Path) -> None:
    """Six pictures on their side with maps as stored: then the one that is square has its map as stored, too."""
    root = write_labels(tmp_path)
    turned(root, 6, (24, 32), upright=False)
    exif = Image.Exif()
    exif[0x0112] = 3
    noise((32, 24), 3).save(root / "images/train/3.jpg", exif=exif)
    save_map(squares(3), root / "annotations/train/3.png")
    (note,) = [finding for finding in audit(root).findings if finding.kind == "turned"]
    assert note.severity == "warning"
    assert note.message.startswith("1 of 7 pictures")
    assert "6 maps lie as stored and 0 upright" in note.message


@pytest.mark.parametrize(("factor", "words"), [(2, "2 times smaller"), (4, "4 times smaller"), (0.5, "2 times larger")])
def test_maps_of_another_size_are_one_finding(tmp_path: Path, factor: float, words: str) -> None:
    root = write_labels(tmp_path)
    for path in (root / "annotations").rglob("*.png"):
        save_map(squares(size=(round(24 / factor), round(32 / factor))), path)
    (finding,) = audit(root).findings
    assert (finding.kind, finding.severity) == ("label-size", "error")
    assert finding.message.startswith(f"all 7 label maps of another size are {words} than their pictures")


@pytest.mark.parametrize(
    ("values", "classes", "kind"),
    [
        # One was subtracted already: 0 became 255, the last class is never reached, the first is called background.
        ((0, 1, 255), "background\nbox\nball\n", "off-by-one"),
        # A border around the objects is usual where all classes occur.
        ((0, 1, 2, 255), "background\nbox\nball\n", ""),
        ((1, 2, 3), "box\nball\ntree\n", "off-by-one"),
        ((0, 1, 2, 3), "box\nball\ntree\n", "off-by-one"),
        ((0, 1, 2), "1 box\n2 ball\n3 tree\n", "off-by-one"),
        ((0, 1, 2, 3), "1 box\n2 ball\n3 tree\n", ""),
    ],
)
def test_off_by_one_in_either_direction(tmp_path: Path, values: tuple[int, ...], classes: str, kind: str) -> None:
    root = write_labels(tmp_path, values=values, classes=classes)
    assert {finding.kind for finding in audit(root).findings if finding.kind == "off-by-one"} == ({kind} - {""})


def test_names_of_other_people_stay_on_their_line(tmp_path: Path) -> None:
    """A class called by an escape sequence, a line break and five thousand letters."""
    name = "\x1b[31m" + "x" * 5000 + "\u2028y"
    root = write_labels(tmp_path, classes=f"0 {name}\n1 box\n2 ball\n")
    for index in range(3):
        save_map(np.full(SIZE, 0, np.uint8), root / f"annotations/val/{index}.png")
    text = check_content(read_label_split(root, "val")).removeprefix(str(root))
    assert text.isprintable()
    assert len(text) < 300
    table = audit(root).table()
    assert "\x1b" not in table
    assert max(map(len, table.splitlines())) < 500
