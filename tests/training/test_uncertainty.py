"""What a run says of its scores: standard errors, the last beside the best, and the same figures as `phonecv eval`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import mostly_long
from phonecv.api import evaluate
from phonecv.classify.config import LossConfig
from phonecv.classify.objective import ClassifyObjective
from phonecv.segment.training import SegmentObjective
from phonecv.training import train
from phonecv.training.uncertainty import caution, last_figures, score_text
from training.conftest import SEGMENTERS, Configure

CLASSIFY, DENSE_TASK = ClassifyObjective(3, LossConfig()), SegmentObjective(3, auxiliary=False)


def test_scores_come_with_their_standard_error() -> None:
    assert score_text(CLASSIFY, {"top1": 96.9697, "correct1": 64, "images": 66}) == "96.97 ± 2.11"
    assert score_text(DENSE_TASK, {"miou": 50.0}) == "50.00"
    assert score_text(DENSE_TASK, {}) == "nan"


def rows(count: int, right: int, pictures: int) -> list[Mapping[str, str]]:
    figures = {"top1": 100 * right / pictures, "correct1": right, "images": pictures}
    evaluated = {f"val_{name}": str(value) for name, value in figures.items()}
    return [row for _ in range(count) for row in ({"step": "1", "loss": "2.0"}, evaluated)]


@pytest.mark.parametrize(
    ("count", "right", "pictures", "warned"),
    [(20, 64, 66, True), (4, 64, 66, False), (20, 9_000, 10_000, False), (20, 50_00, 10_000, False)],
)
def test_the_best_of_many_on_few_is_warned_of(count: int, right: int, pictures: int, warned: bool) -> None:
    found = caution(rows(count, right, pictures), CLASSIFY, pictures)
    assert (found is not None) == warned
    if found is not None:
        assert f"the best of {count} scores on {pictures} pictures flatters" in found


def test_without_a_standard_error_the_pictures_count() -> None:
    evaluated = [{"val_miou": "50", "ema_miou": "51"}] * 3
    assert caution(evaluated, DENSE_TASK, 87) is not None
    assert caution(evaluated, DENSE_TASK, 2000) is None
    assert caution([], DENSE_TASK, 87) is None
    assert last_figures([*evaluated, {"val_miou": "70", "ema_miou": "72", "loss": "1"}, {"loss": "2"}], DENSE_TASK) == {
        "net": {"miou": 70.0},
        "ema": {"miou": 72.0},
    }


def test_a_run_of_three_classes_says_last_best_and_error_and_no_top5(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(configure("schedule.epochs=3", "ema.enabled=false", "optimizer.lr=0.003"))
    out = capsys.readouterr().out
    row = result.history[-1]
    assert not any("top5" in name or "correct5" in name for name in row)
    share = min(max(row["val_correct1"], 0.5), 9.5) / 10
    assert f"last top1 {row['val_top1']:.2f} ± {100 * (share * (1 - share) / 10) ** 0.5:.2f} (net)" in out
    assert f"best top1 {result.best_score:.2f}" in out
    assert "on 10 validation pictures" in out
    summary = json.loads((result.run_dir / "summary.json").read_text())
    assert summary["images"] == 10
    assert summary["last_scores"] == {"net": row["val_top1"]}
    assert "flatters" not in out  # three evaluations
    longer = train(configure("schedule.epochs=3", "optimizer.lr=0.003", out="with_average"))
    assert "note: the best of 6 scores on 10 pictures flatters" in capsys.readouterr().out
    assert longer.finished


@pytest.mark.parametrize(
    "more",
    [
        pytest.param((), marks=pytest.mark.long),
        ("run.amp=bf16", "run.channels_last=true", "data.eval_batch_size=7"),
    ],
)
def test_eval_gives_the_figures_of_training(more: tuple[str, ...], configure: Configure, pictures: Path) -> None:
    result = train(configure("schedule.epochs=2", "ema.decay=0.5", *more))
    row = result.history[-1]
    for net, name in (("val", "last"), ("ema", "last_ema")):
        for size in (1, 4):
            judged = evaluate(result.run_dir / f"{name}.safetensors", pictures, batch_size=size)
            assert (judged.top1, judged.count) == (row[f"{net}_correct1"], row[f"{net}_images"])
    assert result.best is not None
    assert evaluate(result.best, pictures).top1_percent == pytest.approx(result.best_score)


@pytest.mark.parametrize("architecture", mostly_long(["ssdlite320", "segformer"], "ssdlite320"))
def test_eval_gives_the_figures_of_dense_trainings(architecture: str, configure_dense: Configure, scenes: Path) -> None:
    result = train(configure_dense(architecture, "schedule.epochs=2", "optimizer.lr=0.01", "ema.decay=0.5"))
    row = result.history[-1]
    names = ("miou", "aacc", "macc") if architecture in SEGMENTERS else ("ap", "ap50", "ap75")
    for net, name in (("val", "last"), ("ema", "last_ema")):
        for size in (1, 4):
            judged = evaluate(result.run_dir / f"{name}.safetensors", scenes, batch_size=size).summary()
            for figure in names:
                # Up to the pixels and boxes that rounding moves across a threshold.
                assert judged[figure] == pytest.approx(row[f"{net}_{figure}"], abs=0.02), figure
