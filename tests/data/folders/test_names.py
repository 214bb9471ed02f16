"""Folders and lists as people really call and write them."""

from __future__ import annotations

import unicodedata
import zlib
from pathlib import Path

import pytest

from data.picture_files import noise
from phonecv.data.audit import audit
from phonecv.data.folders.class_names import name_key, natural_key
from phonecv.data.folders.listing import Listing, read_split
from phonecv.errors import UserError
from phonecv.training.checks import read_listings
from phonecv.training.recipe import load_config


def make(root: Path, *folders: str, count: int = 1) -> Path:
    """Different pictures in each of these folders."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            noise((8, 8), seed=zlib.crc32(f"{folder}{index}".encode())).save(root / folder / f"{index}.png")
    return root


def problems(listing: Listing, kind: str) -> list[str]:
    return [str(problem) for problem in listing.problems if problem.kind == kind]


def found(root: Path) -> set[tuple[str, str]]:
    return {(finding.kind, finding.severity) for finding in audit(root, quick=True).findings}


def test_names_sort_as_people_count() -> None:
    names = ["10", "9", "1", "b10", "b9", "b9a", "a", "B", "010", "0", "v1.10", "v1.9", "2020-1-2"]
    wanted = ["0", "1", "9", "010", "10", "2020-1-2", "B", "a", "b9", "b9a", "b10", "v1.9", "v1.10"]
    assert sorted(names, key=natural_key) == wanted
    assert sorted(["7" * 5000, "8"], key=natural_key)[0] == "8"
    letters = ["zebra", "Apple", "apple pie", "ärger", "apple"]
    assert sorted(letters, key=natural_key) == sorted(letters), "names without digits stay where they were"


def test_numbered_class_folders(tmp_path: Path) -> None:
    make(tmp_path, *(f"train/{month}" for month in range(1, 13)))
    listing = read_split(tmp_path, "train")
    assert listing.classes == tuple(str(month) for month in range(1, 13))
    assert {s.label: s.path.parent.name for s in listing.samples} == {i: str(i + 1) for i in range(12)}


ALIKE = [
    ("caf\u00e9", "cafe\u0301", "accents"),
    ("apple", "apple ", "blanks at the ends"),
    ("apple", "Apple", "letter case"),
    ("red apple", "red_apple", "blanks"),
    ("apple", "app\u200ble", "invisible"),
    ("Straße", "STRASSE", "letter case"),
]


@pytest.mark.parametrize(("one", "other", "how"), ALIKE)
def test_look_alikes_are_one_class_across_splits_and_refused_within_one(
    tmp_path: Path, one: str, other: str, how: str
) -> None:
    make(tmp_path, f"train/{one}", "train/zebra", f"val/{other}", "val/zebra")
    val = read_split(tmp_path, "val", classes=read_split(tmp_path, "train").classes)
    assert {s.path.parent.name: s.label for s in val.samples} == {other: 0, "zebra": 1}
    (told,) = problems(val, "spelling")
    assert f"'{other.replace(chr(0x200B), chr(92) + 'xe2' + chr(92) + 'x80' + chr(92) + 'x8b')}'" in told
    assert how in told
    assert found(tmp_path) == {("spelling", "note")}

    make(tmp_path, f"train/{other}")
    with pytest.raises(UserError, match=f"look like one class.*{how}"):
        read_split(tmp_path, "train")
    assert ("class-drift", "error") in found(tmp_path)
    (tmp_path / "classes.txt").write_text(f"{one}\n{other}\nzebra\n")
    if other == other.strip():
        assert len(read_split(tmp_path, "train").classes) == 3, "a class file that tells them apart is believed"


def test_class_names_are_clean_and_their_folders_found(tmp_path: Path) -> None:
    make(tmp_path, "train/cafe\u0301 ", "train/tea")
    listing = read_split(tmp_path, "train")
    assert listing.classes == ("caf\u00e9", "tea")
    assert listing.class_ids == ("cafe\u0301 ", "tea")
    assert all(sample.path.is_file() for sample in listing.samples)
    assert listing.problems == ()


def test_strangers_are_quoted_and_the_nearest_class_named(tmp_path: Path) -> None:
    make(tmp_path, "train/apple", "train/pear", "val/aple", "val/pear")
    with pytest.raises(UserError, match=r"'aple'; did you mean 'apple'\?; rename"):
        read_split(tmp_path, "val")


@pytest.mark.parametrize("name", ["valid", "validation", "Val", "VALIDATION"])
def test_other_names_of_the_validation_split(tmp_path: Path, name: str) -> None:
    make(tmp_path, "Train/a", "Train/b", f"{name}/a", f"{name}/b")
    val = read_split(tmp_path, "val")
    assert [s.path.relative_to(tmp_path).as_posix() for s in val.samples] == [f"{name}/a/0.png", f"{name}/b/0.png"]
    assert f"'{name}' is taken for val/" in problems(val, "spelling")[0]
    assert found(tmp_path) == {("spelling", "note")}
    # Our own name comes first.
    make(tmp_path, "val/a")
    if name != "Val":
        assert read_split(tmp_path, "val").samples[0].path.parent.parent.name == "val"


def test_test_pictures_validate_where_nothing_else_does(tmp_path: Path) -> None:
    make(tmp_path, "train/a", "train/b", "test/a", "test/b")
    assert "'test' is taken for it" in read_split(tmp_path, "val").problems[0]
    assert ("test-for-val", "warning") in found(tmp_path)
    make(tmp_path, "valid/a", "valid/b")
    assert read_split(tmp_path, "val").samples[0].path.parent.parent.name == "valid"
    assert read_split(tmp_path, "test").samples[0].path.parent.parent.name == "test"


def test_a_class_called_train(tmp_path: Path) -> None:
    make(tmp_path / "flat", "train", "plane", "car")
    assert read_split(tmp_path / "flat", "val").classes == ("car", "plane", "train")
    assert read_split(tmp_path / "flat", "all").classes == ("car", "plane", "train")
    with pytest.raises(UserError, match=r"no folder train/ and no list"):
        read_split(tmp_path / "flat", "train")
    make(tmp_path / "split", *(f"{split}/{name}" for split in ("train", "val") for name in ("train", "plane")))
    for split in ("train", "val"):
        listing = read_split(tmp_path / "split", split)
        assert listing.classes == ("plane", "train")
        assert [s.path.parent.name for s in listing.samples] == ["plane", "train"]
    assert found(tmp_path / "split") == set()


def test_folders_of_other_programs(tmp_path: Path) -> None:
    make(tmp_path, "train/a", "train/b", "val/a", "val/b")
    make(tmp_path, "train/__MACOSX/a", "train/@eaDir", "train/.ipynb_checkpoints", "train/a/@eaDir")
    (tmp_path / "train/a/Thumbs.db").write_bytes(b"")
    listing = read_split(tmp_path, "train")
    assert listing.classes == ("a", "b")
    assert len(listing) == 2
    (told,) = problems(listing, "helper")
    assert all(name in told for name in ("__MACOSX (1)", "@eaDir (2)", ".ipynb_checkpoints (1)"))
    assert found(tmp_path) == {("helper", "note")}


def test_pictures_that_are_not_read_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "train/a", "train/b", "val/a", "val/b")
    for name in ("train/a/1.jxl", "train/a/2.JXL", "train/b/1.dng", "train/b/notes.txt", "train/b/._x.jxl"):
        (tmp_path / name).write_bytes(b"x")
    assert (
        "3 pictures of a kind that is not read left out: 2 x .jxl, 1 x .dng"
        in problems(read_split(tmp_path, "train"), "left-out")[0]
    )
    assert found(tmp_path) == {("left-out", "warning")}


def test_a_level_too_deep(tmp_path: Path) -> None:
    make(tmp_path / "a", "train/animals/cat", "train/animals/dog", "val/animals/cat", "val/animals/dog")
    (problem,) = read_split(tmp_path / "a", "train").problems
    assert problem.severity == "error"
    assert "cat, dog; if these are the classes, move them up to train/<class>" in problem
    assert found(tmp_path / "a") == {("structure", "error")}
    make(tmp_path / "b", "train/animals/cat", "train/animals/dog", "train/things/cup")
    make(tmp_path / "b", "val/animals/cat", "val/things/cup")
    assert found(tmp_path / "b") == {("structure", "warning")}
    # The same sub-folders everywhere divide pictures by something else.
    days = [f"{split}/{name}/{time}" for split in ("train", "val") for name in "ab" for time in ("day", "night")]
    assert found(make(tmp_path / "c", *days)) == set()


def test_the_data_folder_is_a_level_further_down_or_up(tmp_path: Path) -> None:
    make(tmp_path, *(f"data/data/{split}/{name}" for split in ("train", "val") for name in "ab"))
    for split in ("train", "val"):
        with pytest.raises(UserError, match=r"data/data holds splits: name that folder"):
            read_split(tmp_path / "data", split)
    assert found(tmp_path / "data") == {("structure", "error")}
    with pytest.raises(UserError, match="this is one split: name the folder above"):
        read_split(tmp_path / "data/data/train", "train")
    make(tmp_path, *(f"twice/train/{split}/{name}" for split in ("train", "val") for name in "ab"))
    assert "name" in read_split(tmp_path / "twice", "train").problems[0]
    assert ("structure", "error") in found(tmp_path / "twice")


def test_one_class(tmp_path: Path) -> None:
    make(tmp_path, "train/apple", "val/apple")
    (problem,) = read_split(tmp_path, "train").problems
    assert "only one class, 'apple'" in problem
    assert found(tmp_path) == {("structure", "error")}
    (tmp_path / "train/pear").mkdir()
    assert ("structure", "error") in found(tmp_path), "a class without pictures is no second one"


def test_flat_folders_and_missing_splits_are_named_by_the_audit(tmp_path: Path) -> None:
    for folder, names in (("flat", ("a", "b")), ("half", ("train/a", "train/b"))):
        make(tmp_path / folder, *names, count=3)
        (finding,) = audit(tmp_path / folder, quick=True).findings
        assert (finding.kind, finding.severity) == ("unsplit", "note")
        assert "a training holds 2 of the 6 pictures out" in finding.message
        (tmp_path / folder / names[0] / "1.png").unlink()
        (tmp_path / folder / names[0] / "2.png").unlink()
        (finding,) = audit(tmp_path / folder, quick=True).findings
        assert (finding.severity, "have a single sample" in finding.message) == ("error", True)
    make(tmp_path / "val", "val/a", "val/b")
    assert found(tmp_path / "val") == found(tmp_path / "val/val") == set()


def test_name_key() -> None:
    assert name_key(unicodedata.normalize("NFD", "Crème  Brûlée ")) == name_key("crème_brûlée")
    assert name_key("a") != name_key("b")


# ------------------------------------------------------------------------------------------ lists


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return make(tmp_path, "val/a", "val/b", "val/c", "images", count=2)


LINES = "val/a/0.png 0\nval/b/0.png 1\nval/c/0.png 2\n"
WANTED = [("val/a/0.png", 0), ("val/b/0.png", 1), ("val/c/0.png", 2)]


def rows(root: Path, text: str, **options: object) -> list[tuple[str, int]]:
    (root / "val.txt").write_bytes(text.encode())
    listing = read_split(root, "val", **options)  # type: ignore
    return [(s.path.relative_to(root).as_posix(), s.label) for s in listing.samples]


@pytest.mark.parametrize(
    "text",
    [
        LINES.replace("/", "\\"),
        LINES.replace("\n", "\r"),
        LINES.replace(" ", ","),
        LINES.replace(" ", ", "),
        LINES.replace(" ", ";"),
        "\ufefffilename,label\r\n" + LINES.replace(" ", ",").replace("\n", "\r\n"),
        "label,split,image_path\n0,x,val/a/0.png\n1,x,val/b/0.png\n2,x,val/c/0.png\n",
        '"path","class"\n"val/a/0.png","0"\n"val/b/0.png","1"\n"val/c/0.png","2"\n',
        "path label\n" + LINES,
        '"val/a/0.png" 0\n"val/b/0.png" 1\n"val/c/0.png" 2\n',
        "image,label\nval/a/0,0\nval/b/0,1\nval/c/0,2\n",
        LINES.replace(".png", ".PNG"),
        LINES.replace("val/", "Val/"),
        LINES.replace("val/", ".\\val\\"),
        "file,species\nval/a/0.png,a\nval/b/0.png,b\nval/c/0.png,c\n",
        "val/a/0.png a\nval/b/0.png b\nval/c/0.png c\n",
        "val/a/0.png,a\nval/b/0.png,b\nval/c/0.png,c\n",
    ],
)
def test_forms_of_lists(listed: Path, text: str) -> None:
    assert rows(listed, text) == WANTED


def test_class_names_with_blanks_and_separators_inside(listed: Path) -> None:
    text = "val/a/0.png big dog\nval/b/0.png small\u2028cat\nval/c/0.png big dog\n"
    assert rows(listed, text) == [("val/a/0.png", 0), ("val/b/0.png", 1), ("val/c/0.png", 0)]
    assert read_split(listed, "val").classes == ("big dog", "small\u2028cat")
    with pytest.raises(UserError, match=r":1: class 'big dog' is not one of the 2 classes; did you mean 'bigdog'"):
        rows(listed, text, classes=["bigdog", "x"])


def test_only_line_feeds_and_carriage_returns_end_a_line(listed: Path) -> None:
    odd = "val/a/x\u2028y\u0085z\x0cw\x1cv.png"
    noise().save(listed / odd)
    assert rows(listed, f"{odd} 1\nval/a/0.png 0\n") == [(odd, 1), ("val/a/0.png", 0)]
    assert rows(listed, f"{odd}\nval/b/0.png\n") == [(odd, 0), ("val/b/0.png", 1)]


def test_paths_with_commas_stay_paths(listed: Path) -> None:
    noise().save(listed / "val/a/x, y.png")
    assert rows(listed, "val/a/x, y.png 1\nval/a/0.png 0\n")[0] == ("val/a/x, y.png", 1)
    assert rows(listed, "val/a/x, y.png\nval/b/0.png\n")[0] == ("val/a/x, y.png", 0)


def test_what_is_written_otherwise_is_told(listed: Path) -> None:
    rows(listed, LINES.replace("/", "\\"))
    assert "3 paths are written with backslashes" in problems(read_split(listed, "val"), "spelling")[0]
    assert found(listed) == {("spelling", "note")}
    rows(listed, "image,split,label\nval/a/0.png,x,1\nval/b/0.png,y,0\n")
    assert "left out: split" in problems(read_split(listed, "val"), "spelling")[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/home/x/val/a/0.png 0", "paths are relative to it, so write val/a/0.png"),
        ("C:\\data\\val\\a\\0.png 0", "so write val/a/0.png"),
        ("..\\val\\a\\0.png 0", "leaves the data folder"),
    ],
)
def test_paths_that_leave_the_folder(listed: Path, line: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        rows(listed, LINES + line)


def test_several_near_names_are_not_guessed_among(listed: Path) -> None:
    noise().save(listed / "val/a/X.png")
    noise().save(listed / "val/a/x.PNG")
    with pytest.raises(UserError, match=r"val/a/X.png or val/a/x.PNG may be meant"):
        rows(listed, LINES + "val/a/x.png 0\n")


def test_labels_counted_from_one(listed: Path) -> None:
    shifted = LINES.replace(" 2", " 3").replace(" 1", " 2").replace(" 0", " 1")
    for split in ("train", "val"):
        (listed / f"{split}.txt").write_text(shifted)
        told = problems(read_split(listed, split), "one-based")
        assert "labels are 1 to 3" in told[0]
        assert "counted from 1" in told[0]
    assert ("one-based", "warning") in found(listed)
    (listed / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(UserError, match=r"label 3 is not in 0..2 \(3 classes\); the labels seem to be counted from 1"):
        read_split(listed, "train")


def test_labels_with_a_point_and_a_background_too_many(listed: Path) -> None:
    for split in ("train", "val"):
        (listed / f"{split}.txt").write_text(
            LINES.replace("0\n", "0.0\n").replace("1\n", "1.0\n").replace("2\n", "2.0\n")
        )
    listing = read_split(listed, "train")
    assert set(listing.labels.tolist()) == {0, 1, 2}
    assert "1.0 for 1" in problems(listing, "spelling")[0]
    (listed / "classes.txt").write_text("background\na\nb\nc\n")
    (told,) = problems(read_split(listed, "train"), "empty-class")
    assert told.endswith("list: c; if no label counts 'background', its line makes every class be called after another")


def test_classes_without_pictures_in_the_training_list(listed: Path) -> None:
    (listed / "train.txt").write_text("images/0.png 0\nimages/1.png 4\n")
    told = problems(read_split(listed, "train"), "empty-class")
    assert "3 of 5 classes have no picture in this list: 1, 2, 3" in told[0]
    (listed / "train.txt").write_text("images/0.png 2\nimages/1.png 2\n")
    assert "only one class" in read_split(listed, "train").problems[0]


def test_a_csv_is_found_where_no_folder_has_classes(listed: Path) -> None:
    (listed / "train.csv").write_text("id,breed\n0,b\n1,a\n")
    noise().save(listed / "0.png")
    noise().save(listed / "1.png")
    listing = read_split(listed, "train")
    assert (listing.classes, listing.labels.tolist()) == (("a", "b"), [1, 0])
    (listed / "val.csv").write_text("id,breed\n9,9\n")
    assert read_split(listed, "val").list_file is None


LABELS = "".join(f"{number},{'ab'[number % 2]}\n" for number in range(4))


def test_lists_beside_their_pictures(tmp_path: Path) -> None:
    """As competitions have them: names without endings, pictures in a folder, a test set without classes."""
    for layout, pictures, name in (("1", "train", "labels.csv"), ("2", "jpg", "train.csv"), ("3", "jpg", "any.tsv")):
        root = make(tmp_path / layout, pictures, *(["test"] if layout == "1" else []), count=4)
        text = f"id,breed\n{LABELS}"
        (root / name).write_text(text.replace(",", "\t") if name.endswith("tsv") else text)
        listing = read_split(root, "all" if layout == "3" else "train")
        assert listing.names == [f"{pictures}/{number}.png" for number in range(4)]
        assert listing.classes == ("a", "b")
        assert not {kind for kind, severity in found(root) if severity == "error"}, layout
    assert ("left-out", "note") in found(tmp_path / "1")


def test_folders_called_like_splits_are_no_classes(tmp_path: Path) -> None:
    make(tmp_path, "train_images", "test-images", count=4)
    assert ("structure", "error") in found(tmp_path)
    (tmp_path / "labels.csv").write_text(f"id,breed\n{LABELS}")
    assert read_split(tmp_path, "all").names[0] == "train_images/0.png"
    make(tmp_path / "seg", "seg_train/a", "seg_train/b", "seg_test/a", "seg_test/b")
    assert [str(problem) for problem in read_split(tmp_path / "seg", "all").problems if "like splits" in problem]
    make(tmp_path / "other", "train_station", "test_tube")
    assert read_split(tmp_path / "other", "all").classes == ("test_tube", "train_station")


def test_a_split_of_an_unknown_name_is_told(tmp_path: Path) -> None:
    make(tmp_path, "train/a", "train/b", "eval/a", "eval/b", "extra/a", "thumbnails")
    told = [str(problem) for problem in read_split(tmp_path, "train").problems]
    assert [text for text in told if "left out" in text] == [
        f"{tmp_path}: the folder 'eval' holds classes of train/ and is left out; call it val/ or test/, if it is one"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "of the folder above": ("set/0.png a", r"relative to the data folder, so write 0\.png"),
        "another kind": ("0.jpg a", r"0\.png is there"),
        "columns the other way": ("a 0.png", "columns in another order have a header, such as label,file"),
        "an unknown header": ("bild,klasse\n" + "0.png,a\n" * 9, "call its columns file and label"),
        "no label at all": (
            "file,a,b\n0.png,0.3,0.7\n1.png,0.5,0.5",
            "none is the label; left out: a, b; call one label",
        ),
        "a column too many": (
            "0.png 0 0.5\n1.png 1 0.7\n",
            "label 0 0.5 is not a whole number; a line is `path label`",
        ),
        "no classes": ("file,age\n0.png,31.5\n1.png,7", "label 31.5 is not a whole number"),
        "no label": ("file,label\n0.png,a\n1.png,", "data.labels=many takes such pictures for ones without"),
        "no bit": ("file,a,b\n0.png,1,0\n1.png,0,1\n2.png,0,2\n3.png,1,1\n4.png,1,1", "2 in column 'b', which holds 0"),
    }.values(),
)
def test_what_to_do_about_a_line(tmp_path: Path, text: str, words: str) -> None:
    root = make(tmp_path, ".", count=5)
    (root / "train.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_split(root, "train", labels="auto")


def test_what_lists_say_otherwise(tmp_path: Path) -> None:
    root = make(tmp_path, ".", count=4)
    lines = [f"{root}/0.png,cat,train", f"{root}/1.png,Cat,train", "2.png,dog,dev", "3.png,dog,train"]
    (root / "all.csv").write_text("\n".join(["file,label,split", *lines]))
    listing = read_split(root, "train")
    assert listing.names == ["0.png", "1.png", "3.png"], "paths may begin with the data folder"
    told = " ".join(listing.problems)
    assert "1 line of split 'dev' left out" in told
    assert "'Cat' and 'cat' are read as two classes (letter case)" in told.replace("'cat' and 'Cat'", "'Cat' and 'cat'")


def test_a_picture_in_two_lists(tmp_path: Path) -> None:
    root = make(tmp_path, ".", count=4)
    (root / "train.txt").write_text("0.png a\n1.png b\n2.png a")
    (root / "val.txt").write_text("2.png a\n3.png b")
    assert ("split-leak", "error") in found(root)
    config = load_config("finetune", [f"data.path={root}"])
    with pytest.raises(UserError, match=r"1 picture is both trained on and validated on.*2\.png; take"):
        read_listings(config, root)
