"""One scene as each tool writes it: ``a.png``, 64 x 48 pixels, has a cat and a dog, ``b.png`` of that size has nothing.

The boxes in pixels, edges counted from 0, are in `CAT` and `DOG`; all other numbers here were worked out by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.picture_files import noise
from phonecv.data.coco.paths import find_coco, undivided
from phonecv.data.coco.reader import CocoReading, CocoSplit, read_coco

Files = Mapping[str, str | bytes]

SIZE = (64, 48)
CAT, DOG = ("cat", [8.0, 12.0, 24.0, 36.0]), ("dog", [32.0, 6.0, 64.0, 30.0])

YOLO = "0 .25 .5 .25 .5\n1 .75 .375 .5 .5\n"
YOLO_RINGS = "0 .125 .25 .375 .25 .375 .75 .125 .75\n1 .5 .125 1 .125 1 .625 .5 .625\n"

#: As VOC counts: pixels from 1, the last one taken in.
VOC_CAT, VOC_DOG = (9, 13, 24, 36), (33, 7, 64, 30)


def voc(*objects: tuple[str, Any], filename: str = "a.png", extra: str = "", size: tuple[int, int] = SIZE) -> str:
    """An XML file of Pascal VOC."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    rows = (
        f"<object><name>{name}</name>{extra}<bndbox>"
        + "".join(f"<{key}>{value}</{key}>" for key, value in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for name, box in objects
    )
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>\n<folder>x</folder><filename>{filename}</filename>{sides}{''.join(rows)}\n</annotation>"


VOC = voc(("cat", VOC_CAT), ("dog", VOC_DOG))
VOC_EMPTY = voc(filename="b.png")


def cvat(*pictures: str) -> str:
    """An XML file of CVAT."""
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("dog", "cat"))
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    inner = f"<version>1.1</version>{meta}{''.join(pictures)}"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n{inner}</annotations>'


def cvat_picture(name: str, *shapes: str, extra: str = "") -> str:
    """A picture in it."""
    return f'<image id="0" name="{name}" width="64" height="48" {extra}>{"".join(shapes)}</image>'


CVAT_CAT = '<box label="cat" occluded="0" xtl="8.00" ytl="12.00" xbr="24.00" ybr="36.00" z_order="0"></box>'
CVAT_DOG = '<polygon label="dog" points="32.00,6.00;64.00,6.00;64.00,30.00;32.00,30.00" z_order="0"></polygon>'


def region(label: str, kind: str, **value: Any) -> dict[str, Any]:
    """A region of Label Studio."""
    return {
        "id": label, "from_name": "label", "to_name": "image", "type": kind, "original_width": 64,
        "original_height": 48, "image_rotation": 0, "value": value | {kind: [label]},
    }  # fmt: skip


STUDIO_CAT = region("cat", "rectanglelabels", x=12.5, y=25, width=25, height=50, rotation=0)
STUDIO_DOG = region("dog", "polygonlabels", points=[[50, 12.5], [100, 12.5], [100, 62.5], [50, 62.5]], closed=True)


def task(picture: str, *results: Any, **more: Any) -> dict[str, Any]:
    """A task of Label Studio with one annotation."""
    return {"id": 1, "data": {"image": picture}, "annotations": [{"id": 1, "result": list(results)} | more]}


STUDIO = json.dumps(
    [task("/data/upload/1/0123abcd-a.png", STUDIO_CAT, STUDIO_DOG), task("/data/upload/1/89efcdab-b.png")]
)
STUDIO_MIN = json.dumps([
    {"id": 1, "image": "/data/upload/1/0123abcd-a.png", "annotator": 1, "lead_time": 2.5, "label": [
        {"original_width": 64, "original_height": 48} | shape["value"] for shape in (STUDIO_CAT, STUDIO_DOG)]},
    {"id": 2, "image": "/data/upload/1/89efcdab-b.png", "annotator": 1},
])  # fmt: skip

_VIA_REGIONS = [
    {"shape_attributes": {"name": "rect", "x": 8, "y": 12, "width": 16, "height": 24},
     "region_attributes": {"class": "cat"}},
    {"shape_attributes": {"name": "polygon", "all_points_x": [32, 64, 64, 32], "all_points_y": [6, 6, 30, 30]},
     "region_attributes": {"class": "dog"}},
]  # fmt: skip
_VIA_FILES = {
    "a.png123": {"filename": "a.png", "size": 123, "regions": _VIA_REGIONS, "file_attributes": {}},
    "b.png456": {"filename": "b.png", "size": 456, "regions": [], "file_attributes": {}},
}
VIA = json.dumps(_VIA_FILES)
VIA_PROJECT = json.dumps({"_via_settings": {}, "_via_img_metadata": _VIA_FILES, "_via_attributes": {}})


def _cell(value: Any) -> str:
    return '"' + json.dumps(value).replace('"', '""') + '"'


_VIA_COLUMNS = "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
VIA_CSV = _VIA_COLUMNS + "".join(
    f'a.png,123,"{{}}",2,{place},{_cell(one["shape_attributes"])},{_cell(one["region_attributes"])}\n'
    for place, one in enumerate(_VIA_REGIONS)
) + 'b.png,456,"{}",0,0,"{}","{}"\n'  # fmt: skip

LABELME = json.dumps({"version": "5.0", "flags": {}, "shapes": [
    {"label": "cat", "points": [[24, 36], [8, 12]], "shape_type": "rectangle"},
    {"label": "dog", "points": [[32, 6], [64, 6], [64, 30], [32, 30]], "shape_type": "polygon"},
], "imagePath": "a.png", "imageData": "AAAA", "imageHeight": 48, "imageWidth": 64})  # fmt: skip
LABELME_EMPTY = json.dumps({"version": "5.0", "flags": {}, "shapes": [], "imagePath": "b.png", "imageData": None,
                            "imageHeight": 48, "imageWidth": 64})  # fmt: skip
CREATE_ML = json.dumps([
    {"image": "a.png", "annotations": [
        {"label": "cat", "coordinates": {"x": 16, "y": 24, "width": 16, "height": 24}},
        {"label": "dog", "coordinates": {"x": 48, "y": 18, "width": 32, "height": 24}}]},
    {"image": "b.png", "annotations": []},
])  # fmt: skip
BOX_CSV = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,64,48,cat,8,12,24,36\na.png,64,48,dog,32,6,64,30\n"
_KITTI_REST = "0.00 0.00 0.00 0.00 0.00 0.00 0.00"
KITTI = f"cat 0.00 0 0.00 8.00 12.00 24.00 36.00 {_KITTI_REST}\ndog 0 0 0 32 6 64 30 {_KITTI_REST}\n"
KITTI += f"DontCare -1 -1 -10 1 2 3 4 {_KITTI_REST}\n"
RETINANET = "a.png,8,12,24,36,cat\na.png,32,6,64,30,dog\nb.png,,,,,\n"
OPEN_IMAGES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\na,x,cat,1,.125,.375,.25,.75\na,x,dog,1,.5,1,.125,.625\n"
)
KAGGLE = (
    'image_id,width,height,bbox,source,label\na,64,48,"[8.0, 12.0, 16.0, 24]",x,cat\na,64,48,"[32, 6, 32, 24]",x,dog\n'
)


def write(root: Path, files: Files) -> Path:
    """Files of a folder; what is called ``.png`` or the like is a picture, of another look each time."""
    for place, (name, text) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg", ".jpeg") and not text:
            noise(SIZE, place).save(path)
        elif isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(text, encoding="utf-8")
    return root


def read(root: Path, split: str = "train", *, masks: bool = False, reading: CocoReading | None = None) -> CocoSplit:
    """A split of a folder, or all of one that has none."""
    paths = undivided(root) or find_coco(root, split)
    return read_coco(paths, masks=masks, reading=reading or CocoReading())


def objects(split: CocoSplit) -> dict[str, list[tuple[str, list[float]]]]:
    """Classes and boxes (corners, pixels) by the name of the picture, its folders left out."""
    found = {}
    for index, image in enumerate(split.images):
        target = split.targets(index, masks=False)
        names = [split.classes[label] for label in target["labels"].tolist()]
        found[image.path.name] = sorted(zip(names, target["boxes"].tolist(), strict=True))
    return found


def told(split: CocoSplit) -> str:
    """All that is said of a split."""
    return "\n".join(map(str, split.problems))
