"""Where label maps lie, and which classes they have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.label_folders import save_map, squares, write_labels
from data.picture_files import noise
from phonecv.data.labelmaps import ade20k
from phonecv.data.labelmaps.classes import palette_for, read_label_classes
from phonecv.data.labelmaps.folders import has_label_maps
from phonecv.data.labelmaps.listing import IGNORE, find_labels, label_splits, read_label_split
from phonecv.errors import UserError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/segmentation/misc.json").read_text())

LAYOUTS = {
    "ade20k": ("images/{split}", "annotations/{split}", ("training", "validation")),
    "plain": ("images/{split}", "masks/{split}", ("train", "val")),
    "semantic": ("images/{split}", "semantic/{split}", ("train", "val")),
    "split first": ("{split}/images", "{split}/labels", ("train", "valid")),
    "short": ("{split}/img", "{split}/mask", ("train", "val")),
    "camvid": ("{split}", "{split}_labels", ("train", "val")),
    "segnet": ("{split}", "{split}annot", ("train", "val")),
    "joined": ("{split}_images", "{split}_masks", ("train", "val")),
    "mmsegmentation": ("img_dir/{split}", "ann_dir/{split}", ("train", "val")),
    "ground truth": ("{split}/img", "{split}/gt", ("train", "val")),
    "inputs": ("{split}/input", "{split}/target", ("train", "val")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    images, labels, (train, val) = LAYOUTS[layout]
    root = write_labels(tmp_path, images=images, labels=labels, counts={train: 4, val: 3})
    assert has_label_maps(root)
    assert label_splits(root) == ["train", "val"]
    for split, folder, count in (("train", train, 4), ("val", val, 3)):
        found = read_label_split(root, split)
        assert len(found) == count
        assert found.classes == ("floor", "box", "ball")
        assert found.images[1] == root / images.format(split=folder) / "1.jpg"
        assert found.labels[1] == root / labels.format(split=folder) / "1.png"
        assert found.problems == ()
        np.testing.assert_array_equal(found.read_label(1), squares(1 + 100 * folder.startswith("val")))


def write_voc(root: Path, *, lists: tuple[str, ...] = ("train", "val")) -> Path:
    """As VOC, CVAT and labelme write it: one folder of pictures, one of maps, lists of names."""
    write_labels(root, images="JPEGImages", labels="SegmentationClass", counts={"train": 5}, classes=None)
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nfloor:0,0,0::\nbox:128,0,0::\nball:0,128,0::\n"
    )
    noise((32, 24)).save(root / "JPEGImages/unlabelled.jpg")  # VOC has many, in no list
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for name, stems in zip(lists, ("0\n1\r\n2\n", "3\n4"), strict=False):
        (root / f"ImageSets/Segmentation/{name}.txt").write_text(stems)
    return root


def test_pascal_voc(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    assert label_splits(root) == ["train", "val"]
    for split, places in (("train", (0, 1, 2)), ("val", (3, 4))):
        found = read_label_split(root, split)
        assert [path.name for path in found.images] == [f"{place}.jpg" for place in places]
        assert found.classes == ("floor", "box", "ball")
        assert found.problems == ()
        np.testing.assert_array_equal(found.read(1)[1], squares(places[1]))
    (root / "ImageSets/Segmentation/val.txt").write_text("3\nabsent\n")
    assert (
        "1 x listed, but there is no such picture, left out: JPEGImages/absent"
        in read_label_split(root, "val").problems
    )


def test_pascal_voc_in_its_archive(tmp_path: Path) -> None:
    write_voc(tmp_path / "VOCdevkit/VOC2012")
    assert label_splits(tmp_path) == ["train", "val"]
    assert len(read_label_split(tmp_path, "train", classes=3)) == 3


def test_pascal_voc_as_cvat_writes_it_without_pictures(tmp_path: Path) -> None:
    root = write_voc(tmp_path, lists=("default",))
    (root / "JPEGImages").rename(root / "images")
    assert len(read_label_split(root, "all")) == 5


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("train/1.png", "train_labels/1_L.png"),
        ("train/1_sat.jpg", "train/1_mask.png"),
        ("leftImg8bit/train/ulm/1_leftImg8bit.png", "gtFine/train/ulm/1_gtFine_labelIds.png"),
        ("images/train/1.jpg", "annotations/train/trimaps/1.png"),
    ],
    ids=["camvid", "deepglobe", "cityscapes", "pets"],
)
def test_names_of_well_known_data_sets(tmp_path: Path, picture: str, label: str) -> None:
    write_labels(tmp_path, images="x", labels="y", counts={"train": 2})
    for path in (picture, label):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "x/1.jpg").rename(tmp_path / picture)
    (tmp_path / "y/1.png").rename(tmp_path / label)
    if "gtFine" in label:  # others of the same picture
        (tmp_path / label.replace("labelIds", "color")).write_bytes((tmp_path / "y/0.png").read_bytes())
    found = read_label_split(tmp_path, "train")
    assert found.images == (tmp_path / picture,)
    assert found.problems == ()
    np.testing.assert_array_equal(found.read_label(0), squares(1))


def test_pascal_voc_without_splits(tmp_path: Path) -> None:
    """CVAT lists all in default.txt: that is undivided, and may be scored by as it is."""
    root = write_voc(tmp_path, lists=("default",))
    assert label_splits(root) == ["all"]
    assert len(read_label_split(root, "all")) == len(read_label_split(root, "val")) == 5


def test_masks_beside_their_pictures(tmp_path: Path) -> None:
    """Roboflow: NAME.jpg and NAME_mask.png in the folder of a split, whose _classes.csv gives the values."""
    write_labels(tmp_path, images="{split}", labels="masks-{split}", counts={"train": 4, "valid": 3}, classes=None)
    for split in ("train", "valid"):
        for path in sorted((tmp_path / f"masks-{split}").iterdir()):
            path.rename(tmp_path / split / f"{path.stem}_mask.png")
        (tmp_path / f"masks-{split}").rmdir()
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, floor\n1, box\n2, ball\n")
    noise((32, 24)).save(tmp_path / "train/alone.jpg")
    assert label_splits(tmp_path) == ["train", "val"]
    found = read_label_split(tmp_path, "val")
    assert [path.name for path in found.labels] == ["0_mask.png", "1_mask.png", "2_mask.png"]
    assert found.classes == ("floor", "box", "ball")
    np.testing.assert_array_equal(found.read(2)[1], squares(102))
    assert [path.name for path, _ in read_label_split(tmp_path).left_out] == ["alone.jpg"]


def test_a_folder_that_is_one_split(tmp_path: Path) -> None:
    root = write_labels(tmp_path, images="images", labels="masks", counts={"val": 3})
    assert len(read_label_split(root, "val")) == 3
    with pytest.raises(UserError, match="no label maps of split 'train'"):
        read_label_split(root, "train")


def test_named_folders(tmp_path: Path) -> None:
    root = write_labels(tmp_path, images="photos", labels="truth", counts={"x": 3})
    assert not has_label_maps(root)
    assert len(read_label_split(root, "train", images="photos", labels="truth")) == 3
    with pytest.raises(UserError, match="no such folder"):
        find_labels(root, "train", images="photos", labels="absent")


def test_what_is_not_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val.json").write_text("{}")
    (tmp_path / "images/val").mkdir(parents=True)
    assert not has_label_maps(tmp_path)
    with pytest.raises(UserError, match="folders here: annotations, images"):
        find_labels(tmp_path, "val")
    with pytest.raises(UserError, match="no such folder"):
        find_labels(tmp_path / "absent")
    with pytest.raises(UserError, match="unknown split"):
        find_labels(tmp_path, "holdout")


def test_partners_are_found_by_name(tmp_path: Path) -> None:
    root = write_labels(tmp_path, counts={"train": 2})
    images, labels = root / "images/train", root / "annotations/train"
    noise().save(images / "alone.jpg")
    save_map(squares(), labels / "orphan.png")
    (images / "deep").mkdir()
    noise((32, 24)).save(images / "deep/a.b.jpg")
    save_map(squares(), labels / "deep/a.b_mask.png")
    save_map(squares(), labels / "1.tif")
    split = read_label_split(root)
    assert [path.name for path in split.images] == ["0.jpg", "1.jpg", "a.b.jpg"]
    assert [path.name for path in split.labels] == ["0.png", "1.png", "a.b_mask.png"]
    left = {path.name: reason for path, reason in split.left_out}
    assert set(left) == {"alone.jpg", "orphan.png", "1.tif"}
    text = "\n".join(split.problems)
    assert "1 x picture without a label map, left out: images/train/alone.jpg" in text
    assert "1 x label map without a picture, left out: annotations/train/orphan.png" in text


def test_zero_is_background_or_nothing(tmp_path: Path) -> None:
    root = write_labels(tmp_path, values=(0, 1, 2), classes="1\tbox\tthing\n2\tball\tthing\n")
    background = read_label_split(root)
    assert background.classes == ("background", "box", "ball")
    assert background.palette[0] == (0, 0, 0)
    nothing = read_label_split(root, reduce_zero_label=True)
    assert nothing.classes == ("box", "ball")
    plain, reduced = background.read_label(0), nothing.read_label(0)
    assert set(np.unique(plain)) == {0, 1, 2}
    np.testing.assert_array_equal(reduced == IGNORE, plain == 0)
    np.testing.assert_array_equal(reduced[plain > 0] + 1, plain[plain > 0])


def test_classes_given_by_the_caller(tmp_path: Path) -> None:
    root = write_labels(tmp_path)
    assert read_label_split(root, classes=("a", "b", "c")).classes == ("a", "b", "c")
    assert read_label_split(root, classes=5).classes == ("floor", "box", "ball", "3", "4")
    with pytest.raises(UserError, match=r"2 classes were asked for, but .*classes\.txt names 3"):
        read_label_split(root, classes=2)


def test_without_a_class_file_the_values_are_suggested(tmp_path: Path) -> None:
    root = write_labels(tmp_path, classes=None)
    with pytest.raises(UserError, match=r"values 0 to 2, so the number of classes may be 3, or 2 if 0 means nothing"):
        read_label_split(root)
    assert read_label_split(root, classes=3).classes == ("0", "1", "2")
    assert read_label_split(root, threshold=1).classes == ("background", "foreground")


CLASS_FILES = {
    "names": ("# comment\nwall\n\ntall tree\n", None, ("wall", "tall tree")),
    "from 0": ("0 wall\n1 tall tree\n", 0, ("wall", "tall tree")),
    "colons": ("1: tall tree; oak\n0: wall\n", 0, ("wall", "tall tree")),
    "marks": ("1=tall tree\n2 = wall\n", 1, ("tall tree", "wall")),
    "any order": ("2 tall tree\n1 wall\n", 1, ("wall", "tall tree")),
    "tabs": ("1\twall\tstuff\n2\ttall tree\tstuff\n", 1, ("wall", "tall tree")),
    "words": ("1\twall;fence\n2\ttree;plant\n", 1, ("wall", "tree")),
    "same first word": ("1\tscreen;door\n2\tscreen;silver\n", 1, ("screen;door", "screen;silver")),
    "header": ("Idx\tRatio\tTrain\tName\n1\t0.1\t7\twall;x\n2\t0.2\t8\ttree\n", 1, ("wall", "tree")),
    "digits": ("0\n1\n2\n", None, ("0", "1", "2")),
    "labelme": ("__ignore__\n_background_\nbox\n", None, ("_background_", "box")),
    "roboflow": ("Pixel Value, Class\n0, wall\n1, tall tree\n", 0, ("wall", "tall tree")),
    "windows": ("\ufeff0 wall\r\n1 tree\r\n", 0, ("wall", "tree")),
}


@pytest.mark.parametrize("case", CLASS_FILES)
def test_class_files(tmp_path: Path, case: str) -> None:
    text, first, names = CLASS_FILES[case]
    (tmp_path / "classes.txt").write_bytes(text.encode())
    read = read_label_classes(tmp_path / "classes.txt")
    assert (read.first, read.names, read.colours) == (first, names, None)


def test_class_file_with_colours(tmp_path: Path) -> None:
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nroad,1,2,3\ncar,4,5,6\n")
    read = read_label_classes(tmp_path / "class_dict.csv")
    assert read.names == ("road", "car")
    assert palette_for(read.names, read.colours) == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no classes"),
        ("0 a\n2 b\n", "no class has the value 1"),
        ("3 a\n4 b\n", "no class has the value 2"),
        ("0 a\n0 b\n", "value 0 is given twice"),
        ("a\nb\na\n", "'a' is given twice"),
        ("Idx\tName\nx\ta\n", "does not fit the columns"),
        ("name,r,g,b\nroad,1,2,300\n", "not within 0..255"),
    ],
)
def test_bad_class_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        read_label_classes(tmp_path / "classes.txt")
    assert "classes.txt" in str(raised.value)


def test_ade20k_classes_and_colours() -> None:
    golden = GOLDEN["ade20k"]
    assert list(ade20k.CLASSES) == [name.strip() for name in golden["classes"]]
    assert [list(colour) for colour in ade20k.PALETTE] == golden["palette"]
    assert palette_for(ade20k.CLASSES) == ade20k.PALETTE


def test_palettes_tell_neighbours_apart() -> None:
    names = ("background", *(f"class {index}" for index in range(1, 60)))
    palette = np.array(palette_for(names))
    assert palette[0].tolist() == [0, 0, 0]
    assert len({tuple(colour) for colour in palette.tolist()}) == 60
    assert np.abs(np.diff(palette[1:], axis=0)).sum(1).min() > 100


def test_ade20k_sample(shared_dir: Path) -> None:
    """Its class file splits names in odd places; the values are 0 to 150."""
    root = shared_dir / "data/ade20k-sample"
    split = read_label_split(root, "val", reduce_zero_label=True)
    assert split.classes == ade20k.CLASSES
    assert split.palette == ade20k.PALETTE
    assert len(split) == 3
    for index in range(3):
        picture, labels = split.read(index)
        assert labels.shape == (picture.height, picture.width)
        assert set(np.unique(labels)) <= {*range(150), 255}
    assert read_label_split(root, "val").classes == ("background", *ade20k.CLASSES)


@pytest.mark.parametrize(("name", "train", "val", "classes"), [("coco-semantic", 60, 30, 133), ("nuclei", 96, 32, 2)])
def test_reference_sets(shared_dir: Path, name: str, train: int, val: int, classes: int) -> None:
    given = None if name == "coco-semantic" else classes
    for split, count in (("train", train), ("val", val)):
        found = read_label_split(
            shared_dir / "data" / name, split, reduce_zero_label=name == "coco-semantic", classes=given
        )
        assert (len(found), len(found.classes), found.problems) == (count, classes, ())
        assert found.read(count - 1)[1].max() <= 255
