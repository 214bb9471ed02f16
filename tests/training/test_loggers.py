"""Records of a run in other places: they go on under one id, and their failures are never the run's."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from phonecv.errors import UserError
from phonecv.training import loggers, train
from phonecv.training.loggers import check_loggers, open_loggers
from training.conftest import Configure
from training.test_resume import crash


class Service:
    """In the place of Weights & Biases."""

    known: ClassVar[list[str | None]]
    written: ClassVar[list[tuple[int, dict[str, float]]]]
    closed: ClassVar[list[bool]]
    fails_at = -1

    def __init__(self, folder: Path, settings: Mapping[str, Any], known: str | None) -> None:
        self.known.append(known)
        self.id = known or "abc"
        if self.fails_at == 0:
            raise ConnectionError("nobody there\nand more")

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        return (OSError,)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise ConnectionError("cut off")
        self.written.append((step, dict(values)))

    def close(self, *, finished: bool) -> None:
        self.closed.append(finished)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> type[Service]:
    for name in ("known", "written", "closed"):
        monkeypatch.setattr(Service, name, [], raising=False)
    monkeypatch.setattr(loggers, "Wandb", Service)
    monkeypatch.setitem(loggers.PACKAGES, "wandb", "json")  # is installed
    return Service


def test_a_run_goes_on_under_its_id(
    service: type[Service], configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("run.loggers=[wandb]", "run.save_every=1", "schedule.epochs=1")
    crash(config, 4, monkeypatch)
    result = train(config)
    assert not (result.run_dir / "tensorboard").exists()
    assert service.known == [None, "abc"]
    assert json.loads((result.run_dir / "loggers.json").read_text()) == {"wandb": "abc"}
    steps = [step for step, values in service.written if "loss" in values]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert service.written[-1][1]["val_top1"] == result.history[-1]["val_top1"]
    assert service.closed == [False, True]


@pytest.mark.parametrize(("step", "reason"), [(0, "nobody there"), (3, "cut off")])
def test_a_service_that_fails_is_left(
    service: type[Service],
    step: int,
    reason: str,
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(service, "fails_at", step)
    with caplog.at_level(logging.WARNING, "phonecv"):
        assert train(configure("run.loggers=wandb", "schedule.epochs=1")).finished
    told = [record.message for record in caplog.records if "wandb" in record.message]
    assert told == [f"note: no more records for wandb ({reason}); the run goes on, its own files have everything"]
    assert len(service.written) == max(0, step - 1)


def test_what_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in loggers.PACKAGES:
        monkeypatch.setitem(loggers.PACKAGES, name, "no_such_package")
    with pytest.raises(UserError, match=r"run\.loggers: mlflow is not installed; .*pip install 'phonecv\[mlflow\]'"):
        check_loggers(["tensorboard", "mlflow"])
    check_loggers(["tensorboard"])
    assert open_loggers(["tensorboard"], Path(), {}, 0) == []


@pytest.mark.long
@pytest.mark.slow
def test_wandb_offline(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = configure("run.loggers=[wandb]", "run.save_every=1", "schedule.epochs=1")
    crash(config, 4, monkeypatch)
    result = train(config)
    known = json.loads((result.run_dir / "loggers.json").read_text())["wandb"]
    kept = sorted((result.run_dir / "wandb").glob(f"offline-run-*-{known}/run-{known}.wandb"))
    assert len(kept) == 2  # before and after the crash, of one run
    assert b"val_top1" in kept[-1].read_bytes()


@pytest.mark.long
@pytest.mark.slow
def test_mlflow_in_a_file(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "pets")
    config = configure("run.loggers=[mlflow]", "run.save_every=1", "schedule.epochs=1")
    crash(config, 4, monkeypatch)
    result = train(config)
    known = json.loads((result.run_dir / "loggers.json").read_text())["mlflow"]
    client = mlflow.MlflowClient()
    run = client.get_run(known)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params["schedule.epochs"] == "1"
    assert run.data.metrics["val_top1"] == pytest.approx(result.history[-1]["val_top1"])
    losses = client.get_metric_history(known, "loss")
    assert sorted({metric.step for metric in losses}) == [1, 2, 3, 4, 5, 6]
    assert len(client.search_runs([client.get_experiment_by_name("pets").experiment_id])) == 1
