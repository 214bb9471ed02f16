"""Damaged records beside exported files, and manifests of bundles."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from fuzz.mutations import CASES, damaged, mutated, survive
from phonecv.bundles.manifest import verify
from phonecv.exporting.record import find_record, preprocessing_of
from phonecv.inspection import info


def written(rng: random.Random, value: Any) -> bytes:
    """JSON of a value, at times damaged blindly."""
    data = json.dumps(value).encode()
    return damaged(rng, data) if rng.random() < 0.25 else data


RECORD: dict[str, Any] = {
    "version": "0.1", "task": "classify", "model": "mobileone_s0", "form": "deploy", "num_classes": 3,
    "classes": ["a", "b", "c"], "input_size": [224, 224], "input_range": "normalised", "outputs": ["logits"],
    "decoded": False, "overrides": {}, "format": "executorch", "precision": "float32", "dynamic_batch": False,
    "preprocessing": {"size": 224, "crop": 0.875, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3},
    "checked": {"by": "phonecv", "difference": 1e-6}, "decoding": {"kind": "boxes"},
}  # fmt: skip


def test_records_of_exported_files(tmp_path: Path) -> None:
    path = tmp_path / "a.pte"
    path.write_bytes(b"")
    beside = tmp_path / "a.pte.json"

    def case(rng: random.Random) -> None:
        beside.write_bytes(written(rng, mutated(rng, RECORD)))
        described = info(str(path))
        assert [f"{name} {value}" for name, value in described.fields()]
        preprocessing_of(find_record(path))

    assert 0 < survive("exported record", case) < CASES


def test_manifests_of_bundles(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    (tmp_path / "a.onnx").write_bytes(b"a")
    original = {"bundle": "x", "models": [], "files": {"a.onnx": {"bytes": 1, "sha256": "0" * 64}}}

    def case(rng: random.Random) -> None:
        path.write_bytes(written(rng, mutated(rng, original)))
        verify(tmp_path)

    assert 0 < survive("manifest", case) < CASES
