"""Fine-tuning is the last method: not tried where an earlier one holds the budget, and gone where it is not wanted."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from phonecv.classify.quantizing import AnswersScore, ClassifyWorkshop, score
from phonecv.classify.quantizing_data import split_data
from phonecv.errors import UserError
from phonecv.exporting.ranges import Int8Settings
from phonecv.models import VisionModel
from phonecv.quantization import correct_biases, quantize, remedies
from phonecv.quantization.layers import layer, links_of, scale_link
from phonecv.quantization.methods import (
    BIAS,
    METHODS,
    RANGES_MINMAX,
    RELU6_TUNED,
    TUNED,
    Method,
    methods_for,
)
from phonecv.quantization.qat import FineTuning, fine_tune
from phonecv.quantization.remedies import apply
from phonecv.quantization.scoring import Score
from phonecv.quantization.simulation import input_ranges, simulate
from quantization.networks import coloured, images, small, told_apart

#: The same with ranges that span everything, where one channel ruins all others.
COARSE = (
    RANGES_MINMAX,
    Method("extremes, bias", ("bias",), RANGES_MINMAX.settings),
    Method("extremes, bias, fine-tuning", ("bias", "qat"), RANGES_MINMAX.settings),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured(tmp_path_factory.mktemp("fine-tuning") / "photos", 40, 0)


def coarsened(network: VisionModel, every: int, factor: float) -> VisionModel:
    """The same function with an enormous channel behind some layers, which leaves few of 256 steps to the others."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for link in links_of(network)[::every]:
            divisor = torch.ones(layer(network, link.first).weight.shape[0])
            divisor[0] = 1 / factor
            scale_link(network, link, divisor)
    return network


@pytest.fixture(scope="module")
def network(data: Path) -> VisionModel:
    return told_apart(data)


@pytest.fixture(scope="module")
def coarse(network: VisionModel) -> VisionModel:
    return coarsened(network, 1, 30)


def test_it_is_the_last_method_of_every_int8_format() -> None:
    for format in METHODS:
        chain, emo = (methods_for(format, "int8", small(name)) for name in ("mobileone_s0", "emo_1m"))
        assert [method.name for method in chain if method.fine_tunes] == [RELU6_TUNED.name] == [chain[-1].name]
        assert [method.name for method in emo if method.fine_tunes] == [TUNED.name] == [emo[-1].name]
        without = methods_for(format, "int8", small(), fine_tune=False)
        assert without == chain[:-1]
    assert methods_for("openvino", "int8", small())[-1].settings["bias"] == "none"  # ours is corrected already
    assert not any(method.fine_tunes for method in methods_for("onnx", "int8-weights", small()))


def test_it_runs_where_the_others_miss_the_budget(
    coarse: VisionModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real, if short, training between scripted scores; the file is the trained network's."""
    right = [80, 85, 90]

    def judge(self: Any, path: Path, pictures: Any, reference: Any) -> Score:
        count = right.pop(0)
        return AnswersScore(
            count=100, right=count, float_right=90, same=count, drop=90.0 - count, standard_error=1.0, decibels=20.0
        )

    monkeypatch.setattr(ClassifyWorkshop, "judge", judge)
    said: list[str] = []
    result = quantize(
        coarse, tmp_path, formats=["onnx"], data=data, stem="x", methods=COARSE, fine_tune_steps=10, say=said.append
    )  # fmt: skip
    found = result.formats["onnx"]
    assert [trial.method for trial in found.trials] == [method.name for method in COARSE]
    assert found.chosen is found.trials[2]
    assert found.trials[2].fine_tuning["loss_after"] < found.trials[2].fine_tuning["loss_before"]
    assert said[0].startswith("fine-tuning: 10 steps of 16 pictures will take about ")
    record = json.loads((tmp_path / "x-int8.onnx.json").read_text())
    assert record["quantization"]["remedies"] == ["bias", "qat"]
    assert record["quantization"]["qat"]["steps"] == 10
    written = json.loads((tmp_path / "x-int8.quantize.json").read_text())
    assert written["formats"]["onnx"]["trials"][2]["fine_tuning"]["kept"]
    assert "fine_tuning" not in written["formats"]["onnx"]["trials"][1]


@pytest.mark.long
@pytest.mark.slow
def test_it_takes_noise_out_of_a_coarse_network(network: VisionModel, data: Path) -> None:
    """In played int8, on pictures that it did not see."""
    coarse, settings = coarsened(network, 2, 100), Int8Settings()
    calibration, choosing = split_data(data, coarse)
    seen, unseen = calibration.tensor(), choosing.tensor()
    corrected = correct_biases(coarse, seen, settings)
    tuned = fine_tune(corrected, seen, teacher=coarse, settings=settings)

    @torch.no_grad()
    def decibels(network: VisionModel) -> float:
        played = simulate(network, input_ranges(network, seen, settings))
        return score(coarse(unseen), played(unseen), choosing.labels).decibels

    assert decibels(corrected) < 5  # coarse indeed
    assert decibels(tuned) > decibels(corrected) + 0.7


def test_it_sees_the_calibration_pictures_alone(
    coarse: VisionModel, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration, choosing = split_data(data, coarse)
    seen: list[torch.Tensor] = []

    def fine_tune(network: Any, pictures: torch.Tensor, **more: Any) -> Any:
        seen.append(pictures)
        done = copy.deepcopy(network)
        done.quantization = {**done.quantization, "qat": {"kept": True, "steps": 1}}
        return done

    monkeypatch.setattr(remedies, "fine_tune", fine_tune)
    workshop = ClassifyWorkshop(coarse, calibration, choosing)
    for method in (TUNED, replace(TUNED, name="in another format"), RELU6_TUNED):
        workshop.prepared(method)
    assert len(seen) == 2  # formats with the same settings share one network
    assert all(torch.equal(pictures, calibration.tensor()) for pictures in seen)


@pytest.mark.long
def test_it_is_not_run_where_it_is_not_needed(
    coarse: VisionModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any, **more: Any) -> Any:
        raise AssertionError("nothing had to be trained")

    monkeypatch.setattr(remedies, "fine_tune", never)
    result = quantize(coarse, tmp_path, formats=["onnx"], data=data, methods=(BIAS, TUNED), max_drop=99)
    assert [trial.method for trial in result.formats["onnx"].trials] == [BIAS.name]


def test_a_training_that_gains_nothing_is_said_so_once(
    coarse: VisionModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def fine_tune(network: Any, pictures: Any, **more: Any) -> Any:
        calls.append(1)
        done = copy.deepcopy(network)
        figures = {"steps": 7, "loss_before": 0.5, "loss_after": 0.75, "kept": False}
        done.quantization = {**done.quantization, "qat": figures}
        return done

    monkeypatch.setattr(remedies, "fine_tune", fine_tune)
    workshop = ClassifyWorkshop(coarse, *split_data(data, coarse))
    for format in ("onnx", "openvino"):
        trial = workshop.attempt(TUNED, format, tmp_path / "x")
        assert trial.score is None
        assert trial.error.startswith("fine-tuning gained nothing in 7 steps (loss 0.5000 before, 0.7500 after)")
    assert calls == [1]


def test_stopping_it_leaves_nothing_behind(
    coarse: VisionModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(remedies, "fine_tune", stopped)
    with pytest.raises(KeyboardInterrupt):
        quantize(coarse, tmp_path / "out", formats=["onnx"], data=data, methods=(TUNED,))
    assert not list((tmp_path / "out").iterdir())


def test_mistakes_are_explained() -> None:
    with pytest.raises(UserError, match="does nothing for int8-weights"):
        apply(small(), ["qat"], images(), precision="int8-weights")
    with pytest.raises(UserError, match="steps 0"):
        FineTuning(steps=0)
    nothing: Any = None
    assert ClassifyWorkshop(small(), nothing, nothing).few == 16
