"""Networks that take anything but one batch of pictures: several named tensors, or clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import phonecv
from mixing.network import CLASSES, FRAMES, SIZE, STEPS, Clips, Mixer
from phonecv.exporting.formats import EXPORTERS
from phonecv.exporting.opening import open_session
from phonecv.task import TASKS, Task

NETWORKS = {"mixer": Mixer, "clips": Clips}


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "mix", Task("mix", "a mixer", "mixing"))


def network(name: str) -> Mixer | Clips:
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def rows(name: str, count: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(1)
    if name == "clips":
        return (random.normal(size=(count, 3, FRAMES, SIZE, SIZE)).astype(np.float32),)
    return (
        random.normal(size=(count, 4, SIZE, SIZE)).astype(np.float32),
        random.uniform(0, STEPS - 1, count).astype(np.float32),
        random.integers(0, CLASSES + 1, count, dtype=np.int32),
    )


def check(name: str, format: str, folder: Path, **options: object) -> Path:
    """Write, run on rows that the export did not see, and look at the record and what the app is tested with."""
    if EXPORTERS[format].missing():
        pytest.skip(f"{format} is not installed")
    made = network(name)
    result = phonecv.export(made, folder / f"net{EXPORTERS[format].suffix}", **options)  # type: ignore[arg-type]
    assert result.difference is not None
    given = rows(name, 3)
    with torch.inference_mode():
        wanted = made(*map(torch.from_numpy, given)).numpy()
    session = open_session(result.path)
    np.testing.assert_allclose(session(*given)[0], wanted, rtol=1e-3, atol=1e-4)
    record = json.loads(result.record.read_text())
    assert session.record.get("inputs", record["inputs"]) == record["inputs"]
    held = load_file(folder / record["test"]["inputs"])
    (found,) = session(*(held[one["name"]] for one in record["inputs"]))
    (expected,) = record["test"]["outputs"].values()
    np.testing.assert_allclose(found.ravel(), expected["values"], rtol=1e-3, atol=1e-4)
    return result.path


@pytest.mark.parametrize("format", ["onnx", "pt2", "openvino", "litert", "coreml", "executorch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_files_agree(name: str, format: str, tmp_path: Path) -> None:
    check(name, format, tmp_path)
