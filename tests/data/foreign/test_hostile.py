"""Files that were made or damaged to do harm: refused in one line, within a second, and nothing outside is touched."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from data.foreign import scene
from phonecv.data.audit import audit
from phonecv.data.foreign.reading import read_table, read_text, read_xml
from phonecv.errors import UserError

BOMB = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + place)} "{f"&{chr(97 + place)};" * 10}">' for place in range(9)
) + "]>"  # fmt: skip
HOSTILE = {
    "bomb": BOMB + "<annotation><filename>&j;</filename></annotation>",
    "outside": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
    "parameter": '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://localhost/x">%x;]><annotation/>',
    "skipped": '<!DOCTYPE a SYSTEM "x.dtd"><annotation><filename>&x;</filename></annotation>',
    "deep": "<annotation>" + "<a>" * 100_000,
    "cut": scene.VOC[:200],
    "nothing": "",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_xml(tmp_path: Path, case: str) -> None:
    (tmp_path / "a.xml").write_text(HOSTILE[case])
    started = time.perf_counter()
    with pytest.raises(UserError) as caught:
        read_xml(tmp_path / "a.xml")
    assert time.perf_counter() - started < 1
    assert "\n" not in str(caught.value)
    assert "root:" not in str(caught.value)


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for data in (b"\xff\xfe0", b"caf\xe9", b"\xff\xff"):
        path.write_bytes(data)
        with pytest.raises(UserError, match="text"):
            read_text(path)
    path.write_bytes(b'"' + b"x" * 200_000)
    with pytest.raises(UserError, match="not CSV"):
        read_table(path)
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(UserError, match="at most"):
        read_text(path)


@pytest.mark.parametrize(
    "files",
    [
        {"data.yaml": "train: ../../../../etc\nval: /etc\npath: /\nnames: [cat]\n", "labels/a.txt": "0 .5 .5 .1 .1"},
        {"data.yaml": "train: {a: [1, {}]}\nnames: 7\n", "labels/a.txt": "0 .5 .5 .1 .1"},
        {"data.yaml": "- train: x\nnames: [cat]\n", "labels/a.txt": "0 .5 .5 .1 .1"},
        {"classes.txt": "cat", "labels/a.txt": "0 nan inf 1e999 -1\n" + "9" * 400 + " 1 1 1 1\n0 .5 .5 .1 .1\n"},
        {"train.txt": "/etc/passwd.png\n../../secret.png\n\n", "labels/a.txt": "0 .5 .5 .1 .1\n"},
        {"Annotations/a.xml": scene.voc(("cat", (1, 2, "x", "1e400")), size=(10**9, 10**9))},
        {"Annotations/a.xml": scene.VOC.replace("a.png", "../../../etc/passwd")},
        {"annotations.xml": scene.cvat(scene.cvat_picture(
            "../../a.png", '<mask label="cat" rle="99999999999999999999" left="0" top="0" width="64" height="48"/>',
            '<mask label="cat" rle="-5,10" left="-1" top="0" width="5" height="1"/><box/><polygon points="1,2;x"/>'))},
        {"p.json": json.dumps([None, 7, {"annotations": 5}, {"data": {"image": ["x"]}, "annotations": [{"result": [
            {"value": {"rle": [1] * 99, "brushlabels": ["x"]}, "original_width": 10**9, "original_height": 10**9},
            {"value": {"x": "1", "width": None, "rectanglelabels": [7]}}, 5]}]}, scene.task("/etc/passwd.png"),
            {"id": {}, "data": {"image": "../a.png"}, "annotations": [{"result": "x"}, None]}])},
        {"via.json": json.dumps({"_via_img_metadata": {"a": 5, "b": {"filename": "../a.png", "regions": {"0": 7, "1": {
            "shape_attributes": {"name": "polygon", "all_points_x": [1, "x"], "all_points_y": 5}}}}}})},
        {"boxes.csv": "filename,xmin,ymin,xmax,ymax,class\n../../a.png,1,2\na.png,x,nan,1e999,4,cat\n,,,,,\n"},
        {"a.json": json.dumps({"version": "5", "flags": {}, "shapes": [7, {"points": [[1], 5], "label": {}}],
                               "imagePath": "../x.png", "imageWidth": "x"})},
        {"x.createml.json": json.dumps([{"image": "../a.png", "annotations": [{"coordinates": {"x": 1}}, 7]}, 5])},
    ],
    ids=lambda files: next(iter(files)),
)  # fmt: skip
def test_folders(tmp_path: Path, files: scene.Files) -> None:
    """An audit ends with findings; training is refused or reads what is good; no path leaves the folder."""
    (tmp_path / "a.png").write_bytes(b"")
    root = scene.write(tmp_path / "x" / "data", {"images/a.png": "", **files})
    report = audit(root)
    assert report.findings
    assert "etc/" not in " ".join(place for place in report.splits)
    try:
        split = scene.read(root)
    except UserError:
        return
    assert all(path.is_relative_to(root) for path in (split.path(index) for index in range(len(split))))
