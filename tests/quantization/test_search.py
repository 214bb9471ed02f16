"""The search stops at the first method within the budget, leaves no file otherwise, and keeps the test set for last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonecv.classify.quantizing import AnswersScore, ClassifyWorkshop, score
from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.quantization import methods, quantize
from phonecv.quantization.methods import Method, methods_for
from phonecv.quantization.scoring import Score
from quantization.networks import coloured, small, told_apart


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured(tmp_path_factory.mktemp("quantize-data") / "photos", 12, 0)


@pytest.fixture(scope="module")
def network(data: Path) -> VisionModel:
    return told_apart(data)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Scores by trial, in place of real ones: (right, right in floating point) of a hundred."""
    scores: list[tuple[int, int]] = []

    def judge(self: Any, path: Path, pictures: Any, reference: Any) -> Score:
        assert path.is_file()
        right, float_right = scores.pop(0)
        return AnswersScore(
            count=100, right=right, float_right=float_right, same=90, drop=float(float_right - right),
            standard_error=1.0, decibels=20.0,
        )  # fmt: skip

    monkeypatch.setattr(ClassifyWorkshop, "judge", judge)
    return scores


THREE = (Method("one"), Method("two", ("bias",)), Method("three", ("relu6", "bias")))


def test_it_stops_at_the_first_method_within_the_budget(
    network: VisionModel, data: Path, tmp_path: Path, scripted: list[tuple[int, int]]
) -> None:
    scripted += [(80, 90), (89, 90)]
    told = []
    result = quantize(
        network, tmp_path, formats=["onnx"], data=data, stem="colours", methods=THREE, on_trial=told.append
    )
    found = result.formats["onnx"]
    assert [trial.method for trial in found.trials] == ["one", "two"] == [trial.method for trial in told]
    assert found.chosen is found.trials[1]
    assert found.path == tmp_path / "colours-int8.onnx"
    record = json.loads((tmp_path / "colours-int8.onnx.json").read_text())
    assert record["precision"] == "int8"
    assert record["quantization"]["remedies"] == ["bias"]
    written = json.loads((tmp_path / "colours-int8.quantize.json").read_text())
    assert written["formats"]["onnx"]["chosen"]["method"] == "two"
    assert len(written["layers"]) == len(result.layers) > 5
    assert not list(tmp_path.glob(".*"))


@pytest.mark.long
def test_no_file_where_the_budget_cannot_be_met(
    network: VisionModel, data: Path, tmp_path: Path, scripted: list[tuple[int, int]]
) -> None:
    scripted += [(80, 90), (88, 90), (85, 90)]
    result = quantize(network, tmp_path, formats=["onnx"], data=data, stem="colours", methods=THREE)
    found = result.formats["onnx"]
    assert found.path is None
    assert found.chosen is not None
    assert found.chosen.method == "two"  # the best of them
    assert result.missed == [found]
    assert [path.name for path in tmp_path.iterdir()] == ["colours-int8.quantize.json"]


def test_the_pictures_of_the_last_word_are_scored_once_and_choose_nothing(
    network: VisionModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = coloured(tmp_path / "test", 3, 9)
    seen: list[str] = []
    real = ClassifyWorkshop.judge

    def judge(self: ClassifyWorkshop, path: Path, pictures: Any, reference: Any) -> Score:
        seen.append("test" if str(test) in str(pictures.paths[0]) else "choose")
        return real(self, path, pictures, reference)

    monkeypatch.setattr(ClassifyWorkshop, "judge", judge)
    result = quantize(
        network, tmp_path / "out", formats=["onnx"], data=data, evaluation=test, max_drop=50, methods=THREE
    )
    assert seen == ["choose", "test"]
    found = result.formats["onnx"]
    assert found.final is not None
    assert found.final.count == 9
    assert isinstance(found.final, AnswersScore)
    assert found.final.float_right is not None
    assert found.final.float_right >= 6  # colours are easy
    with pytest.raises(UserError, match="were used to calibrate or to choose"):
        quantize(network, tmp_path / "out2", formats=["onnx"], data=data, evaluation=data, methods=THREE)


@pytest.mark.long
def test_a_toolkit_that_fails_is_a_result(
    network: VisionModel, data: Path, tmp_path: Path, scripted: list[tuple[int, int]]
) -> None:
    scripted += [(90, 90)]
    odd = Method("odd", settings={"range": "percentile", "percentile": 10})
    result = quantize(network, tmp_path, formats=["onnx"], data=data, methods=[odd, THREE[0]])
    first, second = result.formats["onnx"].trials
    assert first.score is None
    assert "percentile 10" in first.error
    assert result.formats["onnx"].chosen is second


def test_mistakes_are_named_before_any_work(network: VisionModel, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not as int8 \(formats with int8: onnx"):
        quantize(network, tmp_path, formats=["pt2"], data=data)
    with pytest.raises(UserError, match="max_drop=-1"):
        quantize(network, tmp_path, formats=["onnx"], data=data, max_drop=-1)
    with pytest.raises(UserError, match="no format was given"):
        quantize(network, tmp_path, formats=[], data=data)
    from phonecv.quantization.remedies import apply
    from quantization.networks import images

    with pytest.raises(UserError, match="prepared for int8 already"):
        quantize(apply(network, ["bias"], images()), tmp_path, formats=["onnx"], data=data)
    assert not list(tmp_path.iterdir())


def test_every_int8_format_has_methods_and_emo_only_those_it_allows() -> None:
    emo = small("emo_1m")
    for format in ("onnx", "openvino", "executorch", "litert"):
        assert len(methods_for(format, "int8", small())) > len(methods_for(format, "int8", emo)) > 2
        assert not {"equalize", "relu6"} & {r for method in methods_for(format, "int8", emo) for r in method.remedies}
    assert methods_for("onnx", "fp16", emo) == [methods.PLAIN]


def test_scores_count_and_say_how_sure_they_are() -> None:
    labels = torch.arange(4).repeat(25)
    reference = torch.nn.functional.one_hot(labels, 4).float()
    reference[:10] = 0.1 - reference[:10]  # ten wrong answers
    got = reference.clone()
    got[50:54] = got[50:54].roll(1, 1)  # four right ones turn wrong
    got[0] = torch.nn.functional.one_hot(labels[0], 4).float()  # a wrong one turns right
    found = score(reference, got, labels)
    assert (found.count, found.float_right, found.right) == (100, 90, 87)
    assert found.drop == pytest.approx(3)
    lost = np.array([1] * 4 + [-1] + [0] * 95)
    assert found.standard_error == pytest.approx(100 * lost.std() / 10)
    unlabelled = score(reference, got, None)
    assert unlabelled.drop == pytest.approx(100 - unlabelled.same)
    assert unlabelled.right is None
    assert score(reference, reference, labels).to_dict()["decibels"] is None
    broken = got.clone()
    broken[3] = torch.nan
    assert score(reference, broken, labels).same < 100


def test_weights_alone_need_no_ranges(network: VisionModel, data: Path, tmp_path: Path) -> None:
    result = quantize(network, tmp_path, formats=["onnx"], data=data, stem="x", precision="int8-weights", max_drop=20)
    found = result.formats["onnx"]
    assert found.path == tmp_path / "x-int8-weights.onnx"
    assert found.chosen is not None
    assert found.chosen.settings == {}
    assert found.chosen.score is not None
    assert found.chosen.score.decibels > 15
    assert result.layers == ()
