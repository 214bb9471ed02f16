from __future__ import annotations

import csv
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from conftest import extract
from data.picture_files import noise
from phonecv.data.folders.class_names import read_class_file
from phonecv.data.folders.list_file import read_list
from phonecv.data.folders.listing import Listing, SampleTable, read_split
from phonecv.errors import UserError


def names(root: Path, split: str = "train", **options: object) -> list[tuple[str, int]]:
    listing = read_split(root, split, **options)  # type: ignore
    return [(sample.path.relative_to(root).as_posix(), sample.label) for sample in listing.samples]


def add(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        noise().save(root / path)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Pictures for list files."""
    add(tmp_path, "val/a/1.jpg", "val/b/1.jpg", "val/c/1.jpg", "val/a/with space.jpg")
    return tmp_path


def test_class_folders(dataset_dir: Path) -> None:
    train, val = read_split(dataset_dir, "train"), read_split(dataset_dir, "val")
    assert train.classes == val.classes == train.class_ids == ("cat", "dog")
    assert train.labels.tolist() == [0] * 6 + [1] * 4
    assert names(dataset_dir, "val") == [
        (f"val/{name}/{i}.png", n) for n, name in enumerate(("cat", "dog")) for i in (0, 1)
    ]
    assert (train.problems, train.list_file) == ((), None)


def test_a_folder_that_is_itself_a_split(dataset_dir: Path) -> None:
    assert len(read_split(dataset_dir / "val", "val")) == 4
    with pytest.raises(UserError, match="no folder train/"):
        read_split(dataset_dir / "val", "train")
    # Its classes are those of the data set around it.
    add(dataset_dir, "train/ant/1.png")
    assert read_split(dataset_dir / "val", "val").labels.tolist() == [1, 1, 2, 2]


def test_validation_takes_the_training_classes(dataset_dir: Path) -> None:
    add(dataset_dir, "train/ant/1.png")
    val = read_split(dataset_dir, "val")
    assert val.classes == ("ant", "cat", "dog")
    assert val.labels.tolist() == [1, 1, 2, 2]
    assert "no folder for 1 of 3 classes: ant" in val.problems[0]


def test_a_validation_class_unknown_to_training(dataset_dir: Path) -> None:
    add(dataset_dir, "val/emu/1.png")
    with pytest.raises(UserError, match=r"(?s)1 class folders are not among the 2 classes.*emu"):
        read_split(dataset_dir, "val")


def test_given_classes(dataset_dir: Path) -> None:
    assert read_split(dataset_dir, "val", classes=["dog", "x", "cat"]).labels.tolist() == [2, 2, 0, 0]
    with pytest.raises(UserError, match="'cat', 'dog'"):
        read_split(dataset_dir, "val", classes=["x", "y"])
    with pytest.raises(UserError, match="2 classes, but 1000 are expected"):
        read_split(dataset_dir, "val", classes=1000)


def test_class_file_orders_and_names(dataset_dir: Path) -> None:
    (dataset_dir / "classes.txt").write_text("0\tdog\tbig dog\n1\temu\temu, bird\n2\tcat\tsmall cat\n")
    listing = read_split(dataset_dir, "train")
    assert listing.classes == ("big dog", "emu, bird", "small cat")
    assert listing.class_ids == ("dog", "emu", "cat")
    assert listing.labels.tolist() == [2] * 6 + [0] * 4
    # A model that carries the names finds the folders through the file.
    assert read_split(dataset_dir, "val", classes=["small cat", "big dog"]).labels.tolist() == [0, 0, 1, 1]


def test_names_that_occur_twice_keep_their_folders(dataset_dir: Path) -> None:
    (dataset_dir / "classes.txt").write_text("0\tcat\tcrane\n1\tdog\tcrane\n")
    train = read_split(dataset_dir, "train")
    assert read_split(dataset_dir, "val", classes=train.classes).labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "expected_names", "expected_ids"),
    [
        ("cat\ndog\n", ("cat", "dog"), ("cat", "dog")),
        ("0\n1\n", ("0", "1"), ("0", "1")),
        ("1 dog\n0 cat\n", ("cat", "dog"), ("cat", "dog")),
        ("1: big dog\n0: cat\n", ("cat", "big dog"), ("cat", "big dog")),
        ("1,big dog, brown\n0,cat\n", ("cat", "big dog, brown"), ("cat", "big dog, brown")),
        ("dog, brown\ncat, 1\n", ("dog, brown", "cat, 1"), ("dog, brown", "cat, 1")),
        ("n00000001 cat, puss\nn00000002 dog\n", ("cat, puss", "dog"), ("n00000001", "n00000002")),
        (
            "\ufeff# classes\r\n0 n00000001 sea snake\r\n\r\n1 n00000002 dog\r\n",
            ("sea snake", "dog"),
            ("n00000001", "n00000002"),
        ),
        ("big dog\nsmall cat", ("big dog", "small cat"), ("big dog", "small cat")),
    ],
)
def test_class_file_forms(
    tmp_path: Path, text: str, expected_names: tuple[str, ...], expected_ids: tuple[str, ...]
) -> None:
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8")
    classes = read_class_file(tmp_path / "classes.txt")
    assert (classes.names, classes.ids) == (expected_names, expected_ids)
    assert [classes.label(name) for name in expected_ids] == [0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no classes"),
        ("0 a\n0 b\n", ":2: index 0 is given twice"),
        ("1 a\n2 b\n", ":2: index 2 of 2 .* .if they count from 1"),
    ],
)
def test_bad_class_files(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=words):
        read_class_file(tmp_path / "classes.txt")


LINES = "val/a/1.jpg 0\nval/b/1.jpg 1\nval/c/1.jpg 2\n"


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        LINES.rstrip(),
        LINES.replace("\n", "\r\n"),
        "\ufeff" + LINES,
        "\n# a comment\n" + LINES + "\n\n",
        LINES.replace(" ", "\t"),
        LINES.replace(" ", "   "),
        LINES.replace("val/", ""),
        LINES.replace("val/", "./val/"),
        "val/a/1.jpg\nval/b/1.jpg\nval/c/1.jpg",
        "a/1.jpg\nb/1.jpg\nc/1.jpg",
    ],
)
@pytest.mark.parametrize("name", ["val.txt", "val_list.txt", "other.lst"])
def test_list_forms(listed: Path, text: str, name: str) -> None:
    (listed / name).write_text(text, encoding="utf-8", newline="")
    found = names(listed, "val", list_file=name if name == "other.lst" else None)
    assert found == [("val/a/1.jpg", 0), ("val/b/1.jpg", 1), ("val/c/1.jpg", 2)]


def test_list_wins_over_folders_and_may_name_odd_files(listed: Path) -> None:
    odd = os.fsdecode(b"val/a/caf\xe9.jpg")
    os.link(listed / "val/a/1.jpg", listed / odd)
    (listed / "val.txt").write_bytes(os.fsencode(f"val/a/with space.jpg 2\n{odd} 0\n"))
    listing = read_split(listed, "val")
    assert [sample.path for sample in listing.samples] == [listed / "val/a/with space.jpg", listed / odd]
    assert listing.labels.tolist() == [2, 0]
    assert listing.classes == ("0", "1", "2"), "one folder under two labels names neither"
    (listed / "val.txt").write_text("val/a/with space.jpg\n")
    assert names(listed, "val") == [("val/a/with space.jpg", 0)]


BAD_LINES = {
    "val/a/1.jpg": "no label",
    "val/a/1.jpg cat": "label cat is not a whole number",
    "val/a/1.jpg -1": "label -1 is not in 0..2",
    "val/a/1.jpg 3": r"label 3 is not in 0..2 \(3 classes\)",
    "val/a/1.jpg 1.0": "label 1.0 is not",
    f"val/a/1.jpg {'9' * 30}": "is not in 0..2",
    "val/a/1.jpg 2": "has label 2, but 0 on line 1",
    "val/z/1.jpg 1": "no such file: val/z/1.jpg",
    "/etc/hostname 0": "leaves the data folder",
    "../x.jpg 0": "leaves the data folder",
    "val/../../x.jpg 0": "leaves the data folder",
    "C:\\x.jpg 0": "leaves the data folder",
    "val/a/1\0.jpg 0": "NUL byte",
    "a" * 200_000: "200000 characters",
    "\x1b]0;x\x07.jpg 0": r"no such file: \\x1b",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=range(len(BAD_LINES)))
def test_bad_lines_are_named_by_number(listed: Path, line: str) -> None:
    (listed / "val.txt").write_text(LINES + "\n" + line + "\n")
    with pytest.raises(UserError, match=BAD_LINES[line]) as caught:
        read_split(listed, "val", classes=3)
    message = str(caught.value)
    assert "val.txt:5: " in message
    assert len(message) < 600
    assert all(character.isprintable() or character == "\n" for character in message)


def test_labels_that_contradict_the_training_classes(listed: Path) -> None:
    (listed / "val.txt").write_text(LINES.replace("1.jpg 2", "1.jpg 1").replace("b/1.jpg 1", "b/1.jpg 2"))
    with pytest.raises(UserError, match=r"val.txt:2: label 2, but folder 'b' is class 1 \(2 lines"):
        read_split(listed, "val", classes=["a", "b", "c"])
    # On its own the list defines the classes; beside a class file the list wins and the difference is said.
    assert read_split(listed, "val").classes == ("a", "c", "b")
    (listed / "classes.txt").write_text("a\nb\nc\n")
    listing = read_split(listed, "val")
    assert listing.labels.tolist() == [0, 2, 1]
    assert "folder 'b' is class 1" in listing.problems[0]


def test_ids_come_along_with_given_names(listed: Path) -> None:
    (listed / "classes.txt").write_text("0\ta\tAlpha\n1\tb\tBeta\n2\tc\tGamma\n")
    (listed / "val.txt").write_text(LINES)
    listing = read_split(listed, "val", classes=["Alpha", "Beta", "Gamma"])
    assert (listing.classes, listing.class_ids) == (("Alpha", "Beta", "Gamma"), ("a", "b", "c"))


def test_many_bad_lines_are_counted(listed: Path) -> None:
    (listed / "val.txt").write_text(LINES + "val/z.jpg 0\n" * 50)
    with pytest.raises(UserError, match=r"(?s)50 unusable lines.*val.txt:4: .*and 42 more"):
        read_split(listed, "val")


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "no pictures"), (b"# nothing\n", "no pictures"), ("ä 0".encode("utf-16"), "UTF-16")]
)
def test_useless_lists(listed: Path, data: bytes, words: str) -> None:
    (listed / "val.txt").write_bytes(data)
    with pytest.raises(UserError, match=words):
        read_split(listed, "val")


def test_repeated_lines_count_again_and_are_noted(listed: Path) -> None:
    (listed / "val.txt").write_text(LINES * 2)
    listing = read_split(listed, "val")
    assert len(listing) == 6
    assert "3 lines repeat" in listing.problems[0]
    assert "val.txt:4" in listing.problems[0]


def test_absent_things(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_split(tmp_path / "absent")
    with pytest.raises(UserError, match="no folder train/"):
        read_split(tmp_path)
    with pytest.raises(UserError, match="unknown split"):
        read_split(tmp_path, "exam")
    with pytest.raises(UserError, match="no such list file"):
        read_split(tmp_path, list_file="x.txt")
    (tmp_path / "train/a").mkdir(parents=True)
    with pytest.raises(UserError, match="no pictures in its 1 class folders"):
        read_split(tmp_path)


def test_odd_names_loops_and_empty_classes(tmp_path: Path) -> None:
    good = [
        "class a/with space.jpg",
        "class a/日本語_😀.jpg",
        "class a/line\nbreak.jpg",
        "class a/-rf.jpg",
        "b/folder.jpg/in.jpg",
        "b/ok.jpg",
    ]
    add(tmp_path / "val", *good)
    os.link(tmp_path / "val/b/ok.jpg", tmp_path / "val" / os.fsdecode(b"b/caf\xe9_\xff.jpg"))
    (tmp_path / "val/empty").mkdir()
    (tmp_path / "val/b/dangling.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "val/b/loop").symlink_to("../b")
    (tmp_path / "val/b/self.jpg").symlink_to("self.jpg")
    for name in ("b/.hidden.jpg", "b/Thumbs.db", "loose.jpg", ".cache/x.jpg"):
        (tmp_path / "val" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "val" / name).write_bytes(b"")
    listing = read_split(tmp_path, "val")
    found = {sample.path.relative_to(tmp_path / "val").as_posix() for sample in listing.samples}
    assert found == {*good, os.fsdecode(b"b/caf\xe9_\xff.jpg")}
    assert listing.classes == ("b", "class a", "empty")
    assert [word in " ".join(listing.problems) for word in ("1 of 3 classes is empty", "1 picture lies outside")] == [
        True,
        True,
    ]


def test_sample_table() -> None:
    table = SampleTable(Path("/r"), ["a/1.jpg", os.fsdecode(b"b/\xff.jpg"), "ü"], [0, 5, 2])
    assert [(str(sample.path), sample.label) for sample in table] == [
        ("/r/a/1.jpg", 0),
        ("/r/b/\udcff.jpg", 5),
        ("/r/ü", 2),
    ]
    assert table[-1] == table[2] == table[1:][1] == table[np.int64(2)]  # type: ignore
    assert next(iter(reversed(table))).label == 2
    with pytest.raises(IndexError):
        table[3]
    assert len(SampleTable(Path(), [], [])) == 0


def test_imagenet_samples(shared_dir: Path) -> None:
    listing = read_split(shared_dir / "data/imagenet-samples", "val")
    assert (len(listing), len(listing.classes)) == (200, 1000)
    assert listing.labels.tolist() == list(range(2, 1000, 5))
    assert listing.classes[2].startswith("great white shark")
    assert all(listing.class_ids[sample.label] == sample.path.parent.name for sample in listing.samples)
    # The folder alone, without its list, gives the same through classes.txt above it.
    alone = read_split(shared_dir / "data/imagenet-samples/val", "val")
    assert {s.path.name: s.label for s in alone.samples} == {s.path.name: s.label for s in listing.samples}


def outcome(root: Path, name: str) -> Listing | UserError:
    try:
        return read_split(root, "val", list_file=name, classes=1000)
    except UserError as error:
        return error


def test_hostile_lists(shared_dir: Path) -> None:
    root = shared_dir / "data/hostile"
    with (root / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file) if row["path"].startswith("lists/") and row["path"].endswith(".txt")
        ]
    assert len(rows) >= 20
    for row in rows:
        name, wanted = Path(row["path"]).name, row["expected"]
        result = outcome(root / "lists", name)
        if isinstance(result, UserError):
            assert "line number" in wanted or wanted.startswith(("refused", "message")), (row, result)
            assert (f"{name}:" if "line number" in wanted else name) in str(result)
            continue
        counts = {"duplicates.txt": 6, "space_in_name.txt": 4}
        assert wanted.startswith(("3 pictures", "4 pictures", "counted twice")), row
        assert len(result) == counts.get(name, 3)
        assert all(sample.path.parent.name == f"n{sample.label:08d}" for sample in result.samples)


def test_hostile_names(shared_dir: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_dir / "data/hostile/names/odd_names.tar", errors="surrogateescape") as archive:
        extract(archive, tmp_path)
    listing = read_split(tmp_path / "data", "val")
    assert len(listing) == 10
    assert "empty_class" in listing.problems[0]


def test_missing_line_is_not_looked_for_outside(tmp_path: Path) -> None:
    add(tmp_path, "val/a/1.jpg")
    (tmp_path / "l.txt").write_text("val/a/1.jpg 0\n")
    assert read_list(tmp_path / "l.txt", tmp_path, "val").paths == ("val/a/1.jpg",)
    (tmp_path / "l.txt").write_text("a/1.jpg 0\n")
    assert read_list(tmp_path / "l.txt", tmp_path, "val").paths == ("val/a/1.jpg",)
