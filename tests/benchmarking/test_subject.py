"""What a name or a file stands for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

import phonecv
from benchmarking.conftest import SIZE, Small
from conftest import TINY
from detect.detectors import settled, small
from phonecv.benchmarking import count_cost
from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.opening import open_subject
from phonecv.benchmarking.subject import network_subject
from phonecv.errors import UserError
from segment.tiny import tiny


def test_a_name_is_timed_in_deploy_form_with_fresh_settled_weights() -> None:
    found = open_subject("mobileone_s0", size=64)
    assert (found.name, found.form, found.size) == ("mobileone_s0", "deploy", (64, 64))
    assert found.macs == count_cost(phonecv.create_model("mobileone_s0", form="deploy"), 64).executed_macs
    assert any("fresh weights" in note for note in found.notes)
    assert any("was in training form" in note for note in found.notes)
    assert found.network is not None
    with torch.no_grad():
        logits = found.network(torch.randn(2, 3, 64, 64))
    assert 1e-3 < logits.abs().max() < 1e3
    assert not found.network.training


def test_fresh_weights_are_the_same_every_time_and_leave_the_callers_numbers_alone() -> None:
    torch.manual_seed(7)
    one = open_subject("mobileone_s0", size=64)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), drawn)
    other = open_subject("mobileone_s0", size=64)
    assert one.network is not None
    assert other.network is not None
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_training_form_only_when_asked_for(mobileone: Small) -> None:
    assert open_subject(str(mobileone.checkpoint)).form == "deploy"
    found = open_subject(str(mobileone.checkpoint), form="training")
    assert found.form == "training"
    assert found.notes == ()
    assert isinstance(found.network, nn.Module)
    assert any(isinstance(module, nn.BatchNorm2d) for module in found.network.modules())


def test_a_deploy_file_has_no_way_back(mobileone: Small, tmp_path: Path) -> None:
    path = phonecv.save_checkpoint(mobileone.network, tmp_path / "deploy.safetensors")
    assert open_subject(str(path)).notes == ()
    with pytest.raises(UserError, match="in deploy form already"):
        open_subject(str(path), form="training")


@pytest.mark.parametrize("architecture", ["ssdlite320", "retinanet_fpn", "segformer"])
def test_of_detectors_and_segmenters_the_raw_network_is_timed(tmp_path: Path, architecture: str) -> None:
    model: Any
    if architecture == "segformer":
        model, size = tiny(architecture, "mobileone_s0"), (64, 85)
    else:
        model = settled(small(architecture, "mobileone_s0"))
        size = (96, 96) if architecture == "ssdlite320" else (64, 96)
    path = phonecv.save_checkpoint(model, tmp_path / "dense.safetensors")
    found = open_subject(str(path))
    assert (found.name, found.form, found.size) == ("dense", "deploy", size)
    assert any("backbone and heads are timed" in note for note in found.notes)
    assert found.network is not None
    with torch.no_grad():
        batch = torch.randn(2, 3, *size)
        outputs = found.network(batch)
        wanted: Any = model.network(batch)
    wanted = wanted[:1] if architecture == "segformer" else [level for part in wanted for level in part]
    for one, other in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert found.macs == count_cost(found.network, size).executed_macs
    assert open_subject(str(path), form="training").form == "training"


@pytest.mark.slow
def test_an_exported_file_tells_its_form_and_size(mobileone: Small, tmp_path: Path) -> None:
    phonecv.export(mobileone.checkpoint, tmp_path / "signs.onnx")
    found = open_subject(str(tmp_path / "signs.onnx"))
    assert (found.name, found.form, found.size, found.batch) == ("signs", "deploy", (SIZE, SIZE), None)
    assert found.macs == count_cost(mobileone.network, SIZE).executed_macs
    with pytest.raises(UserError, match=f"takes {SIZE}x{SIZE} pixels, not 64x64"):
        open_subject(str(tmp_path / "signs.onnx"), size=64)
    with pytest.raises(UserError, match="holds the deploy form"):
        open_subject(str(tmp_path / "signs.onnx"), form="training")


@pytest.mark.long
@pytest.mark.slow
def test_a_file_exported_in_training_form_is_refused_unless_asked_for(mobileone: Small, tmp_path: Path) -> None:
    phonecv.export(mobileone.checkpoint, tmp_path / "branches.onnx", form="training")
    with pytest.raises(UserError, match="exported in training form; export it again"):
        open_subject(str(tmp_path / "branches.onnx"))
    assert open_subject(str(tmp_path / "branches.onnx"), form="training").form == "training"


def test_a_foreign_file_is_taken_as_it_is(mobileone: Small, tmp_path: Path) -> None:
    shutil.copy(mobileone.int8, tmp_path / "foreign.onnx")
    model = onnx.load(tmp_path / "foreign.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "foreign.onnx")
    found = open_subject(str(tmp_path / "foreign.onnx"))
    assert (found.form, found.precision, found.batch) == ("unknown", "int8", 4)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("mobilone_s0", "did you mean 'mobileone_s0'"),
        ("missing.safetensors", "there is no file 'missing.safetensors'"),
        ("missing.onnx", "there is no file 'missing.onnx'"),
        ("folder/missing", "there is no file"),
        (".", "is a folder"),
    ],
)
def test_what_is_not_there(source: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_subject(source)


def test_a_foreign_network_needs_a_size() -> None:
    with pytest.raises(UserError, match="input size must be given"):
        network_subject(nn.Conv2d(3, 4, 3), name="conv", form="deploy")
    assert network_subject(nn.Conv2d(3, 4, 3), name="conv", form="deploy", size=10).macs == 4 * 27 * 64


@pytest.mark.parametrize("name", list(TINY))
def test_settled_networks_react_to_every_picture_alike(name: str) -> None:
    """Neither overflow nor vanishing, for fine and for coarse pictures; and norms keep their momentum."""
    network = phonecv.create_model(name, num_classes=10, **TINY[name])
    momenta = [m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    settle(network, size=64)
    assert momenta == [m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    coarse = nn.functional.interpolate(torch.randn(4, 3, 4, 4), size=(64, 64), mode="bilinear")
    with torch.no_grad():
        fine, smooth = network(torch.randn(4, 3, 64, 64)), network(coarse)
    for logits in (fine, smooth):
        assert torch.isfinite(logits).all()
        assert 1e-3 < logits.std() < 1e3
    assert not network.training
