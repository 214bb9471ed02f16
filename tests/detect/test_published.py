"""The table of published rows against the reference texts it was taken from."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from phonecv.detect.architectures import ARCHITECTURES
from phonecv.detect.published import PUBLISHED, PublishedDetector
from phonecv.models.catalog import MODELS

NAMES = {
    "SSDLite": "ssdlite320",
    "SSDLite 300": "ssdlite300",
    "SSDLite 512": "ssdlite512",
    "RetinaNet": "retinanet_fpn",
    "Mask R-CNN": "mask_rcnn_fpn",
}


def test_rows_name_what_exists_and_each_once() -> None:
    assert len(PUBLISHED) == 22
    assert len({(row.architecture, row.backbone) for row in PUBLISHED}) == 22
    for row in PUBLISHED:
        assert row.architecture in ARCHITECTURES
        assert row.backbone in MODELS
        assert (row.mask is not None) == ARCHITECTURES[row.architecture].masks
        assert row.box.at50 > row.box.all > row.box.small
        assert ("frozen_stages" in row.overrides) == (not row.architecture.startswith("ssdlite"))


def test_published_costs_are_cut_not_rounded() -> None:
    for row in PUBLISHED:
        if row.counted.endswith("pictures"):
            continue
        digits = 0 if row.giga_flops >= 100 else 1
        cut = math.floor(row.giga_exact * 10**digits) / 10**digits
        exception = (row.architecture, row.backbone) == ("ssdlite320", "emo_1m")
        assert row.giga_flops == (0.6 if exception else pytest.approx(cut)), row


def test_equal_to_the_table(shared_dir: Path) -> None:
    text = (shared_dir / "spec" / "detection.md").read_text().split("## 6.")[1].split("## 7.")[0]
    lines = [line.strip("|") for line in text.splitlines() if line.startswith("| EMO")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert len(rows) == len(PUBLISHED)
    head = ""
    for row, cells in zip(PUBLISHED, rows, strict=True):
        backbone, _, kind = cells[0].partition(" ")
        head = kind or head
        assert row.architecture == NAMES[head]
        assert row.backbone == backbone.lower().replace("-", "_")
        box = row.box
        assert [box.all, box.at50, box.at75, box.small, box.medium, box.large] == [float(c) for c in cells[1:7]]
        assert row.parameters == int(cells[7].replace(",", ""))
        assert row.giga_flops == float(cells[8].removesuffix("G"))
    masks = re.search(r"Mask AP is in the logs only \(\*log\*\): (.*)\.", text)
    assert masks
    assert [float(part.split()[1]) for part in masks[1].split(", ")] == [row.mask for row in PUBLISHED if row.mask]


def test_equal_to_the_recomputed_counts(shared_dir: Path) -> None:
    counts = json.loads((shared_dir / "golden" / "detseg_counts.json").read_text())
    names = {"ssdlite": "ssdlite320", "retinanet": "retinanet_fpn", "maskrcnn": "mask_rcnn_fpn"}
    found = {}
    for entry in counts:
        backbone = f"emo{'v2' if entry['gen'] == 'v2' else ''}_{entry['size'].lower()}"
        found[names.get(entry["model"], entry["model"]), backbone] = entry
    for row in PUBLISHED:
        entry = found[row.architecture, row.backbone]
        assert entry["params"]["total"] == row.parameters
        assert entry["published"]["flops_G"] == row.giga_flops
        check_operations(row, entry)


def check_operations(row: PublishedDetector, entry: dict[str, Any]) -> None:
    reproduced = entry["reproduces"]
    if row.counted == "modules":
        assert reproduced["method"] == "hook"
        assert row.giga_exact == pytest.approx(reproduced["flops_G"], abs=6e-3)
        assert list(row.input_size) == reproduced["input"]
    elif row.counted == "operators":
        assert (row.operators, list(row.input_size)) == (reproduced["flops"], reproduced["input"])
    else:
        assert row.operators == entry["trace"]["800x1344"]
        low, high = reproduced["flops_G"]
        # Cut, with the one exception 169.8-170.0 that became 170.
        assert math.floor(low) <= row.giga_flops <= high
