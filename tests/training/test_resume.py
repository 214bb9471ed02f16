"""Killed, stopped or crashed at any step, a run started again ends with the numbers of an unbroken one, bit by bit."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from conftest import mostly_long
from phonecv.errors import UserError
from phonecv.training import TrainConfig, engine, load_config, train
from training.conftest import SMALL, Configure, start, tiny_overrides

#: All that draws random numbers or carries a state: drop path, RandAugment, mixup, the average, accumulated parts,
#: statistics computed anew.
LIVELY = (
    "model.name=emov2_1m",
    tiny_overrides("emov2_1m"),
    "model.drop_path=0.3",
    "augment.auto_augment=rand-m9-mstd0.5-inc1",
    "loss.mixup=0.2",
    "optimizer.accumulate=2",
    "data.batch_size=8",  # three steps per epoch
    "schedule.epochs=4",
    "run.precise_bn=12",
    "run.log_every=2",
    "run.save_every=2",
)
TIMES = ("seconds", "images_per_second")


class Crash(BaseException):
    """Ends a run like a power cut: nothing of the run catches it."""


def state_of(config: TrainConfig) -> dict[str, Any]:
    return torch.load(Path(config.run.out) / "state.pt", weights_only=True)


def rows_of(config: TrainConfig, table: str = "steps") -> list[dict[str, str]]:
    with (Path(config.run.out) / f"{table}.csv").open(newline="") as file:
        return [{key: text for key, text in row.items() if key not in TIMES} for row in csv.DictReader(file)]


def assert_same(config: TrainConfig, other: TrainConfig) -> None:
    assert rows_of(config) == rows_of(other)
    assert rows_of(config, "metrics") == rows_of(other, "metrics")
    a, b = state_of(config), state_of(other)
    for part in ("net", "ema"):
        assert a[part].keys() == b[part].keys()
        for name, value in a[part].items():
            assert torch.equal(value, b[part][name]), (part, name)
    for i, values in a["optimizer"]["state"].items():
        for name, value in values.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(b["optimizer"]["state"][i][name])), (i, name)
    a["progress"].pop("bad"), b["progress"].pop("bad")
    assert a["progress"] == b["progress"]
    for name in ("best.safetensors", "last.safetensors", "last_ema.safetensors"):
        files = [Path(c.run.out) / name for c in (config, other)]
        tensors: list[dict[str, Tensor]] = [load_file(file) for file in files]
        assert all(torch.equal(value, tensors[1][key]) for key, value in tensors[0].items())


@pytest.fixture(scope="module")
def unbroken(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A run that nothing stops: what the others are compared with."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    config = load_config("from_scratch_small", [*SMALL, f"data.path={pictures}", f"run.out={out}", *LIVELY])
    assert train(config).finished
    return config


def wait_for_rows(config: TrainConfig, count: int) -> None:
    """Until the run has logged so many rows: it is in the middle of training then."""
    path, end = Path(config.run.out) / "steps.csv", time.monotonic() + 120
    while not path.is_file() or len(path.read_text().splitlines()) <= count:
        assert time.monotonic() < end, "the run does not get going"
        time.sleep(0.005)


def crash(config: TrainConfig, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until `at` steps are done, and end there like a power cut."""
    original = engine.train_step

    def step(run: engine.Run, parts: Any, lr: float) -> dict[str, Tensor]:
        if run.at.step == at:
            raise Crash
        return original(run, parts, lr)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_step", step)
        with pytest.raises(Crash):
            train(config)


@pytest.mark.slow
@pytest.mark.parametrize("at", mostly_long((0, 1, 2, 3, 4, 8, 11), 4))
def test_a_crash_at_any_step(
    at: int, configure: Configure, unbroken: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(*LIVELY, out=f"crash{at}")
    crash(config, at, monkeypatch)
    assert train(config).finished
    assert_same(unbroken, config)


@pytest.mark.long
@pytest.mark.slow
def test_a_compiled_run_goes_on_with_the_same_bits(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [configure(*LIVELY, "run.compile=true", "schedule.epochs=2", out=name) for name in ("whole", "cut")]
    torch.compiler.reset()
    assert train(configs[0]).finished
    original = engine.train_step

    def step(run: engine.Run, parts: Any, lr: float) -> dict[str, Tensor]:
        if run.at.step == 4:
            raise Crash
        return original(run, parts, lr)

    monkeypatch.setattr(engine, "train_step", step)
    torch.compiler.reset()
    with pytest.raises(Crash):
        train(configs[1])
    monkeypatch.setattr(engine, "train_step", original)
    torch.compiler.reset()  # as in a process of its own
    assert train(configs[1]).finished
    torch.compiler.reset()
    assert_same(*configs)


@pytest.mark.slow
def test_a_crash_in_evaluation(configure: Configure, unbroken: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure(*LIVELY, out="evaluation")
    original, calls = engine.evaluate, []

    def evaluate(run: engine.Run) -> dict[str, dict[str, float]]:
        calls.append(1)
        if len(calls) == 2:
            raise Crash
        return original(run)

    monkeypatch.setattr(engine, "evaluate", evaluate)
    with pytest.raises(Crash):
        train(config)
    assert train(config).finished
    assert_same(unbroken, config)


@pytest.mark.long
@pytest.mark.slow
def test_sigkill(configure: Configure, unbroken: TrainConfig, tmp_path: Path) -> None:
    config = configure(*LIVELY, "data.workers=1", out="killed")
    process = start(config, tmp_path)
    wait_for_rows(config, 3)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert state_of(config)["progress"]["step"] < 12
    assert train(config).finished
    assert_same(unbroken, config)


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_it_goes_on(
    configure: Configure, unbroken: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(*LIVELY, "data.workers=1", "run.save_every=0", out="interrupted")
    original = engine.train_step

    def step(run: engine.Run, parts: Any, lr: float) -> dict[str, Tensor]:
        if run.at.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(run, parts, lr)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_step", step)
        assert not train(config).finished
    assert "The same command goes on from here" in capsys.readouterr().out
    assert state_of(config)["progress"]["step"] == 2
    assert train(config).finished
    assert_same(unbroken, config)


@pytest.mark.long
@pytest.mark.slow
def test_ctrl_c_ends_a_process_cleanly(configure: Configure, unbroken: TrainConfig, tmp_path: Path) -> None:
    config = configure(*LIVELY, "data.workers=1", "run.save_every=0", out="stopped")
    process = start(config, tmp_path)
    wait_for_rows(config, 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "The same command goes on from here" in output
    assert output.rstrip().endswith("stopped")
    assert 0 < state_of(config)["progress"]["step"] < 12
    assert train(config).finished
    assert_same(unbroken, config)


def test_sigterm_stops_after_the_step_under_way(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure(*LIVELY, "run.save_every=0")
    original = engine.train_step

    def step(run: engine.Run, parts: Any, lr: float) -> dict[str, Tensor]:
        if run.at.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(run, parts, lr)

    monkeypatch.setattr(engine, "train_step", step)
    before = signal.getsignal(signal.SIGTERM)
    result = train(config)
    assert not result.finished
    assert signal.getsignal(signal.SIGTERM) is before
    progress = state_of(config)["progress"]
    assert (progress["epoch"], progress["batch"], progress["step"]) == (1, 2, 5)


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_killed_go_on_as_if_never(configure: Configure, tmp_path: Path) -> None:
    # Statistics of their own in each process until the epoch ends: the hardest case for the state.
    settings = (*LIVELY, "run.bn=average")
    unbroken, killed = configure(*settings, out="unbroken2"), configure(*settings, out="killed2")
    process = start(unbroken, tmp_path, torchrun=2)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "finished" in output
    assert "stopped" not in output

    process = start(killed, tmp_path, devices=2)
    wait_for_rows(killed, 3)
    process.kill()  # the other processes go with it
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert state_of(killed)["progress"]["step"] < 12
    process = start(killed, tmp_path, devices=2)
    output, _ = process.communicate(timeout=120)
    assert output.rstrip().endswith("finished"), output
    assert "going on from" in output
    assert_same(unbroken, killed)


def test_a_damaged_state_is_explained(configure: Configure) -> None:
    config = configure("schedule.epochs=1")
    train(config)
    path = Path(config.run.out) / "state.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        train(config)


def test_a_state_cannot_run_code(configure: Configure, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "marker",))

    config = configure("schedule.epochs=1")
    train(config)
    torch.save({"format": 1, "progress": {}, "net": Trap()}, Path(config.run.out) / "state.pt")
    with pytest.raises(UserError, match="cannot be read"):
        train(config)
    assert not (tmp_path / "marker").exists()
