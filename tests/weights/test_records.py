"""Records inside our own files that ask for what no file can hold: refused before anything large is built."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import phonecv
from phonecv.errors import UserError
from phonecv.inspection import info
from weights.helpers import TINY


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    models = {
        "classify": phonecv.create_model("emo_1m", num_classes=3, **TINY["emo_1m"]),
        "detect": phonecv.create_detector("retinanet_fpn", "emo_1m", num_classes=3, **TINY["emo_1m"]),
        "segment": phonecv.create_segmenter("deeplabv3", "emo_1m", num_classes=3, **TINY["emo_1m"]),
    }
    return {task: phonecv.save_checkpoint(model, folder / f"{task}.safetensors") for task, model in models.items()}


def altered(path: Path, target: Path, **changes: Any) -> Path:
    """A copy whose record differs; mappings are merged."""
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["phonecv"])
    for key, value in changes.items():
        record[key] = record[key] | value if isinstance(value, dict) else value
    save_file(load_file(path), target, {"phonecv": json.dumps(record)})
    return target


CASES: list[tuple[str, dict[str, Any]]] = [
    *(
        ("classify", {"overrides": change})
        for change in (
            {"depths": [256, 256, 256, 256]},
            {"depths": [64, 64, 64, 64]},
            {"depths": [0, 1, 2, 2]},
            {"depths": [-1, 1, 2, 2]},
            {"depths": [2**70, 1, 2, 2]},
            {"depths": [1, 1, 2, 2] * 100_000},
            {"depths": 3},
            {"depths": []},
            {"depths": ["a", 1, 2, 2]},
            {"depths": [[1], 1, 2, 2]},
            {"depths": [float("nan"), 1, 2, 2]},
            {"widths": [16384] * 4},
            {"widths": [0, 16, 24, 32]},
            {"exp_ratios": [64, 64, 64, 64]},
            {"exp_ratios": [0, 2, 2, 2]},
            {"head_dims": [8, 8, 0, 8]},
            {"head_dims": [8, 8, 7, 8]},
            {"stem_width": 0},
            {"stem_width": 16384},
            {"in_chans": 0},
            {"in_chans": None},
            {"drop_path": float("inf")},
            {"out_indices": [0, 99]},
            {"frozen_stages": 99},
        )
    ),
    ("classify", {"num_classes": 10**9}),
    ("classify", {"num_classes": 2**200}),
    ("classify", {"num_classes": -1}),
    ("classify", {"num_classes": True}),
    *(
        ("detect", change)
        for change in (
            {"overrides": {"depths": [256, 256, 256, 256]}},
            {"options": {"channels": 0}},
            {"options": {"channels": -1}},
            {"options": {"channels": 16384}},
            {"options": {"channels": [256]}},
            {"options": {"size": 0}},
            {"options": {"longest": "a"}},
            {"num_classes": 10**6},
            {"num_classes": 0},
            {"architecture": "retinanet"},
            {"architecture": "segformer"},
            {"model": "timm:resnet18"},
            {"model": "emo_9m"},
        )
    ),
    *(
        ("segment", change)
        for change in (
            {"options": {"channels": 0}},
            {"options": {"dilations": []}},
            {"options": {"dilations": [0]}},
            {"options": {"dilations": [1] * 256}},
            {"options": {"channels": 16384}},
            {"options": {"aux_channels": 0}},
            {"options": {"slide": {"crop": 0, "stride": 0}}},
            {"options": {"dropout": 2}},
            {"num_classes": 1},
        )
    ),
]


@pytest.mark.parametrize(("task", "changes"), CASES, ids=lambda value: json.dumps(value)[:40])
def test_what_no_file_can_hold_is_refused_in_no_time(
    task: str, changes: dict[str, Any], files: dict[str, Path], tmp_path: Path
) -> None:
    path = altered(files[task], tmp_path / "a.safetensors", **changes)
    start = time.process_time()
    with pytest.raises(UserError, match=r"a\.safetensors") as error:
        phonecv.load_checkpoint(None, path)
    assert len(str(error.value)) < 1200
    with suppress(UserError):
        assert info(str(path)).file is not None
    assert time.process_time() - start < 2.5


def test_the_files_themselves_load(files: dict[str, Path]) -> None:
    for task, path in files.items():
        assert getattr(phonecv.load_checkpoint(None, path), "task", "classify") == task


def test_classes_that_the_file_has_no_rows_for(tmp_path: Path) -> None:
    state = phonecv.create_model("emo_1m", num_classes=3).state_dict()
    state["head.bias"] = torch.zeros(900_000)
    state["head.weight"] = torch.zeros(900_000, 0)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="parameters, the file holds only"):
        phonecv.load_checkpoint("emo_1m", tmp_path / "a.safetensors")
