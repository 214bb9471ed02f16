"""What the formats leave open: each convention that is taken, with its right value, and that it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.foreign import scene
from data.foreign.scene import CAT, DOG
from data.picture_files import noise
from phonecv.data.audit import audit
from phonecv.data.coco.reader import CocoReading
from phonecv.data.foreign.label_studio import brush
from phonecv.errors import UserError

Boxes = list[tuple[str, list[float]]]


def boxes_of(folder: Path, files: scene.Files, **more: Any) -> tuple[Boxes, str]:
    split = scene.read(scene.write(folder, {"images/a.png": "", **files}), **more)
    return scene.objects(split).get("a.png", []), scene.told(split)


def yolo(folder: Path, lines: str | bytes, names: str = "cat\ndog\n") -> tuple[Boxes, str]:
    return boxes_of(folder, {"classes.txt": names, "labels/a.txt": lines})


# ------------------------------------------------------------------------------------------------------------- YOLO


def test_yolo_lines(tmp_path: Path) -> None:
    """Boxes and outlines may be mixed; what is neither is left out with its line, and the rest is read."""
    lines = "\ufeff0 .25 .5 .25 .5\r\n\r\n1 .5 .125 1 .125 1 .625 .5 .625\r\n1 .5 .5 .1 .1 .9\r\n"
    lines += "0 .5 .5\r\ncat .5 .5 .1 .1\r\n0 .5 x .1 .1\r\n"
    found, told = yolo(tmp_path, lines)
    assert found == [CAT, DOG]
    assert "labels/a.txt:4: 6 numbers" in told
    assert "score of a detection" in told
    for line in (4, 5, 6, 7):
        assert f"labels/a.txt:{line}: " in told


def test_yolo_names_of_uploads(tmp_path: Path) -> None:
    """Label Studio exports labels without pictures, under the names that the uploads got."""
    scene.write(tmp_path, {"images/a.png": "", "labels/0123abcd-a.txt": scene.YOLO, "classes.txt": "cat\ndog\n"})
    assert scene.objects(scene.read(tmp_path)) == {"a.png": [CAT, DOG]}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_yolo_encodings(tmp_path: Path, encoding: str) -> None:
    assert yolo(tmp_path, scene.YOLO.encode(encoding))[0] == [CAT, DOG]


def test_yolo_classes(tmp_path: Path) -> None:
    """The order of the file decides, numbers without a name are told, and names are never sorted."""
    found, told = yolo(tmp_path / "order", "1 .25 .5 .25 .5\n0 .75 .375 .5 .5\n", "dog\ncat\n")
    assert found == [CAT, DOG]
    found, told = yolo(tmp_path / "range", "0 .25 .5 .25 .5\n5 .75 .375 .5 .5\n")
    assert found == [CAT]
    assert "labels/a.txt:2: category_id 5 is not among the 2 categories" in told
    found, told = yolo(tmp_path / "one", "1 .25 .5 .25 .5\n2 .75 .375 .5 .5\n")
    assert "categories from 0 to 1" in told
    found, told = boxes_of(tmp_path / "none", {"labels/a.txt": scene.YOLO})
    assert [name for name, _ in found] == ["0", "1"]
    assert "called by their numbers" in told
    table = "train: images\nnames: {1: dog, 0: cat}\n"
    assert boxes_of(tmp_path / "table", {"data.yaml": table, "labels/a.txt": scene.YOLO})[0] == [CAT, DOG]
    words = "train: images\nnames: [no, yes]\n"  # truth values elsewhere in YAML
    found, _ = boxes_of(tmp_path / "words", {"data.yaml": words, "labels/a.txt": scene.YOLO})
    assert [name for name, _ in found] == ["no", "yes"]


def test_yolo_pixels_are_suspected(tmp_path: Path) -> None:
    lines = "0 16 24 16 24\n1 48 18 32 24\n" * 2
    with pytest.raises(UserError, match=r"written as cxcywh, not cxcywh_shares.*detect.boxes=cxcywh"):
        yolo(tmp_path, lines)
    split = scene.read(tmp_path, reading=CocoReading(boxes="cxcywh"))
    assert sorted(scene.objects(split)["a.png"]) == [CAT, CAT, DOG, DOG]


def test_yolo_key_points(tmp_path: Path) -> None:
    """A box with key points is as long as an outline; ``kpt_shape`` tells which it is."""
    lines = "0 .25 .5 .25 .5 .1 .2 2 .3 .4 2\n"
    found, told = boxes_of(
        tmp_path, {"data.yaml": "train: images\nkpt_shape: [2, 3]\nnames: [cat]\n", "labels/a.txt": lines}
    )
    assert found == [CAT]
    assert "key points" in told


def test_yolo_names_of_pictures(tmp_path: Path) -> None:
    """Blanks, accents, capitals in endings and in folders; a label file serves its own picture alone."""
    scene.write(tmp_path, {
        "data.yaml": "train: Images/train\nnames: [cat, dog]\n",
        "Images/train/x/my photo é.JPG": "", "Images/train/y/1.png": "", "Images/train/1.png": "",
        "Labels/train/x/my photo é.txt": scene.YOLO, "Labels/train/y/1.txt": "0 .25 .5 .25 .5",
        "Labels/train/lost.txt": "0 .5 .5 .1 .1\n",
    })  # fmt: skip
    split = scene.read(tmp_path)
    found = {
        image.path.relative_to(tmp_path).as_posix(): len(split.targets(place)["labels"])
        for place, image in enumerate(split.images)
    }
    assert found == {"Images/train/1.png": 0, "Images/train/x/my photo é.JPG": 2, "Images/train/y/1.png": 1}
    assert "Labels/train/lost.txt: is a label file without a picture" in scene.told(split)


def test_yolo_turned_pictures(tmp_path: Path) -> None:
    """Shares are those of the picture as it is shown; the setting says otherwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    noise((48, 64)).save(tmp_path / "images/a.jpg", exif=exif)  # shown as 64 x 48
    scene.write(tmp_path, {"classes.txt": "cat\ndog\n", "labels/a.txt": scene.YOLO})
    assert scene.objects(scene.read(tmp_path))["a.jpg"] == [CAT, DOG]
    stored = scene.objects(scene.read(tmp_path, reading=CocoReading(stored=True)))["a.jpg"]
    # The cat as stored is 6..18, 16..48; a quarter turn clockwise: x is 64 - y, y is x.
    assert stored[0] == ("cat", [16.0, 6.0, 48.0, 18.0])


# -------------------------------------------------------------------------------------------------------------- VOC


def voc(folder: Path, text: str | bytes) -> tuple[Boxes, str]:
    return boxes_of(folder, {"Annotations/a.xml": text})


def test_voc_counts_from_one_unless_it_can_not(tmp_path: Path) -> None:
    found, told = voc(tmp_path / "one", scene.voc(("cat", (1, 1, 64, 48))))
    assert found == [("cat", [0.0, 0.0, 64.0, 48.0])]
    assert "counted from 1" in told
    found, told = voc(tmp_path / "zero", scene.voc(("cat", (8, 12, 24, 36)), ("dog", (0, 6, 64, 30))))
    assert found == [CAT, ("dog", [0.0, 6.0, 64.0, 30.0])]
    assert "edges counted from 0" in told
    found, told = voc(tmp_path / "fractions", scene.voc(("cat", (8.5, 12, 24, 36))))
    assert found == [("cat", [8.5, 12.0, 24.0, 36.0])]
    # What holds for one file holds for all of them, whatever the split.
    files = {"train/a.xml": scene.VOC, "train/a.png": "", "valid/b.png": "",
             "valid/b.xml": scene.voc(("cat", (0, 0, 9, 9)), filename="b.png")}  # fmt: skip
    scene.write(tmp_path / "both", files)
    assert scene.objects(scene.read(tmp_path / "both"))["a.png"][0] == ("cat", [9.0, 13.0, 24.0, 36.0])


def test_voc_as_cvat_writes_it(tmp_path: Path) -> None:
    """A decimal point is none of VOC's own, also where nothing follows it."""
    assert voc(tmp_path, scene.voc(("cat", ("8.0", "12.0", "24.0", "36.0"))))[0] == [CAT]


def test_voc_objects(tmp_path: Path) -> None:
    """Difficult ones are crowds; parts are no objects; what has no box is told."""
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    text = scene.voc(("cat", scene.VOC_CAT), extra="<difficult>1</difficult>" + part).replace(
        "</annotation>", "<object><name>dog</name></object><object><name> </name></object></annotation>"
    )
    scene.write(tmp_path, {"Annotations/a.xml": text, "JPEGImages/a.png": ""})
    split = scene.read(tmp_path)
    target = split.targets(0)
    assert target["crowd"].tolist() == [True]
    assert split.classes == ("cat",)
    assert "is difficult" in scene.told(split)
    assert "a.xml object 2: has no bndbox" in scene.told(split)
    assert "CVAT" not in scene.told(split)


def test_voc_files(tmp_path: Path) -> None:
    """The name of the XML counts before the one in it; damaged ones leave out their picture, as it is without one."""
    wrong = scene.voc(("cat", scene.VOC_CAT), ("dog", scene.VOC_DOG), filename="IMG_0001.JPG")
    latin = '<?xml version="1.0" encoding="ISO-8859-1"?>\n' + scene.voc(("häher", scene.VOC_CAT), filename="c.png")
    scene.write(tmp_path, {
        "Annotations/a.xml": "\ufeff" + wrong.replace("\n", "\r\n"), "Annotations/b.xml": "<annotation><object>",
        "Annotations/c.xml": latin.encode("latin-1"), "Annotations/e.xml": "",
        "JPEGImages/a.PNG": "", "JPEGImages/b.png": "", "JPEGImages/c.png": "", "JPEGImages/d.png": "",
    })  # fmt: skip
    split = scene.read(tmp_path)
    assert scene.objects(split) == {"a.PNG": [CAT, DOG], "c.png": [("häher", CAT[1])]}
    assert "b.xml: not XML" in scene.told(split)
    assert "picture JPEGImages/d.png: has no XML" in scene.told(split)


def test_labelmes_own_xml(tmp_path: Path) -> None:
    points = "".join(f"<pt><x>{x}.00</x><y>{y}.00</y></pt>" for x, y in ((32, 6), (64, 6), (64, 30), (32, 30)))
    text = "".join(
        f"<object><name>dog</name><deleted>{deleted}</deleted><polygon>{points}</polygon></object>"
        for deleted in (0, 1)
    )
    assert voc(tmp_path, f"<annotation><filename>a.png</filename>{text}</annotation>")[0] == [DOG]


def test_voc_turned_boxes(tmp_path: Path) -> None:
    turned = "<robndbox><cx>32</cx><cy>24</cy><w>20</w><h>10</h><angle>1.5707963267948966</angle></robndbox>"
    text = f"<annotation><filename>a.png</filename><object><name>cat</name>{turned}</object></annotation>"
    found, told = voc(tmp_path, text)
    np.testing.assert_allclose(found[0][1], [27, 14, 37, 34])
    assert "the upright box around it" in told


# ------------------------------------------------------------------------------------------------------------- CVAT


def test_cvat_shapes(tmp_path: Path) -> None:
    """Boxes turned around their centre, masks in rows of a part of the picture, ellipses; lines are no objects."""
    shapes = (
        '<box label="cat" xtl="22" ytl="19" xbr="42" ybr="29" rotation="90.0" z_order="1"/>',
        '<mask label="dog" rle="1, 2, 1, 4" left="8" top="12" width="4" height="2" z_order="0"/>',
        '<ellipse label="cat" cx="20" cy="20" rx="8" ry="4"/>',
        '<polyline label="cat" points="1,1;2,2"/><points label="cat" points="3,3"/><tag label="dog"/>',
        '<mask label="dog" rle="1, 2" left="8" top="12" width="4" height="2"/>',
    )
    files = {"annotations.xml": scene.cvat(scene.cvat_picture("a.png", *shapes))}
    split = scene.read(scene.write(tmp_path, {"images/a.png": "", **files}), masks=True)
    found = dict(
        zip(
            [split.classes[label] for label in split.targets(0)["labels"].tolist()],
            split.targets(0)["boxes"],
            strict=True,
        )
    )
    assert split.classes == ("dog", "cat")  # as the project lists them
    assert [name for name, _ in scene.objects(split)["a.png"]] == ["cat", "cat", "dog"]
    np.testing.assert_allclose(scene.objects(split)["a.png"][1][1], [27, 14, 37, 34], atol=1e-5)
    np.testing.assert_allclose(scene.objects(split)["a.png"][0][1], [12, 16, 28, 24], atol=1e-5)
    mask = split.targets(0)["masks"][split.targets(0)["labels"].tolist().index(0)].numpy()
    expected = np.zeros((48, 64), dtype=bool)
    expected[12, 9:11] = expected[13, 8:12] = True
    assert np.array_equal(mask, expected)
    assert found["dog"].tolist() == [8, 12, 12, 14]
    told = scene.told(split)
    assert "is a polyline" in told
    assert "is a mask without the numbers of one" in told


def test_cvat_films(tmp_path: Path) -> None:
    track = (
        '<track id="0" label="cat"><box frame="0" outside="0" xtl="8" ytl="12" xbr="24" ybr="36"/>'
        '<box frame="1" outside="1" xtl="8" ytl="12" xbr="24" ybr="36"/></track>'
    )
    meta = "<meta><task><original_size><width>64</width><height>48</height></original_size></task></meta>"
    text = f"<annotations><version>1.1</version>{meta}{track}</annotations>"
    scene.write(tmp_path, {"annotations.xml": text, "images/frame_000000.PNG": "", "images/frame_000001.PNG": ""})
    assert list(scene.objects(scene.read(tmp_path)).values()) == [[CAT]]


def test_cvat_films_without_their_pictures(tmp_path: Path) -> None:
    track = '<track label="cat"><box frame="0" outside="0" xtl="8" ytl="12" xbr="24" ybr="36"/></track>'
    scene.write(tmp_path, {"annotations.xml": f"<annotations><version>1.1</version>{track}</annotations>", "x.png": ""})
    with pytest.raises(UserError, match="ffmpeg -i FILM"):
        scene.read(tmp_path)
    assert "ffmpeg" in audit(tmp_path).errors[0].message


# ----------------------------------------------------------------------------------------------------- Label Studio


def studio(folder: Path, *tasks: Any) -> tuple[Boxes, str]:
    return boxes_of(folder, {"project.json": json.dumps(list(tasks))})


def test_studio_turned_boxes(tmp_path: Path) -> None:
    """A box is turned around its left upper corner, in pixels: here by a quarter, and its width goes down."""
    turned = scene.region("cat", "rectanglelabels", x=50, y=25, width=25, height=25, rotation=90)
    found, told = studio(tmp_path, scene.task("a.png", turned))
    np.testing.assert_allclose(found[0][1], [20, 12, 32, 28], atol=1e-5)
    assert "is turned" in told


def test_studio_annotations(tmp_path: Path) -> None:
    """Cancelled annotations and predictions never count, and of several the last one does."""
    cancelled = scene.task("b.png", scene.STUDIO_CAT, was_cancelled=True)
    later = scene.task("a.png", scene.STUDIO_DOG, updated_at="2024-02-01")
    earlier = {"id": 0, "result": [scene.STUDIO_CAT], "updated_at": "2024-01-01"}
    later["annotations"].insert(1, earlier)
    later["predictions"] = [{"result": [scene.STUDIO_CAT]}]
    waiting = {"id": 3, "data": {"image": "c.png"}, "annotations": [], "predictions": [{"result": [scene.STUDIO_CAT]}]}
    scene.write(tmp_path, {"images/b.png": "", "images/c.png": ""})
    split_boxes, told = studio(tmp_path, cancelled, later, waiting)
    assert split_boxes == [DOG]
    assert "is cancelled; its picture is left out" in told
    assert "is not annotated" in told
    assert "several times" in told
    assert set(scene.objects(scene.read(tmp_path))) == {"a.png"}


@pytest.mark.parametrize(
    "name",
    ["/data/upload/1/0123abcd-my%20photo.png", "/data/local-files/?d=pets/my%20photo.png", "s3://bucket/x/my photo.png",
     "C:\\pets\\my photo.png", "http://localhost:8080/data/upload/1/my%20photo.png?token=1"],
)  # fmt: skip
def test_studio_names(tmp_path: Path, name: str) -> None:
    scene.write(tmp_path, {"images/my photo.png": "", "p.json": json.dumps([scene.task(name, scene.STUDIO_CAT)])})
    assert scene.objects(scene.read(tmp_path)) == {"my photo.png": [CAT]}


def test_studio_plain_regions(tmp_path: Path) -> None:
    """Shape and labels in two results of one id; several labels; a picture that was turned in the tool."""
    shape = scene.STUDIO_CAT | {
        "type": "rectangle",
        "id": "r",
        "value": {"x": 12.5, "y": 25, "width": 25, "height": 50},
    }
    labels = shape | {"type": "labels", "value": shape["value"] | {"labels": ["cat", "pet"]}}
    found, told = studio(tmp_path / "two", scene.task("a.png", shape, labels))
    assert found == [CAT]
    found, told = studio(
        tmp_path / "turned", scene.task("a.png", scene.STUDIO_CAT | {"image_rotation": 90}, scene.STUDIO_DOG)
    )
    assert found == [DOG]
    assert "was turned in Label Studio" in told


def bits(*parts: tuple[int, int]) -> list[int]:
    """Numbers of so many bits, one after the other, as bytes."""
    text = "".join(f"{value:0{count}b}" for value, count in parts)
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


def test_studio_brush() -> None:
    """Two pixels: the first drawn, the second not; written once as a run and once value by value."""
    head = [(8, 32), (7, 5), (2, 4), (3, 4), (7, 4), (15, 4)]
    run = [(1, 1), (0, 2), (3, 3), (255, 8), (1, 1), (0, 2), (3, 3), (0, 8)]
    apart = [(0, 1), (0, 2), (7, 3), *[(255, 8)] * 4, *[(0, 8)] * 4]
    for body in (run, apart):
        mask = brush(bits(*head, *body), 2, 1)
        assert mask is not None
        assert mask.tolist() == [[True, False]]
    assert brush(bits(*head, *run), 3, 1) is None
    assert brush(bits(*head), 2, 1) is None
    assert brush("x", 2, 1) is None


# -------------------------------------------------------------------------------------------------- CSV, VIA, others


def test_csv_ways(tmp_path: Path) -> None:
    """Semicolons, quotes, Windows paths and line ends, rows without a box or a class."""
    text = 'path;xmin;ymin;xmax;ymax;label\r\n"C:\\pets\\a.png";8;12;24;36;cat\r\na.png;32;6;64;30;dog\r\n'
    text += "b.png;;;;;\r\na.png;1;2;3;4;\r\n"
    scene.write(tmp_path, {"images/b.png": ""})
    found, told = boxes_of(tmp_path, {"boxes.csv": text})
    assert "boxes.csv:5: has no class" in told
    assert found[0][0] in ("cat", "dog")


SHARES = '"[0.125, 0.25, 0.25, 0.5]"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"image,bbox,label\na.png,{SHARES},cat\n", "cat"),
        ("filename,x_center,y_center,width,height,class\na.png,.25,.5,.25,.5,cat\n", "cat"),
        ("image,cx,cy,w,h,label\na.png,16,24,16,24,cat\n", "cat"),
        ("a.png,8,12,24,36,cat,64,48\n", "cat"),
        ("Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path\n64,48,8,12,24,36,20,x/a.png\n", "20"),
        ("Filename;Annotation tag;Upper left corner X;Upper left corner Y;Lower right corner X;Lower right corner Y\n"
         "a.png;cat;8;12;24;36\n", "cat"),
    ],
    ids=["shares in one cell", "centre", "centre in pixels", "sku-110k", "gtsrb", "lisa"],
)  # fmt: skip
def test_csv_columns(tmp_path: Path, text: str, expected: str) -> None:
    assert boxes_of(tmp_path, {"boxes.csv": text})[0] == [(expected, CAT[1])]


def test_csv_of_open_images(tmp_path: Path) -> None:
    """Classes have names in a list of their own, and groups are crowds."""
    text = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n"
    text += "a,/m/01yrx,.125,.375,.25,.75,0\na,/m/0bt9lr,.5,1,.125,.625,1\n"
    names = "LabelName,DisplayName\n/m/01yrx,cat\n/m/0bt9lr,dog\n"
    found, told = boxes_of(tmp_path, {"train.csv": text, "class-descriptions-boxable.csv": names})
    assert found == [CAT, DOG]
    assert scene.read(tmp_path).targets(0)["crowd"].tolist() == [False, True]
    assert "is a group" in told


def test_csv_numbers_as_classes(tmp_path: Path) -> None:
    files = {"annotations.csv": "images/a.png,8,12,24,36,1\n", "classes.csv": "dog,0\ncat,1\n"}
    assert boxes_of(tmp_path, files)[0] == [CAT]


def test_via_attributes(tmp_path: Path) -> None:
    """The attribute that is called like a class, the only one, or ticked; else all are objects."""
    rect = {"name": "rect", "x": 8, "y": 12, "width": 16, "height": 24}
    for given, expected in (
        ({"colour": "red", "type": "cat"}, "cat"),
        ({"what": "cat"}, "cat"), ({"kind": {"cat": True}}, "cat"), ({}, "object"),
    ):  # fmt: skip
        folder = tmp_path / str(given)
        one = {
            "a": {"filename": "a.png", "size": 1, "regions": [{"shape_attributes": rect, "region_attributes": given}]}
        }
        assert boxes_of(folder, {"via.json": json.dumps(one)})[0] == [(expected, CAT[1])]


def test_classes_that_look_alike_are_told(tmp_path: Path) -> None:
    found, told = voc(tmp_path, scene.voc(("Cat", scene.VOC_CAT), ("cat ", scene.VOC_DOG)))
    assert [name for name, _ in found] == ["Cat", "cat"]
    assert "look like one" in told


# --------------------------------------------------------------------------------------------- where the pictures lie


def test_each_file_has_its_own_folder(tmp_path: Path) -> None:
    """Two exports whose pictures have the same names: none gets the boxes of the other."""
    files = {
        "one/annotations.xml": scene.cvat(scene.cvat_picture("a.png", scene.CVAT_CAT)), "one/images/a.png": "",
        "two/annotations.xml": scene.cvat(scene.cvat_picture("a.png", scene.CVAT_DOG)), "two/images/a.png": "",
    }  # fmt: skip
    split = scene.read(scene.write(tmp_path, files))
    found = [(split.images.name(place), split.targets(place, masks=False)["boxes"].tolist()) for place in range(2)]
    assert found == [("one/images/a.png", [CAT[1]]), ("two/images/a.png", [DOG[1]])]
    assert "picture" not in scene.told(split)


def test_uploads_in_folders_of_splits(tmp_path: Path) -> None:
    """Splits number their pictures alike, so a name without folders means those of its own file."""
    files: dict[str, str | bytes] = {
        "val/p.json": json.dumps([scene.task("/data/upload/1/89efcdab-a.png", scene.STUDIO_DOG)])
    }
    files |= {
        "train/p.json": scene.STUDIO,
        **{f"{split}/images/{name}.png": "" for split in ("train", "val") for name in "ab"},
    }
    scene.write(tmp_path, files)
    train, val = scene.read(tmp_path), scene.read(tmp_path, "val")
    assert sorted(train.images.name(place) for place in range(2)) == ["train/images/a.png", "train/images/b.png"]
    assert [val.images.name(place) for place in range(len(val))] == ["val/images/a.png"]
    assert scene.objects(val)["a.png"] == [DOG]


def test_voc_lists(tmp_path: Path) -> None:
    """What is listed and not there, and what is in no list, is told."""
    lists = {"ImageSets/Main/train.txt": "a\ngone\n", "ImageSets/Main/test.txt": "b"}
    files = {f"{folder}/{name}.{end}": text for name in "abc" for folder, end, text in (
        ("Annotations", "xml", scene.VOC), ("JPEGImages", "png", ""))}  # fmt: skip
    split = scene.read(scene.write(tmp_path, lists | files))
    assert scene.objects(split) == {"a.png": [CAT, DOG]}
    assert "gone.xml: can't be read" in scene.told(split)
    assert "1 more are of no split" in scene.told(split)


def test_lists_of_make_sense(tmp_path: Path) -> None:
    text = "cat,8,12,16,24,a.png,64,48\ndog,32,6,32,24,a.png,64,48\n"
    assert boxes_of(tmp_path, {"labels_pets.csv": text})[0] == [CAT, DOG]


def test_a_list_of_something_else_names_no_classes(tmp_path: Path) -> None:
    found, _ = boxes_of(tmp_path, {"Annotations/a.xml": scene.VOC, "labels.txt": "other\nthings\n"})
    assert found == [CAT, DOG]
    assert scene.read(tmp_path).classes == ("cat", "dog")


def test_yolo_splits_that_are_elsewhere(tmp_path: Path) -> None:
    """A split that the settings name in another place is the folder called so; lists may name pictures with blanks."""
    scene.write(tmp_path, {
        "data.yaml": "path: D:\\pets\ntrain: D:\\pets\\train.txt\nval: gone/val\nnames: [cat, dog]\n",
        "train.txt": "D:\\pets\\images\\a b.png\r\n", "images/a b.png": "", "labels/a b.txt": scene.YOLO,
        "valid/images/c.png": "", "valid/labels/c.txt": scene.YOLO,
    })  # fmt: skip
    assert scene.objects(scene.read(tmp_path)) == {"a b.png": [CAT, DOG]}
    val = scene.read(tmp_path, "val")
    assert scene.objects(val) == {"c.png": [CAT, DOG]}
    assert "val: gone/val is not here" in scene.told(val)
    assert audit(tmp_path).layouts == ("YOLO's label files (detect)",)
