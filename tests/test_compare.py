"""Trainings beside each other: what differs, what came of it, and what may not be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import phonecv
from phonecv.cli.app import main
from phonecv.errors import UserError
from phonecv.training.recipe import load_config

DATA = {"classes": 3, "names": "aa", "val": {"pictures": 66, "names": "bb", "sizes": "cc"}}


def write_run(folder: Path, *overrides: str, recipe: str = "finetune", score: float = 95.0, **changed: object) -> Path:
    """A run folder as a training leaves it, without its networks."""
    folder.mkdir(parents=True)
    config = load_config(recipe, [*overrides, "data.path=photos", f"run.out={folder}"])
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    summary = {
        "task": config.task, "finished": True, "epoch": 2, "score": "top1", "images": 66, "seconds": 75.0,
        "last_scores": {"net": score - 1, "ema": score}, "last_errors": {"net": 2.7, "ema": 2.6},
        "best_score": score + 1, "best_epoch": 1, "best_net": "ema", "data": DATA,
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary | changed), encoding="utf-8")
    rows = ["step,epoch,lr,loss,net_top1,ema_top1", "1,1,0.1,2.0,,", "1,1,,,50,40", "2,2,0.1,1.0,,"]
    (folder / "metrics.csv").write_text("\n".join([*rows, f"2,2,,,{score - 1},{score}"]), encoding="utf-8")
    return folder


def test_runs_are_put_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_run(tmp_path / "a", "schedule.epochs=4")
    two = write_run(tmp_path / "b", "schedule.epochs=4", "optimizer.lr=0.01", score=97.0)
    three = write_run(tmp_path / "deep" / "b", "schedule.epochs=4", "model.name=emo_1m", score=60.0)
    found = phonecv.compare(one, two, three)
    assert list(found.settings) == ["model.name", "optimizer.lr"]
    assert found.settings["optimizer.lr"] == (2e-4, 0.01, 2e-4)
    assert found.figures["top-1 accuracy, %, last epoch"] == ("95.00 ± 2.60", "97.00 ± 2.60", "60.00 ± 2.60")
    assert found.notes[0] == "b is ahead of a by 2.00 ± 3.68: that may well be chance"
    assert [run.name for run in found.runs] == ["a", "b", "b-2"]
    assert main(["compare", str(one), str(three), "--out", str(tmp_path / "page")]) == 0
    out = capsys.readouterr().out
    assert "that is more than chance of the pictures" in out
    page = (tmp_path / "page" / "compare.html").read_text(encoding="utf-8")
    assert "model.name" in page
    assert "data:image/png" in page
    assert main(["compare", str(one), str(two), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["last"][1] == {"score": 97.0, "error": 2.6}


def test_what_says_nothing_about_each_other_is_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a")
    others = DATA | {"val": DATA["val"] | {"names": "other"}}  # type: ignore[operator]
    cases = {
        "judged by other pictures": write_run(tmp_path / "b", data=others),
        "the task of one is": write_run(tmp_path / "c", recipe="segment_small"),
        "learned other classes": write_run(tmp_path / "d", data=DATA | {"names": "other"}),
        "has no figures yet": write_run(tmp_path / "e", last_scores={}),
        "no run folder": tmp_path,
        "is not there": tmp_path / "nowhere",
    }
    for text, other in cases.items():
        with pytest.raises(UserError, match=text):
            phonecv.compare(one, other)
    with pytest.raises(UserError, match="1 run cannot be compared"):
        phonecv.compare(one)
