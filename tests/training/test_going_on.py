"""Going on with other settings: more epochs, moved data, and a run that stops early."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from phonecv.errors import UserError
from phonecv.training import TrainConfig, engine, load_config, train
from training.conftest import Configure
from training.test_resume import assert_same, crash, rows_of, state_of

QUICK = ("data.batch_size=8", "schedule.min_lr=0.001", "run.save_every=1")  # three steps per epoch


def went_on(config: TrainConfig, *overrides: str) -> TrainConfig:
    """The configuration of the run in a folder, by the folder alone."""
    return load_config(config.run.out, overrides)


def summary_of(config: TrainConfig) -> dict[str, object]:
    return json.loads((Path(config.run.out) / "summary.json").read_text())


def test_a_finished_run_goes_on_with_more_epochs(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(*QUICK)
    assert train(config).finished
    shutil.copytree(config.run.out, f"{config.run.out}-killed")  # also what a run folder elsewhere means
    capsys.readouterr()
    whole = went_on(config, "schedule.epochs=4")
    assert train(whole).finished
    told = " ".join(capsys.readouterr().out.split())
    assert "note: schedule.epochs=4 from step 7 on, 2 before" in told
    assert "learning rate that it has in a run of 4 epochs: the next 0.0055, the last one had 0.0016" in told
    rates = [float(row["lr"]) for row in rows_of(whole)]
    wanted = [0.001 + 0.009 * (1 + math.cos(math.pi * step / (12 if step >= 6 else 6))) / 2 for step in range(12)]
    assert rates == pytest.approx(wanted, rel=1e-6)
    assert summary_of(whole)["epoch"] == 4
    assert summary_of(whole)["changes"] == ["schedule.epochs=4 from step 7 on, 2 before"]

    killed = load_config(f"{config.run.out}-killed", ["schedule.epochs=4"])
    assert killed.run.out == f"{config.run.out}-killed"
    crash(killed, 8, monkeypatch)
    result = train(went_on(killed))  # the folder has kept the new length
    assert result.finished
    assert_same(whole, killed)


def test_a_run_does_not_become_shorter_than_it_is(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure(*QUICK)
    train(config)
    with pytest.raises(UserError, match=r"schedule\.epochs=1, but 2 epochs are done .* schedule\.epochs=3 or more"):
        train(went_on(config, "schedule.epochs=1"))
    train(went_on(config))
    assert "2 of 2 epochs are done. It goes on with more schedule.epochs" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match=r"optimizer\.lr: 0\.01 there, 0\.1 now(.|\n)*may go on with other data\.path"):
        train(went_on(config, "optimizer.lr=0.1", "schedule.epochs=4"))


def test_data_that_were_moved(
    configure: Configure,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, new = tmp_path / "data", tmp_path / "elsewhere"
    shutil.copytree(pictures, old)
    config = configure(*QUICK, f"data.path={old}")
    crash(config, 2, monkeypatch)
    crash(went_on(config, f"data.path={old}/../data"), 3, monkeypatch)
    assert "data.path" not in " ".join(state_of(config)["progress"]["changes"])  # the same folder, respelt

    old.rename(new)
    with pytest.raises(UserError, match=r"no such folder; the run in .* goes on where its pictures are now: --data"):
        train(went_on(config))
    (new / "train/red/02.png").rename(new / "train/red/zz.png")
    with pytest.raises(UserError) as caught:
        train(went_on(config, f"data.path={new}"))
    assert f"began with the pictures in {old}, those in {new} are others (other train pictures than then" in str(
        caught.value
    )
    (new / "train/red/zz.png").rename(new / "train/red/02.png")
    capsys.readouterr()
    moved = went_on(config, f"data.path={new}")
    assert train(moved).finished
    assert f"note: data.path={new} from step 4 on, {old}/../data before" in " ".join(capsys.readouterr().out.split())
    unmoved = configure(*QUICK, out="unmoved")
    assert train(unmoved).finished
    assert [row["loss"] for row in rows_of(moved)] == [row["loss"] for row in rows_of(unmoved)]


#: Of the epochs of a run; the best for a while is the second.
SCORES = (10.0, 30.0, 20.0, 30.0, 25.0, 20.0, 40.0, 20.0)


def test_a_run_stops_early_and_keeps_its_best(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(run: engine.Run) -> dict[str, dict[str, float]]:
        return {"net": {"top1": SCORES[run.at.epoch], "correct1": 1, "images": 10}}

    monkeypatch.setattr(engine, "evaluate", evaluate)
    config = configure(*QUICK, "schedule.epochs=8", "schedule.patience=3", "ema.enabled=false")
    crash(config, 10, monkeypatch)  # in the fourth epoch
    result = train(config)
    assert (result.finished, result.best_epoch, result.best_score) == (True, 2, 30.0)
    told = " ".join(capsys.readouterr().out.split())
    why = "stopped early after epoch 5 of 8: none since epoch 2 was better (schedule.patience=3)"
    assert why in told
    assert summary_of(config)["epoch"] == 5
    assert summary_of(config)["stopped_early"] is True
    assert "training, 5 epochs, stopped early" in (result.run_dir / "report.html").read_text()

    assert train(config) == result
    told = " ".join(capsys.readouterr().out.split())
    assert f"is finished already: {why}. It goes on with more schedule.epochs or another schedule.patience" in told
    result = train(went_on(config, "schedule.patience=2"))  # counted anew: the seventh is better
    assert (result.best_epoch, summary_of(config)["epoch"], summary_of(config)["stopped_early"]) == (7, 8, False)


def test_patience_counts_evaluations() -> None:
    config = load_config("finetune", ["schedule.epochs=40", "schedule.patience=3"])
    at = engine.Progress(epoch=8, best=50.0, best_epoch=5, evaluated=5)  # evaluated after every fifth epoch
    assert not engine.over(config, at)
    at.epoch = at.evaluated = 10
    assert engine.over(config, at)
    assert not engine.over(config, engine.Progress(epoch=10, evaluated=10))  # nothing was scored yet
