"""A check that compared nothing says so: no objects, one class everywhere, outputs that do not vary."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import phonecv
from exporting.dense_files import busy
from exporting.fake_formats import fake
from exporting.small import tiny
from phonecv.bundles.records import difference_text
from phonecv.cli import main
from phonecv.detect import exporting as detect
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.comparing import unvaried
from phonecv.models import VisionModel
from phonecv.segment import exporting as segment

OBJECTS = ("boxes", "scores", "labels", "count")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda **options: monkeypatch.setitem(EXPORTERS, "fake", fake(**options))


def objects(*counts: int) -> list[np.ndarray]:
    shapes = ((4, 5, 4), (4, 5), (4, 5))
    return [*(np.zeros(shape, np.float32) for shape in shapes), np.array(counts, np.int32)]


def test_objects() -> None:
    none = objects(0, 0, 0, 0)
    assert "no object was found in any of 4 pictures" in detect.nothing_compared(OBJECTS, [none, none], [none, none])
    assert "--images" in detect.nothing_compared(OBJECTS, [none], [none])
    for wanted, got in ((objects(0, 1, 0, 0), none), (none, objects(0, 0, 0, 2))):
        assert detect.nothing_compared(OBJECTS, [none, wanted], [none, got]) == ""


def test_maps_of_classes() -> None:
    one, two = np.zeros((3, 8, 8), np.uint8), np.eye(8, dtype=np.uint8)[None].repeat(3, 0)
    assert "of one class" in segment.nothing_compared(("classes",), [[one]], [[one]])
    assert (
        segment.nothing_compared(("classes",), [[one]], [[two]])
        == segment.nothing_compared(("classes",), [[two]], [[two]])
        == ""
    )


@pytest.mark.parametrize(
    ("output", "still"),
    [
        (np.zeros((4, 7)), True),
        (np.arange(28.0).reshape(4, 7), False),
        (np.arange(7.0)[None].repeat(4, 0), True),  # not the pictures, only the classes differ
        (np.arange(28.0).reshape(4, 7) * 1e-11, True),
        (1e6 + np.arange(28.0).reshape(4, 7), True),
        (1e6 + 100 * np.arange(28.0).reshape(4, 7), False),
        (np.arange(7.0)[None], False),  # of one picture nothing more can be told
        (np.zeros((1, 7)), True),
    ],
)
def test_outputs_that_do_not_vary(output: np.ndarray, still: bool) -> None:
    values = output.astype(np.float32)
    moving = np.random.default_rng(0).standard_normal((len(values), 3)).astype(np.float32)
    found = unvaried(("moving", "logits"), [[moving, values]], [[moving, values]])
    assert bool(found) == still
    if still and len(values) > 1:
        assert found.startswith("logits of 4 pictures are all the same")


def constant(model: VisionModel) -> VisionModel:
    layer = model.get_classifier()
    assert isinstance(layer, nn.Linear)
    nn.init.normal_(layer.weight, std=1e-13)
    return model


def test_an_untrained_network_is_written_but_not_called_checked(
    tmp_path: Path, use: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    use()
    saved = phonecv.save_checkpoint(constant(tiny("mobileone_s0")), tmp_path / "m.safetensors")
    path = tmp_path / "m.fake"
    assert main(["export", str(saved), str(path), "--size", "64"]) == 0
    out = capsys.readouterr().out
    assert "none to tell: logits of 8 pictures are all the same" in out
    assert "of the largest output" not in out
    record = json.loads(path.with_name("m.fake.json").read_text())
    assert record["difference"] is None
    assert "all the same" in record["checked"]["remark"]
    assert difference_text(record) == "nothing to compare"
    assert main(["info", str(path)]) == 0
    assert "nothing to compare: logits" in capsys.readouterr().out
    # What differs too much is refused as ever, and that nothing varies is told with it.
    use(session="open_nan")
    assert main(["export", str(saved), str(path), "--size", "64", "--force"]) == 2
    refused = capsys.readouterr().err
    assert "is allowed (max_diff); logits of 8 pictures are all the same, as an untrained network's can be" in refused


def test_a_detector_that_finds_nothing(tmp_path: Path, use: Callable[..., None]) -> None:
    use()
    found = export(busy("ssdlite320", score_threshold=0.99999), tmp_path / "a.fake", decode="final")
    assert found.difference is None
    assert "no object was found in any of 8 pictures" in found.remark
    found = export(busy("ssdlite320"), tmp_path / "a.fake", decode="final")
    assert (found.difference, found.remark) == (0.0, "")


def test_a_trained_one_is_compared(tmp_path: Path, use: Callable[..., None]) -> None:
    use()
    torch.manual_seed(0)
    found = export(tiny("mobileone_s0"), tmp_path / "m.fake", size=64)
    assert (found.difference, found.agreement, found.remark) == (0.0, 1.0, "")
