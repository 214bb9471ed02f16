"""The same scene as every tool writes it gives the same records, with the boxes worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from data.foreign import scene
from data.foreign.scene import CAT, DOG
from phonecv.data.audit import audit
from phonecv.data.coco.paths import find_coco
from phonecv.errors import UserError

BOTH = [CAT, DOG]

#: Format -> files, name of the layout, and whether the picture without objects is known.
CASES: dict[str, tuple[scene.Files, str, bool]] = {
    "ultralytics": ({"data.yaml": "path: ../datasets/pets\ntrain: images/train\nval: images/val\n"
                                  "names:\n  0: cat\n  1: dog\n",
                     "images/train/a.png": "", "images/train/b.png": "", "labels/train/a.txt": scene.YOLO,
                     "images/val/c.png": ""}, "YOLO", True),
    "roboflow yolo": ({"data.yaml": "names: ['cat', 'dog']\nnc: 2\ntrain: ../train/images\nval: ../valid/images\n"
                                    "roboflow:\n  license: x\n",
                       "train/images/a.png": "", "train/images/b.png": "", "train/labels/a.txt": scene.YOLO_RINGS,
                       "train/labels/b.txt": "", "valid/images/c.png": "", "README.roboflow.txt": "x"}, "YOLO", True),
    "yolo of another machine": ({"data.yaml": "train: /content/pets/images/train\nval: C:\\pets\\images\\val\n"
                                              "names: [cat, dog]",
                                 "images/train/a.png": "", "images/train/b.png": "", "labels/train/a.txt": scene.YOLO,
                                 "images/val/c.png": ""}, "YOLO", True),
    "yolo lists": ({"data.yaml": "train: train.txt\nval: [val.txt]\nnames: [cat, dog]\n", "images/a.png": "",
                    "images/b.png": "",
                    "images/c.png": "",
                    "labels/a.txt": scene.YOLO, "train.txt": "./images/a.png\n/content/images/b.png\r\n",
                    "val.txt": "images\\c.png\n"}, "YOLO", True),
    "cvat yolo": ({"obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
                   "obj.names": "cat\ndog\n", "train.txt": "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n",
                   "obj_train_data/a.png": "", "obj_train_data/b.png": "", "obj_train_data/a.txt": scene.YOLO},
                   "YOLO", True),
    "label studio yolo": ({"classes.txt": "cat\ndog\n", "images/a.png": "", "images/b.png": "",
                           "labels/a.txt": scene.YOLO,
                           "notes.json": '{"categories": [{"id": 0, "name": "cat"}], "info": {}}'}, "YOLO", True),
    "darknet": ({"train/_darknet.labels": "cat\ndog", "train/a.png": "", "train/b.png": "", "train/a.txt": scene.YOLO,
                 "train/b.txt": ""}, "YOLO", True),
    "voc": ({"Annotations/a.xml": scene.VOC, "Annotations/b.xml": scene.VOC_EMPTY, "Annotations/c.xml": scene.VOC,
             "JPEGImages/a.png": "", "JPEGImages/b.png": "", "JPEGImages/c.png": "",
             "ImageSets/Main/train.txt": "a\nb\n", "ImageSets/Main/val.txt": "c  1\n",
             "ImageSets/Main/cat_train.txt": "a 1\nb -1\n"}, "VOC", True),
    "voc devkit": ({"VOCdevkit/VOC2007/Annotations/a.xml": scene.VOC, "VOCdevkit/VOC2007/JPEGImages/a.png": "",
                    "VOCdevkit/VOC2012/Annotations/b.xml": scene.VOC_EMPTY, "VOCdevkit/VOC2012/JPEGImages/b.png": "",
                    "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt": "a",
                    "VOCdevkit/VOC2012/ImageSets/Main/train.txt": "b"},
                   "VOC", True),
    "roboflow voc": ({"train/a.xml": scene.VOC, "train/a.png": "", "train/b.xml": scene.VOC_EMPTY, "train/b.png": "",
                      "valid/c.xml": scene.VOC, "valid/c.png": ""}, "VOC", True),
    "cvat": ({"annotations.xml": scene.cvat(scene.cvat_picture("a.png", scene.CVAT_CAT, scene.CVAT_DOG),
                                            scene.cvat_picture("b.png")), "images/a.png": "", "images/b.png": ""},
                                            "CVAT", True),
    "cvat subsets": ({"annotations.xml": scene.cvat(
        scene.cvat_picture("a.png", scene.CVAT_CAT, scene.CVAT_DOG, extra='subset="Train"'),
        scene.cvat_picture("b.png", extra='subset="train"'), scene.cvat_picture("c.png", extra='subset="Validation"')),
        "images/Train/a.png": "", "images/Train/b.png": "", "images/Validation/c.png": ""}, "CVAT", True),
    "label studio": ({"project-1-at-2024.json": scene.STUDIO, "images/a.png": "", "images/b.png": ""},
                      "Label Studio", True),
    "label studio min": ({"project-1.json": scene.STUDIO_MIN, "a.png": "", "b.png": ""}, "Label Studio", True),
    "via": ({"via_region_data.json": scene.VIA, "a.png": "", "b.png": ""}, "VIA", True),
    "via project": ({"train/via_project.json": scene.VIA_PROJECT, "train/a.png": "", "train/b.png": "",
                     "val/via_project.json": scene.VIA_PROJECT, "val/a.png": "", "val/b.png": ""}, "VIA", True),
    "via csv": ({"via.csv": scene.VIA_CSV, "a.png": "", "b.png": ""}, "VIA", True),
    "labelme": ({"train/a.json": scene.LABELME, "train/a.png": "",
                 "train/b.json": scene.LABELME_EMPTY, "train/b.png": ""},
                "labelme", True),
    "createml": ({"train/_annotations.createml.json": scene.CREATE_ML, "train/a.png": "", "train/b.png": ""},
                  "CreateML", True),
    "roboflow csv": ({"train/_annotations.csv": scene.BOX_CSV, "train/a.png": ""}, "CSV", False),
    "tensorflow csv": ({"train_labels.csv": scene.BOX_CSV, "images/a.png": ""}, "CSV", False),
    "retinanet": ({"annotations.csv": scene.RETINANET, "classes.csv": "cat,0\ndog,1\n", "a.png": "", "b.png": ""},
                   "CSV", True),
    "open images": ({"train.csv": scene.OPEN_IMAGES, "train/a.png": ""}, "CSV", False),
    "kitti": ({"training/label_2/a.txt": scene.KITTI, "training/image_2/a.png": "", "training/label_2/b.txt": "",
               "training/image_2/b.png": ""}, "KITTI", True),
    "tao": ({"labels/a.txt": scene.KITTI, "images/a.png": "", "labels/b.txt": "", "images/b.png": ""}, "KITTI", True),
    "kaggle": ({"train.csv": scene.KAGGLE, "train/a.png": ""}, "CSV", False),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_same_records(tmp_path: Path, case: str) -> None:
    files, name, empty = CASES[case]
    split = scene.read(scene.write(tmp_path, files))
    assert scene.objects(split) == {"a.png": BOTH} | ({"b.png": []} if empty else {})
    assert name in split.layout
    assert set(split.classes) == {"cat", "dog"}
    assert not [problem for problem in split.problems if problem.dropped]
    report = audit(tmp_path)
    assert [text for text in report.layouts if name in text and "(detect)" in text]
    assert not [one for one in report.errors if one.kind != "nothing"]  # the other splits are empty
    assert next(iter(report.splits.values()))["objects"] == 2


@pytest.mark.parametrize("case", ["cvat", "label studio", "roboflow yolo", "via", "labelme"])
def test_outlines(tmp_path: Path, case: str) -> None:
    """Where there are outlines they are masks; what has a box alone is told."""
    files, _, _ = CASES[case]
    split = scene.read(scene.write(tmp_path, files), masks=True)
    place = [image.path.name for image in split.images].index("a.png")
    target = split.targets(place)
    dog = target["labels"].tolist().index(split.classes.index("dog"))
    expected = torch.zeros(48, 64, dtype=torch.bool)
    expected[6:30, 32:64] = True
    assert torch.equal(target["masks"][dog], expected)
    assert len(target["labels"]) == (2 if case == "roboflow yolo" else 1)


def test_one_file(tmp_path: Path) -> None:
    """A file may be named instead of its folder."""
    scene.write(tmp_path, CASES["label studio"][0])
    report = audit(tmp_path / "project-1-at-2024.json")
    assert report.splits["all"]["objects"] == 2
    assert not [one for one in report.errors if one.kind != "nothing"]  # the other splits are empty
    scene.write(tmp_path / "yolo", CASES["ultralytics"][0])
    assert set(audit(tmp_path / "yolo" / "data.yaml").splits) == {"train", "val"}


def test_coco_beside_another_layout(tmp_path: Path) -> None:
    """The COCO file counts, and is looked over; of the other one it is said that it is not read."""
    sides = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}
    cat = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 12, 16, 24], "area": 384, "iscrowd": 0}
    coco = {"images": [sides], "annotations": [cat], "categories": [{"id": 1, "name": "cat"}]}
    scene.write(tmp_path, {"annotations/instances_default.json": json.dumps(coco), "images/a.png": "",
                           "classes.txt": "cat\ndog\n", "labels/a.txt": scene.YOLO})  # fmt: skip
    report = audit(tmp_path)
    assert report.splits["instances_default"]["objects"] == 1
    assert [one.message for one in report.findings if one.kind == "foreign"] == [
        "there is also YOLO's label files, which is not read beside it"
    ]


def test_a_share_of_the_training_pictures_is_told(tmp_path: Path) -> None:
    scene.write(tmp_path, {"data.yaml": "train: train/images\nnames: [cat, dog]\n", "train/images/a.png": "",
                           "train/labels/a.txt": scene.YOLO})  # fmt: skip
    assert [one.message for one in audit(tmp_path).findings if one.kind == "unsplit" and "of train out" in one.message]


def test_no_such_split(tmp_path: Path) -> None:
    scene.write(tmp_path / "whole", CASES["via"][0])
    with pytest.raises(UserError, match=r"VIA.* holds all pictures without a split"):
        find_coco(tmp_path / "whole", "train")
    scene.write(tmp_path / "train", CASES["darknet"][0])
    with pytest.raises(UserError, match=r"no split 'val' here; YOLO's label files of train"):
        find_coco(tmp_path / "train", "val")
