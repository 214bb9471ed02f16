"""Lists of pictures with several labels: every way to write them, what is told, and what is no such list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from phonecv.data.audit import audit
from phonecv.data.folders.listing import Listing, read_split
from phonecv.errors import UserError

#: Picture -> its labels, as all lists of several say.
WANTED = {"a": {"cat", "dog"}, "b": {"dog"}, "c": set[str](), "d": {"big bird"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train").mkdir()
    for number, name in enumerate("abcdefghijkl"):
        Image.new("RGB", (8, 8), (20 * number, 40, 60)).save(tmp_path / f"train/{name}.png")
    return tmp_path


def read(folder: Path, text: str, name: str = "train.csv", labels: str = "auto") -> Listing:
    (folder / name).write_text(text)
    return read_split(folder, "train", labels=labels)  # type: ignore[arg-type]


def sets(listing: Listing) -> dict[str, set[str]]:
    assert listing.sets is not None
    return {
        sample.path.stem: {name for name, there in zip(listing.classes, row, strict=True) if there}
        for sample, row in zip(listing.samples, listing.sets, strict=True)
    }


@pytest.mark.parametrize(
    ("name", "text"),
    {
        "roboflow": (
            "train/_classes.csv", "filename, big bird, cat, dog\na.png,0,1,1\nb.png,0,0,1\nc.png,0,0,0\nd.png,1,0,0"
        ),
        "columns with more": (
            "train.csv", "image_id,fold,cat,dog,big bird\na,x,1,1,0\nb,y,0,1,0\nc,y,0,-1,\nd,x,0.0,,1.0"
        ),
        "bars": ("train.csv", "Image Index,Finding Labels\na.png,cat|dog\nb.png,dog\nc.png,\nd.png,big bird"),
        "quoted commas": ("train.csv", 'file,labels\na.png,"cat, dog"\nb.png,dog\nc.png,\nd.png,big bird'),
        "line breaks": (
            "train.csv", 'file,note,labels\na.png,"one\nmore",cat|dog\nb.png,,"dog"\nc.png,,\nd.png,,big bird'
        ),
        "semicolons": ("train.csv", "file,labels\na.png,cat;dog\nb.png,dog\nc.png,\nd.png,big bird"),
        "tabs": ("train.txt", "file\tsize\tlabels\na.png\t3\tcat|dog\nb.png\t3\tdog\nc.png\t3\t\nd.png\t3\tbig bird"),
        "python": ("train.csv", "file,labels\na.png,\"['cat', 'dog']\"\nb.png,['dog']\nc.png,[]\nd.png,['big bird']"),
        "label studio": (
            "train.csv",
            'image,choice\na.png,"{""choices"": [""cat"", ""dog""]}"\nb.png,dog\nc.png,\nd.png,big bird',
        ),
    }.values(),
)  # fmt: skip
def test_every_way_to_write_several_labels(folder: Path, name: str, text: str) -> None:
    listing = read(folder, text + "\n", name)
    assert sets(listing) == WANTED
    assert set(listing.classes) == {"cat", "dog", "big bird"}
    assert listing.target(0) == [int(name in WANTED["a"]) for name in listing.classes]
    assert listing.counts.tolist() == [sum(name in each for each in WANTED.values()) for name in listing.classes]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.png 0 2\nb.png 1\nc.png\n", {"a": {"0", "2"}, "b": {"1"}, "c": set()}),
        ("a.png\t1,0,1\nb.png\t0,1,0\nc.png\t0,0,0\n", {"a": {"0", "2"}, "b": {"1"}, "c": set()}),
        ("Id,Target\na,16 0\nb,0\n", {"a": {"0", "16"}, "b": {"0"}}),
    ],
)
def test_numbers(folder: Path, text: str, wanted: Mapping[str, set[str]]) -> None:
    assert sets(read(folder, text, "train.txt")) == wanted


def test_blanks_part_labels_only_where_parts_recur(folder: Path) -> None:
    listing = read(
        folder, "image,tags\na.png,haze primary\nb.png,clear primary\nc.png,clear\nd.png,haze\ne.png,haze clear\n"
    )
    assert sets(listing)["a"] == {"haze", "primary"}
    assert any("separated by blanks" in problem for problem in listing.problems)
    breeds = read(folder, "image,breed\na.png,golden retriever\nb.png,labrador retriever\nc.png,poodle\n")
    assert breeds.sets is None
    assert breeds.classes == ("golden retriever", "labrador retriever", "poodle")


def test_commas_within_names_stay(folder: Path) -> None:
    names = read(folder, 'image,label\na.png,"tench, Tinca tinca"\nb.png,"goldfish, Carassius auratus"\n')
    assert names.sets is None
    assert names.classes == ("goldfish, Carassius auratus", "tench, Tinca tinca")


def test_several_lines_of_a_picture(folder: Path) -> None:
    lines = [f"{name}.png,{label}" for name in "abcdefghij" for label in ("x", "y")]
    listing = read(folder, "image,label\n" + "\n".join([*lines, "k.png,x"]))
    assert sets(listing)["a"] == {"x", "y"}
    assert sets(listing)["k"] == {"x"}
    with pytest.raises(UserError, match=r"data.labels=many"):  # few: rather a mistake
        read(folder, "image,label\na.png,x\na.png,y\nb.png,x\n")
    assert sets(read(folder, "image,label\na.png,x\na.png,y\nb.png,x\n", labels="many")) == {
        "a": {"x", "y"},
        "b": {"x"},
    }


def test_columns_with_one_each_are_classes_that_exclude_each_other(folder: Path) -> None:
    text = "image_id,scab,rust,healthy\na,1,0,0\nb,0,1,0\nc,0,0,1\n"
    listing = read(folder, text)
    assert listing.sets is None
    assert [listing.said(place) for place in range(3)] == ["scab", "rust", "healthy"]
    assert listing.classes == ("scab", "rust", "healthy")
    assert any("1 in one of its 3 columns" in problem for problem in listing.problems)
    many = read(folder, text, labels="many")
    assert sets(many) == {"a": {"scab"}, "b": {"rust"}, "c": {"healthy"}}
    assert any("every picture has one label" in problem for problem in many.problems)
    with pytest.raises(UserError, match="1 stands in the columns of 'scab', 'rust'"):
        read(folder, text + "d,1,1,0\n", labels="one")


def test_validation_takes_the_labels_of_training(folder: Path) -> None:
    train = read(folder, "image,labels\na.png,cat|dog\nb.png,bird\n")
    (folder / "val.csv").write_text("image,dog,cat\ntrain/c.png,1,0\ntrain/d.png,0,1\n")
    val = read_split(folder, "val", classes=train.classes, labels="many")
    assert val.classes == train.classes == ("bird", "cat", "dog")
    assert sets(val) == {"c": {"dog"}, "d": {"cat"}}
    (folder / "val.csv").write_text("image,labels\ntrain/c.png,dog|cow\n")
    with pytest.raises(UserError, match=r"val.csv:2: class 'cow' is not one of the 3 classes"):
        read_split(folder, "val", classes=train.classes, labels="many")


def test_lists_that_contradict_themselves_or_say_nothing(folder: Path) -> None:
    with pytest.raises(UserError, match="has label cat, but cat, dog on line 2"):
        read(folder, "image,labels\na.png,cat|dog\na.png,cat\nb.png,dog\n")
    found = read(folder, "image,cat,dog\na.png,0,0\nb.png,0,0\n").problems
    assert any("2 of 2 classes have no picture" in problem for problem in found)
    with pytest.raises(UserError, match="no picture in this list has a label"):
        read(folder, "image,labels\na.png,\nb.png,\n", labels="many")


def test_a_cell_that_opens_thousands_of_lists_is_no_list(folder: Path) -> None:
    deep = "[" * 3000
    listing = read(folder, f'image,labels\na.png,"{deep}"\nb.png,dog\n')
    assert set(listing.classes) == {deep, "dog"}


def test_folders_of_classes_give_one(folder: Path) -> None:
    for name in ("x", "y"):
        (folder / "train" / name).mkdir()
        Image.new("RGB", (8, 8)).save(folder / "train" / name / "0.png")
    assert read_split(folder, "train", labels="auto").sets is None
    with pytest.raises(UserError, match="folders of classes give each picture one"):
        read_split(folder, "train", labels="many")


def test_the_audit_counts_labels_and_finds_one_picture_labelled_twice(folder: Path) -> None:
    Image.open(folder / "train/a.png").save(folder / "train/z.png")
    (folder / "train.csv").write_text("image,labels\na.png,cat|dog\nb.png,dog\nc.png,\nz.png,cat\n")
    (folder / "val.csv").write_text("image,labels\ntrain/d.png,dog\n")
    report = audit(folder)
    assert report.splits["train"] == {"images": 4, "classes": 2, "smallest": 2, "largest": 2}
    said = {(finding.kind, finding.severity): finding.message for finding in report.findings}
    assert "1.0 labels a picture, 1 picture without; pictures by label: cat 2, dog 2" in said["labels", "note"] or any(
        "1.0 labels a picture, 1 picture without" in finding.message for finding in report.findings
    )
    assert "the same picture has several classes (cat, cat, dog)" in said["label-conflict", "error"]


def test_the_audit_reads_as_it_is_told(folder: Path) -> None:
    (folder / "train.csv").write_text("image,label\na.png,x\na.png,y\nb.png,x\n")
    (folder / "val.csv").write_text("image,label\ntrain/c.png,y\n")
    assert any("data.labels=many" in finding.message for finding in audit(folder, quick=True).errors)
    assert not audit(folder, quick=True, labels="many").errors


def test_columns_in_another_order_are_the_same_classes(folder: Path) -> None:
    (folder / "train.csv").write_text("file,cat,dog\n" + "".join(f"{name}.png,1,{name < 'c':d}\n" for name in "abcd"))
    (folder / "val.csv").write_text(
        "file,dog,cat\n" + "".join(f"train/{name}.png,{name < 'g':d},1\n" for name in "efgh")
    )
    assert not {finding.kind for finding in audit(folder, quick=True).findings if finding.severity == "error"}
    listing = read_split(folder, "val", classes=("cat", "dog"), labels="many")
    assert sets(listing) == {"e": {"cat", "dog"}, "f": {"cat", "dog"}, "g": {"cat"}, "h": {"cat"}}


def test_a_column_of_a_class_may_have_slips(folder: Path) -> None:
    """Left out, it would be a class that nothing is told of."""
    rows = "".join(f"{name}.png,{'nan' if name == 'a' else 'no'},yes\n" for name in "abcdefghij")
    assert read(folder, "file,cat,dog\n" + rows).classes == ("cat", "dog")
    with pytest.raises(UserError, match=r"train\.csv:12: 3 in column 'cat', which holds 0 and 1"):
        read(folder, f"file,cat,dog\n{rows}k.png,3,1\n")
