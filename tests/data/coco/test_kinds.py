"""COCO files as tools and people really write them: what is unambiguous is read, with the right value, and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from data.coco_files import HEIGHT, WIDTH, changed, content, write_coco
from phonecv.data.coco.reader import CocoReading, CocoSplit, find_coco, read_coco
from phonecv.data.coco.records import read_records
from phonecv.errors import UserError

RING = [4, 5, 24, 5, 24, 15, 4, 15]
PAIRS = [[4, 5], [24, 5], [24, 15], [4, 15]]
POINTS = [{"x": x, "y": y} for x, y in PAIRS]
COUNTS = [4 * HEIGHT + 5, *[10, HEIGHT - 10] * 19, 10, HEIGHT - 15 + 40 * HEIGHT]
RUNS = {"size": [HEIGHT, WIDTH], "counts": COUNTS}
NAN = float("nan")

#: Ways to write the same object -> a piece of what is told.
SPELLINGS: dict[str, tuple[dict[str, Any], str]] = {
    "flat polygon": ({"segmentation": RING}, "one flat list"),
    "flat text": ({"segmentation": [str(value) for value in RING]}, "one flat list"),
    "pairs": ({"segmentation": [PAIRS]}, "points"),
    "pairs alone": ({"segmentation": PAIRS}, "points"),
    "points": ({"segmentation": [POINTS]}, "points"),
    "points alone": ({"segmentation": POINTS}, "points"),
    "axes": ({"segmentation": {"all_points_x": [4, 24, 24, 4], "all_points_y": [5, 5, 15, 15]}}, "lists of x and y"),
    "text in ring": ({"segmentation": [[str(value) for value in RING]]}, "numbers as text"),
    "polygon as text": ({"segmentation": json.dumps([RING])}, "text"),
    "run lengths as text": ({"segmentation": json.dumps(RUNS)}, "text"),
    "counts as text": ({"segmentation": RUNS | {"counts": json.dumps(COUNTS)}}, "run lengths as text"),
    "run lengths in a list": ({"segmentation": [RUNS]}, "run lengths in a list"),
    "stray ring": ({"segmentation": [RING, [4, 5, 6, 7]]}, "1 of 2 rings"),
    "odd ring": ({"segmentation": [[1, 2, 3, 4, 5, 6, 7], RING]}, "1 of 2 rings"),
    "ring of nothing": ({"segmentation": [RING, []]}, "1 of 2 rings"),
    "ring with NaN": ({"segmentation": [RING, [NAN, 5, 6, 7, 8, 9]]}, "1 of 2 rings"),
    "ring far away": ({"segmentation": [RING, [9e9, 5, 6, 7, 8, 9]]}, "1 of 2 rings"),
    "text box": ({"bbox": ["4", "5.0", " 20 ", "1e1"]}, "numbers as text"),
    "box as text": ({"bbox": "[4, 5, 20, 10]"}, "a list as text"),
    "box as Python's text": ({"bbox": "(4, 5.0, 20, 10)"}, "a list as text"),
    "box as numpy's text": ({"bbox": "[ 4.  5. 20. 10.]"}, "a list as text"),
    "box as a cell": ({"bbox": "4 5 20 10"}, "a list as text"),
    "box in a list": ({"bbox": [[4, 5, 20, 10]]}, "a list in a list"),
    "box by names": ({"bbox": {"x": 4, "y": 5, "width": 20, "height": 10}}, "an object"),
    "corners by names": ({"bbox": {"xmin": 4, "ymin": "5", "xmax": 24, "ymax": 15}}, "an object"),
    "corners by other names": ({"bbox": {"x_min": 4, "y_min": 5, "xMax": 24, "yMax": 15}}, "an object"),
    "empty box": ({"bbox": []}, "taken from the mask"),
    "no box": ({"bbox": None}, "taken from the mask"),
    "zero box": ({"bbox": [0, 0, 0, 0]}, "taken from the mask"),
    "NaN box": ({"bbox": [NAN] * 4}, "taken from the mask"),
    "no box, run lengths": ({"bbox": None, "segmentation": RUNS}, "taken from the mask"),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_spellings(tmp_path: Path, case: str) -> None:
    values, told = SPELLINGS[case]
    path = write_coco(tmp_path, changed(**values))
    for masks in (True, False) if "bbox" in values else (True,):
        split = read_coco(path, masks=masks)
        targets = split.targets(1)
        assert targets["boxes"][0].tolist() == [4, 5, 24, 15]
        assert [problem.kind for problem in split.problems if told in str(problem)] == ["respelled"]
        assert "respelled" in split.notes[0]
        if masks:
            expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
            expected[5:15, 4:24] = True
            assert torch.equal(targets["masks"][0], expected)


def test_a_whole_file_is_told_in_one_problem(tmp_path: Path) -> None:
    data = content()
    for record in data["annotations"]:
        record["bbox"] = [str(value) for value in record["bbox"]]
    split = read_coco(write_coco(tmp_path, data))
    (problem,) = split.problems
    assert problem.count == 3
    assert str(problem).startswith(
        "annotations[0] (id 1, picture a.png): bbox is written as numbers as text; and 2 more"
    )


@pytest.mark.parametrize("value", [0, 200 / WIDTH / HEIGHT, 1e12, -5, NAN, "x", float("inf")])
def test_impossible_areas_are_made_anew(tmp_path: Path, value: Any) -> None:
    path = write_coco(tmp_path, changed(area=value, segmentation=[[4, 5, 24, 5, 24, 15]]))
    for masks, area in ((False, 200), (True, 94)):
        split = read_coco(path, masks=masks)
        assert [problem.kind for problem in split.problems] == ["area"]
        got = float(split.targets(1)["area"][0])
        assert got == float(split.targets(1)["masks"][0].sum()) if masks else got == area


def test_areas_of_masks_may_be_smaller_and_a_little_larger(tmp_path: Path) -> None:
    for area in (3, 231, "120"):
        split = read_coco(write_coco(tmp_path, changed(area=area)))
        assert not split.problems
        assert float(split.targets(1)["area"][0]) == float(area)


def boxes_of(split: CocoSplit) -> list[list[float]]:
    return [box for index in range(len(split)) for box in split.targets(index)["boxes"].tolist()]


def many(write: Any) -> dict[str, Any]:
    """Twelve boxes all over a picture, each as `write` gives it."""
    data = content()
    data["annotations"] = [
        {
            "id": number,
            "image_id": 10,
            "category_id": 2,
            "bbox": write(2.0 + 16 * (number % 4), 2.0 + 18 * (number // 4)),
        }
        for number in range(12)
    ]
    return data


LAYOUTS = {
    "xywh": lambda x, y: [x, y, 12, 10],
    "xyxy": lambda x, y: [x, y, x + 12, y + 10],
    "cxcywh": lambda x, y: [x + 6, y + 5, 12, 10],
    "xywh_shares": lambda x, y: [x / WIDTH, y / HEIGHT, 12 / WIDTH, 10 / HEIGHT],
    "xyxy_shares": lambda x, y: [x / WIDTH, y / HEIGHT, (x + 12) / WIDTH, (y + 10) / HEIGHT],
    "cxcywh_shares": lambda x, y: [(x + 6) / WIDTH, (y + 5) / HEIGHT, 12 / WIDTH, 10 / HEIGHT],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_boxes(tmp_path: Path, layout: Any) -> None:
    expected = boxes_of(read_coco(write_coco(tmp_path, many(LAYOUTS["xywh"]))))
    path = write_coco(tmp_path, many(LAYOUTS[layout]))
    read = read_coco(path, reading=CocoReading(layout))
    assert not read.problems
    assert torch.allclose(torch.tensor(boxes_of(read)), torch.tensor(expected))
    assert torch.allclose(read.targets(1)["area"], torch.tensor(120.0))
    if layout != "xywh":
        try:
            problems = read_coco(path).problems
        except UserError as error:
            assert f"detect.boxes={layout}" in str(error)  # noqa: PT017
        else:
            (problem,) = problems
            assert problem.kind == "box-layout"
            assert f"detect.boxes={layout}" in problem.message
    with pytest.raises(UserError, match="xyxy"):
        CocoReading("corners")  # type: ignore[arg-type]


def test_some_boxes_beyond_the_border_are_no_other_layout(tmp_path: Path) -> None:
    data = many(LAYOUTS["xywh"])
    data["annotations"][3]["bbox"] = [50, 3, 30, 10]
    assert [problem.kind for problem in read_coco(write_coco(tmp_path, data)).problems] == ["clipped-box"]


def test_annotations_twice(tmp_path: Path) -> None:
    data = content()
    data["annotations"] += [record | {"id": 100 + record["id"]} for record in data["annotations"]]
    (problem,) = read_coco(write_coco(tmp_path, data)).problems
    assert (problem.kind, problem.dropped) == ("repeated-object", False)
    assert "3 of 6 repeat" in problem.message
    data["annotations"][3]["bbox"] = [4.001, *data["annotations"][3]["bbox"][1:]]
    (problem,) = read_coco(write_coco(tmp_path, data)).problems
    assert "2 of 6 repeat" in problem.message


def test_many_crowds(tmp_path: Path) -> None:
    data = many(LAYOUTS["xywh"])
    for record in data["annotations"][:6]:
        record["iscrowd"] = 1
    (problem,) = read_coco(write_coco(tmp_path, data)).problems
    assert problem.kind == "crowd"
    assert "6 of 12" in problem.message


@pytest.mark.parametrize(
    ("categories", "classes", "told"),
    [
        ({"2": "cat", "7": "dog"}, ("cat", "dog"), "names by id"),
        ({"dog": 7, "cat": 2}, ("cat", "dog"), "ids by name"),
        (list("abcdefg"), tuple("abcdefg"), "from 1"),
        ([{"name": name} for name in "abcdefg"], tuple("abcdefg"), "from 1"),
    ],
)
def test_categories_without_records(tmp_path: Path, categories: Any, classes: tuple[str, ...], told: str) -> None:
    split = read_coco(write_coco(tmp_path, content(categories=categories)))
    assert split.classes == classes
    (problem,) = split.problems
    assert (problem.kind, told in problem.message) == ("respelled", True)
    wanted = [classes.index("dog" if "dog" in classes else "g"), classes.index("cat" if "cat" in classes else "b")]
    assert split.targets(1)["labels"].tolist() == wanted


def test_names_in_the_place_of_ids(tmp_path: Path) -> None:
    data = content()
    for record in data["annotations"]:
        record["image_id"] = {10: "a.png", 20: "b.png"}[record["image_id"]]
        record["category_id"] = {7: "dog", 2: "cat"}[record["category_id"]]
    for categories in (data["categories"], ["cat", "dog"]):
        split = read_coco(write_coco(tmp_path, data | {"categories": categories}))
        assert split.targets(1)["labels"].tolist() == [1, 0]
        assert len(boxes_of(split)) == 3
        told = [str(problem) for problem in split.problems if "is a name" in problem.message]
        assert [problem.count for problem in split.problems if "is a name" in problem.message] == [3, 3], told


def test_words_for_ids_and_tables_by_key(tmp_path: Path) -> None:
    data = content()
    plain = read_coco(write_coco(tmp_path, data))
    for record in data["images"]:
        record["id"] = f"7f-{record['id']}"
    for record in data["annotations"]:
        record["image_id"] = f"7f-{record['image_id']}"
    data["categories"] = {str(one["id"]): one for one in data["categories"]}
    split = read_coco(write_coco(tmp_path, data))
    assert boxes_of(split) == boxes_of(plain)
    assert split.classes == plain.classes
    told = {problem.place: problem.message for problem in split.problems}
    assert told == {'"images"': "have words for ids; they are numbered from 1", '"categories"': "are records by key"}


@pytest.mark.parametrize(
    ("scale", "sides"), [(100, (400, 300)), (1000, (400, 300)), (1000, (2400, 1600)), (1, (90, 96))]
)
def test_boxes_in_percent_and_thousandths(tmp_path: Path, scale: int, sides: tuple[int, int]) -> None:
    data = content()
    for record in data["images"]:
        record["width"], record["height"] = sides
    places = [(x, y) for x in (0.02, 0.3, 0.6, 0.78) for y in (0, 0.15, 0.3, 0.45, 0.6, 0.75)]
    given = [[x, y, 0.2, 0.24] for x, y in places]
    factors = [scale] * 4 if scale > 1 else [*sides, *sides]  # else in pixels
    data["annotations"] = [
        {"id": number, "image_id": 10, "category_id": 2, "bbox": [v * f for v, f in zip(box, factors, strict=True)]}
        for number, box in enumerate(given)
    ]
    tables = read_records(data, None, masks=False)
    told = [problem.message for problem in tables.problems if problem.kind == "box-layout"]
    assert len(told) == (scale > 1)
    assert all(f"divide them by {scale} and choose detect.boxes=xywh_shares" in text for text in told)


def test_a_picture_s_name_under_another_word(tmp_path: Path) -> None:
    data = content()
    for record, word, start in zip(
        data["images"], ("coco_url", "path", "filename"), ("http://x/val2017/", "/a/", ""), strict=True
    ):
        record[word] = start + record.pop("file_name")
    split = read_coco(write_coco(tmp_path, data))
    assert {split.path(index).name for index in range(3)} == {"a.png", "b.png", "c.png"}


@pytest.mark.parametrize("way", ["shares", "rows first", "elsewhere"])
def test_boxes_that_are_not_around_their_outlines(tmp_path: Path, way: str) -> None:
    data = many(LAYOUTS["xywh"])
    for record in data["annotations"]:
        x, y, w, h = record["bbox"]
        ring = [x, y, x + w, y, x + w, y + h, x, y + h]
        record["segmentation"] = [ring]
    assert not read_coco(write_coco(tmp_path, data), masks=True).problems
    for record in data["annotations"]:
        (ring,) = record["segmentation"]
        if way == "shares":
            record["segmentation"] = [[value / (WIDTH, HEIGHT)[place % 2] for place, value in enumerate(ring)]]
        elif way == "rows first":
            record["segmentation"] = [[ring[place ^ 1] for place in range(8)]]
        else:
            record["segmentation"] = [[1, 1, 4, 1, 4, 4]]
    (problem,) = read_coco(write_coco(tmp_path, data), masks=True).problems
    assert problem.kind == "apart"
    assert "of 12 boxes that were looked at are not around their outlines" in problem.message
    assert not read_coco(write_coco(tmp_path, data), masks=False).problems


def test_names_alone_may_be_counted_either_way(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not tell whether their ids count from 0 or from 1"):
        read_coco(write_coco(tmp_path, content(categories=list("abcdefghij"))))


PLACEHOLDER = {"id": 0, "name": "animals", "supercategory": "none"}


BACKGROUND = {"id": 0, "name": "_background_"}  # as labelme's converter writes it


@pytest.mark.parametrize("first", [PLACEHOLDER, BACKGROUND, {"id": 0, "name": None}, {"id": 0, "name": " "}, None])
def test_placeholders_are_no_classes(tmp_path: Path, first: Any) -> None:
    others = [one | {"supercategory": "Animals"} for one in content()["categories"]]
    split = read_coco(write_coco(tmp_path, content(categories=[first, *others])))
    assert (split.classes, split.category_ids) == (("cat", "dog"), (2, 7))
    assert split.targets(1)["labels"].tolist() == [1, 0]
    assert "placeholder" in {problem.kind for problem in split.problems}
    assert "placeholder" in split.notes[0]


def test_groups_with_objects_and_plain_empty_classes_stay(tmp_path: Path) -> None:
    others = [one | {"supercategory": "animals"} for one in content()["categories"]]
    used = changed(category_id=0) | {"categories": [PLACEHOLDER, *others]}
    assert read_coco(write_coco(tmp_path, used)).classes == ("animals", "cat", "dog")
    empty = content(categories=[{"id": 1, "name": "emu"}, *others])
    split = read_coco(write_coco(tmp_path, empty))
    assert (split.classes, split.problems) == (("emu", "cat", "dog"), ())


@pytest.mark.parametrize(("first", "shift"), [(1, -1), (0, 1)])
def test_shifted_ids(tmp_path: Path, first: int, shift: int) -> None:
    data = many(LAYOUTS["xywh"])
    data["categories"] = [{"id": first + number, "name": name} for number, name in enumerate("abc")]
    for number, record in enumerate(data["annotations"]):
        record["category_id"] = first + number % 3 + shift
    (problem,) = read_coco(write_coco(tmp_path, data)).problems
    assert (problem.kind, problem.dropped, problem.count) == ("category-shift", True, 4)
    assert f"count them from {first + shift}" in problem.message


def test_ids_with_other_names_beside(tmp_path: Path) -> None:
    data = content()
    for record in data["annotations"]:
        record["category_name"] = "Dog " if record["category_id"] == 7 else "cat"
    assert not read_coco(write_coco(tmp_path, data)).problems
    data["annotations"][1]["category_id"] = 7
    (problem,) = read_coco(write_coco(tmp_path, data)).problems
    assert problem.kind == "category-shift"
    assert "1 of 3 have another name" in problem.message
    assert "annotations[1] has category_name 'cat' and category_id 7, which is 'dog'" in problem.message


def test_classes_are_matched_in_spite_of_capitals_and_blanks(tmp_path: Path) -> None:
    data = content(categories=[{"id": 7, "name": "Dog "}, {"id": 2, "name": "CAT"}])
    split = read_coco(write_coco(tmp_path, data), classes=["dog", "cat"])
    assert split.targets(1)["labels"].tolist() == [0, 1]
    assert split.category_ids == (7, 2)
    (problem,) = split.problems
    assert (problem.kind, problem.count) == ("category-name", 2)
    both = content(categories=[{"id": 7, "name": "Dog"}, {"id": 2, "name": "dog"}])
    with pytest.raises(UserError, match="Dog"):
        read_coco(write_coco(tmp_path, both), classes=["DOG", "cat"])


#: File names -> the file that is meant.
NAMES = {
    "../../a.png": "a.png",
    "C:\\Users\\me\\a.png": "a.png",
    "/data/upload/3/a.png": "a.png",
    "/data/upload/3/0123abcd-a.png": "a.png",
    "/data/local-files/?d=pictures/a.png": "a.png",
    "http://localhost:8080/data/upload/1/a.png?x=1": "a.png",
    "images\\1/a.png": "a.png",
    "A.PNG": "a.png",
    "a": "a.png",
    "my%20cat%C3%A9.png": "my caté.png",
    "my cate\u0301.png": "my caté.png",
    "my caté.png": "my caté.png",
    "photo.jpeg": "photo.JPG",
}


@pytest.mark.parametrize("name", NAMES)
def test_near_names(tmp_path: Path, name: str) -> None:
    path = write_coco(tmp_path, changed(1, images=True, file_name=name))
    folder = tmp_path / "images/train"
    if NAMES[name] != "a.png":
        (folder / "a.png").rename(folder / NAMES[name])
    split = read_coco(path)
    assert split.path(1) == folder / NAMES[name]
    exact = name == NAMES[name]
    assert [problem.kind for problem in split.problems] == ([] if exact else ["picture-name"])
    if not exact:
        assert NAMES[name] in split.problems[0].message


def test_near_names_have_to_be_one(tmp_path: Path) -> None:
    path = write_coco(tmp_path, changed(1, images=True, file_name="/x/one/d.png"))
    folder = tmp_path / "images/train"
    for name in ("two", "three"):
        (folder / name).mkdir()
        (folder / name / "d.png").touch()
    assert [problem.kind for problem in read_coco(path).problems] == ["missing-file"]
    (folder / "one").mkdir()
    (folder / "one/d.png").touch()
    assert read_coco(path).path(1) == folder / "one/d.png"


def test_one_file_is_not_taken_for_two_names(tmp_path: Path) -> None:
    data = content()
    data["images"][0]["file_name"], data["images"][1]["file_name"] = "x/c.png", "y/c.png"
    with pytest.raises(UserError, match="2 of 3 are not there"):
        read_coco(write_coco(tmp_path, data))


def test_pictures_of_another_split_are_not_taken(tmp_path: Path) -> None:
    write_coco(tmp_path)
    path = write_coco(tmp_path, split="val", seed=1)
    for file in (tmp_path / "images/val").iterdir():
        file.unlink()
    (tmp_path / "images/val").rmdir()
    with pytest.raises(UserError, match="in none of"):
        find_coco(tmp_path, "val")
    with pytest.raises(UserError, match="in none of"):
        read_coco(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"id": 1, "annotations": [{"result": [{"from_name": "a"}]}], "data": {}}], "of Label Studio"),
        (content(annotations=[{"image_id": 10, "segments_info": []}]), "panoptic"),
        (content(annotations=[{"image_id": 10, "caption": "a dog"}]), "captions"),
    ],
)
def test_json_of_another_kind_is_named(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_coco(write_coco(tmp_path, data))
