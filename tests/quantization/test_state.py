"""A prepared network in its file: it comes back as it was, and is not taken for a floating-point one."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

import phonecv
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.quantization.remedies import apply
from quantization.networks import images, small


@pytest.mark.parametrize(
    ("family", "remedies"),
    [("mobileone_s0", ["equalize", "relu6", "bias"]), ("emov2_1m", ["bias"]), ("mobileone_s0", ["equalize"])],
)
def test_saved_and_loaded(family: str, remedies: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepared = apply(small(family), remedies, images())
    path = phonecv.save_checkpoint(prepared, tmp_path / "prepared.safetensors")
    with caplog.at_level(logging.WARNING, "phonecv"):
        loaded = phonecv.load_checkpoint(None, path)
    assert ("was prepared for int8" in caplog.text) == ("bias" in remedies)
    assert loaded.quantization == prepared.quantization
    with torch.no_grad():
        assert torch.equal(loaded(images(2)), prepared(images(2)))
    again = phonecv.fuse(loaded)
    assert again.quantization == prepared.quantization


def test_ordinary_files_say_nothing_of_it(tmp_path: Path) -> None:
    path = phonecv.save_checkpoint(small(), tmp_path / "plain.safetensors")
    assert "quantization" not in json.loads(path.with_suffix(".json").read_text())
    assert phonecv.load_checkpoint(None, path).quantization == {}


def test_a_prepared_network_is_not_written_in_float(tmp_path: Path) -> None:
    prepared = apply(small(), ["bias"], images())
    with pytest.raises(UserError, match=r"prepared for int8 \(bias\) and gives wrong numbers as float32"):
        export(prepared, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="layout 'apple' cannot say"):
        phonecv.save_checkpoint(prepared, tmp_path / "x.pth", layout="apple")


def test_a_record_that_lies_is_refused(tmp_path: Path) -> None:
    prepared = apply(small(), ["bias"], images())
    prepared.quantization["biases"] = ["stage9.conv"]
    path = phonecv.save_checkpoint(prepared, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match=r"gives a bias to 'stage9\.conv'"):
        phonecv.load_checkpoint(None, path)
    prepared.quantization["biases"] = 7
    path = phonecv.save_checkpoint(prepared, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match=r"its record: 'quantization\.biases' is 7"):
        phonecv.load_checkpoint(None, path)


def test_ordinary_weights_do_not_go_into_a_prepared_network(tmp_path: Path) -> None:
    path = phonecv.save_checkpoint(small(), tmp_path / "plain.safetensors")
    with pytest.raises(UserError, match="is prepared for int8 and"):
        phonecv.load_checkpoint(apply(small(), ["relu6"], images()), path)
