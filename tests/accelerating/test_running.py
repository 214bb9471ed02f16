"""Evaluating and predicting in a faster runtime: the same answers, and only where it pays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import phonecv
from classify.test_evaluate import coloured_folder, tiny_model
from opened import open_classifier
from phonecv.accelerating import running
from phonecv.benchmarking.runtimes import RUNTIMES
from phonecv.errors import UserError

pytestmark = pytest.mark.skipif(bool(RUNTIMES["openvino"].missing()), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHONECV_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def network() -> Any:
    network = tiny_model(4)
    network.class_names = tuple(f"class{number}" for number in range(4))
    return network


def test_counts_are_the_same_in_every_runtime(network: Any, folder: Path) -> None:
    plain, fast = (phonecv.evaluate(network, folder, runtime=name) for name in ("eager", "openvino"))
    assert (fast.top1, fast.top5, fast.count) == (plain.top1, plain.top5, plain.count)
    for one, other in zip(plain.images, fast.images, strict=True):
        assert one.path == other.path
        assert abs(one.true_probability - other.true_probability) < 1e-4
    assert "PyTorch" in plain.model
    assert "OpenVINO" in fast.model
    assert fast.details["runtime"].startswith("OpenVINO")


def test_auto_takes_it_where_it_pays_and_says_so(network: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = phonecv.evaluate(network, folder)
    assert "PyTorch" in few.model
    assert not few.notes
    monkeypatch.setattr(running, "FEW", 1)
    monkeypatch.setattr(running, "_seconds", lambda placed: 0.5)
    many = phonecv.evaluate(network, folder)
    assert "OpenVINO" in many.model
    assert (many.top1, many.count) == (few.top1, few.count)
    (note,) = many.notes
    assert "instead of 500.0" in note
    assert "pays from" in note
    said = [one.labels[0] for one in phonecv.predict(network, folder)]
    assert said == [one.labels[0] for one in phonecv.predict(network, folder, runtime="eager")]
    # Measured by now: a picture takes a moment, and the start can never be had back.
    monkeypatch.setattr(running, "_seconds", lambda placed: 0.0)
    assert "PyTorch" in phonecv.evaluate(network, folder).model
    monkeypatch.setattr(running, "_expected", lambda *_: (100.0, 0.1))
    monkeypatch.setattr(running, "_seconds", lambda placed: 0.2)
    slow = phonecv.evaluate(network, folder)
    assert "PyTorch" in slow.model
    assert "pays for its start from about 1000 pictures on" in slow.notes[0]


def test_what_has_a_runtime_already_is_not_given_another(network: Any, folder: Path) -> None:
    with pytest.raises(UserError, match="is an exported file, with a runtime of its own"):
        running.check_runtime("openvino", folder / "net.onnx", "none")
    with pytest.raises(UserError, match="open already"):
        phonecv.evaluate(open_classifier(network), folder, runtime="openvino")
    with pytest.raises(UserError, match="has no fp16"):
        phonecv.evaluate(network, folder, runtime="openvino", amp="fp16")
    with pytest.raises(UserError, match="unknown runtime 'fast'"):
        phonecv.predict(network, folder, runtime="fast")
    fast = phonecv.accelerate(network, runtime="openvino")
    assert "OpenVINO" in phonecv.evaluate(fast, folder).model
    assert torch.get_num_threads() == 1
