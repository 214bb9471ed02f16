"""A real data set in two layouts holds the same objects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.foreign import scene
from phonecv.data.audit import audit

FIELD = Path(os.environ.get("PHONECV_SHARED", "/nowhere")) / "field/dense"


@pytest.mark.skipif(not FIELD.is_dir(), reason="needs the cases from the field")
@pytest.mark.parametrize("split", ["train", "val"])
def test_voc_is_what_coco_is(split: str) -> None:
    assert scene.objects(scene.read(FIELD / "det_voc", split)) == scene.objects(scene.read(FIELD / "plain", split))
    report = audit(FIELD / "det_voc", quick=True)
    assert report.layouts == ("Pascal VOC's XML (detect)",)
    assert not report.errors
