"""Annotations of other tools, made on the spot as those tools write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.coco_files import coco_dir as coco_dir
from data.picture_files import noise
from phonecv.data.coco.reader import find_coco
from phonecv.data.folders.listing import read_split
from phonecv.data.foreign.layouts import foreign_layout
from phonecv.data.labelmaps.folders import find_labels
from phonecv.errors import UserError

VOC = "<annotation>\n <filename>a.png</filename><object><name>dog</name><bndbox><xmin>1</xmin></bndbox></object>"
CVAT = '<?xml version="1.0"?>\n<annotations><version>1.1</version><image id="0" name="a.png" width="64"></image>'
SHAPES = {"version": "5.0", "shapes": [{"label": "dog", "points": [[1, 2], [3, 4]]}], "imagePath": "a.png"}
STUDIO = [{"id": 1, "annotations": [{"result": [{"from_name": "label", "type": "rectanglelabels"}]}], "data": {}}]
CHOICES = [
    {"id": 1, "annotations": [{"result": [{"from_name": "kind", "type": "choices", "value": {"choices": ["dog"]}}]}]}
]
CREATE = [{"image": "a.png", "annotations": [{"label": "dog", "coordinates": {"x": 1, "y": 2, "width": 3}}]}]
VIA = {"a.png12": {"filename": "a.png", "regions": [{"shape_attributes": {"name": "rect", "x": 1}}]}}
SUPERVISELY = {"objects": [{"classTitle": "dog", "points": {"exterior": [[1, 2]]}}]}

#: Files of a folder, the first of which tells -> a piece of the name, and of the advice where it is not read.
CASES: dict[str, tuple[dict[str, str], str, str]] = {
    "ultralytics": ({"data.yaml": "train: images/train\nnames: {0: dog}\n", "images/train/a.png": "",
                     "labels/train/a.txt": "0 .5 .5 .1 .1\n"}, "YOLO", ""),
    "roboflow yolo": ({"data.yaml": "names: [dog]\nnc: 1\ntrain: ../train/images", "train/images/a.png": "",
                       "train/labels/a.txt": "0 0.5 0.5 0.1 0.1"}, "YOLO", ""),
    "yolo without yaml": ({"labels/train/a.txt": "3 0.5 0.5 0.1 1e-2\r\n", "images/train/a.png": ""}, "YOLO", ""),
    "yolo segments": ({"train/labels/a.txt": "0 .1 .1 .5 .1 .5 .5\n", "train/images/a.png": ""}, "YOLO", ""),
    "yolo lists": ({"data.yaml": "train: train.txt\nnames: [dog]\n", "images/train/a.png": "",
                    "labels/train/a.txt": "0 .5 .5 .1 .1\n", "train.txt": "./images/train/a.png\n"}, "YOLO", ""),
    "darknet": ({"train/_darknet.labels": "dog", "train/a.png": ""}, "YOLO", ""),
    "labelimg": ({"train/a.txt": "0 0.5 0.5 0.1 0.1\n", "train/a.png": "", "train/classes.txt": "dog"}, "YOLO", ""),
    "voc": ({"Annotations/a.xml": VOC, "JPEGImages/a.png": "", "ImageSets/Main/train.txt": "a"}, "VOC", ""),
    "voc devkit": ({"VOCdevkit/VOC2007/Annotations/a.xml": VOC, "VOCdevkit/VOC2007/JPEGImages/a.png": ""}, "VOC", ""),
    "roboflow voc": ({"train/a.xml": VOC, "train/a.png": ""}, "VOC", ""),
    "cvat": ({"annotations.xml": CVAT, "images/a.png": ""}, "CVAT", ""),
    "label studio": ({"project-1.json": json.dumps(STUDIO), "images/a.png": ""}, "Label Studio", ""),
    "via": ({"via_export_json.json": json.dumps(VIA), "a.png": ""}, "VIA", ""),
    "via csv": ({"via.csv": "filename,file_size,file_attributes,region_count\n", "a.png": ""}, "VIA", ""),
    "labelme": ({"train/a.json": json.dumps(SHAPES), "train/a.png": ""}, "labelme", ""),
    "createml": ({"train/_annotations.createml.json": json.dumps(CREATE), "train/a.png": ""}, "CreateML", ""),
    "box csv": ({"train/_annotations.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n", "train/a.png": ""},
                "CSV list of boxes", ""),
    "supervisely": ({"ds/ann/a.png.json": json.dumps(SUPERVISELY), "ds/img/a.png": ""}, "Supervisely", "COCO"),
    "vott": ({"vott.json": '{"assets": {"1": {"regions": [{"boundingBox": {"left": 1}}]}}}', "a.png": ""}, "VoTT",
             "CSV"),
    "labelbox": ({"export.ndjson": '{"data_row": {"id": "a.png"}, "projects": {"x": {}}}\n', "a.png": ""}, "Labelbox",
                 "COCO"),
    "superannotate": ({"annotations.json": '{"a.png": {"instances": [{"type": "bbox", "className": "dog"}]}}',
                       "a.png": ""}, "SuperAnnotate", "COCO"),
    "bdd100k": ({"labels.json": '[{"name": "a.png", "labels": [{"category": "car", "box2d": {"x1": 1}}]}]',
                 "images/a.png": ""}, "Scalabel", "to_coco"),
    "via 3": ({"via.json": '{"project": {"pid": "x"}, "file": {"1": {"fname": "a.png"}}, "metadata": {}}', "a.png": ""},
              "VIA 3", "COCO"),
    "records": ({"train/x.tfrecord": "?", "train/a.png": ""}, "TensorFlow", "COCO"),
    "studio choices": ({"project-1.json": json.dumps(CHOICES), "images/a.png": ""}, "Label Studio", "folder for each"),
    "studio table": ({"project-1.csv": 'annotation_id,image,label\n1,a.png,"[{""rectanglelabels"":[""dog""]}]"\n'},
                     "Label Studio's CSV", "JSON"),
    "datumaro": ({"annotations/default.json": '{"info": {}, "categories": {"label": {}}, "items": []}'}, "Datumaro",
                 "COCO"),
    "yolo keras": ({"train/_annotations.txt": "a.png 8,12,24,36,0 32,6,64,30,1\n", "train/a.png": ""}, "Keras", "COCO"),
    "utf-16": ({"project.json": json.dumps(STUDIO), "images/a.png": ""}, "Label Studio", ""),
}  # fmt: skip


def write(root: Path, files: dict[str, str], encoding: str = "utf-8") -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            noise().save(path)
        else:
            path.write_text(text, encoding=encoding)


@pytest.mark.parametrize("case", CASES)
def test_named_by_every_task(tmp_path: Path, case: str) -> None:
    files, name, advice = CASES[case]
    write(tmp_path, files, "utf-16" if case == "utf-16" else "utf-8")
    found = foreign_layout(tmp_path)
    assert found is not None
    assert found.evidence == tmp_path / next(iter(files))
    assert name in found.name
    assert advice in found.advice
    assert found.is_read == (not advice)
    tasks = (read_split, find_labels) if found.is_read else (find_coco, read_split, find_labels)
    for task in tasks:
        with pytest.raises(UserError, match=name) as caught:
            task(tmp_path, "train")
        assert "\n" not in str(caught.value)
        assert advice in str(caught.value)


def test_ours_is_not_foreign(coco_dir: Path, tmp_path: Path) -> None:
    assert foreign_layout(coco_dir) is None
    assert foreign_layout(tmp_path / "nowhere") is None
    folder = tmp_path / "classes"
    write(folder, {
        "train/cat/a.png": "", "train/dog/b.png": "", "val/cat/a.png": "", "val/dog/b.png": "",
        "train.txt": "train/cat/a.png 0\ntrain/dog/b.png 1\n", "train_index.txt": "0 1\n1 2\n",
        "README.yaml": "title: names of cats\n", "classes.txt": "0 cat\n1 dog\n", "info.json": '{"images": 4}',
        "sources.csv": "filename,licence\n",
    })  # fmt: skip
    assert foreign_layout(folder) is None


def test_class_folders_win(tmp_path: Path) -> None:
    """ImageNet and others have XML beside their class folders."""
    write(tmp_path, {"train/cat/a.png": "", "train/dog/b.png": "", "Annotations/a.xml": VOC})
    assert foreign_layout(tmp_path) is not None
    assert len(read_split(tmp_path, "train")) == 2


def test_many_files_take_no_time(tmp_path: Path) -> None:
    write(
        tmp_path, {f"train/{number:04}.dat": "x" for number in range(2000)} | {"train/_annotations.csv": "image,xmin\n"}
    )
    found = foreign_layout(tmp_path)
    assert found is not None
    assert found.evidence.name == "_annotations.csv"
