"""A full disk, a run folder that somebody removes, and what a killed run left."""

from __future__ import annotations

import os
import random
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from phonecv.errors import UserError
from phonecv.training import TrainConfig, engine, train
from phonecv.training.state import PARTS, read_state
from training.conftest import Configure

resource = pytest.importorskip("resource", reason="no limits on files there")


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """What writes a larger file meets the error of a full disk, whatever language it is written in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def after_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Any) -> None:
    """Call `act` when so many steps are done."""
    original = engine.train_step

    def step(run: engine.Run, parts: Any, lr: float) -> dict[str, Tensor]:
        if run.at.step == number:
            act(run)
        return original(run, parts, lr)

    monkeypatch.setattr(engine, "train_step", step)


def hidden(config: TrainConfig) -> list[str]:
    return sorted(path.name for path in Path(config.run.out).glob(".*"))


@pytest.mark.parametrize(("every", "file"), [(1, "state.pt"), (0, "best.safetensors")])
def test_a_full_disk_is_one_line_and_the_run_goes_on(every: int, file: str, configure: Configure) -> None:
    config = configure(f"run.save_every={every}", "schedule.epochs=1", "run.loggers=[tensorboard]")
    with files_at_most(20_000), pytest.raises(UserError) as caught:
        train(config)
    message = str(caught.value)
    assert message.startswith(f"{Path(config.run.out) / file} could not be written: file too large; it needs about ")
    assert message.endswith("; no state was saved yet. With more room the same command goes on from there")
    assert "\n" not in message
    assert hidden(config) == [".lock"]
    assert train(config).finished


def test_the_state_before_stays_whole(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    config, limits = configure("run.save_every=2", "schedule.epochs=1"), []

    def fill(run: engine.Run) -> None:
        limits.append(files_at_most(20_000))
        limits[0].__enter__()

    with monkeypatch.context() as patch:
        after_step(patch, 2, fill)
        try:
            with pytest.raises(UserError, match="the last saved state is whole"):
                train(config)
        finally:
            limits[0].__exit__(None, None, None)
    state = torch.load(Path(config.run.out) / "state.pt", weights_only=True)
    assert state["progress"]["step"] == 2
    assert train(config).finished


@pytest.mark.parametrize("save_every", [0, 1])
def test_a_removed_folder_is_told_and_not_made_again(
    save_every: int, configure: Configure, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configure(f"run.save_every={save_every}", "schedule.epochs=1")
    after_step(monkeypatch, 2, lambda run: shutil.rmtree(run.folder))
    with pytest.raises(UserError, match="was removed or emptied during the training"):
        train(config)
    assert not Path(config.run.out).exists()
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_killed_run_left_is_removed_by_the_next(configure: Configure) -> None:
    config = configure("schedule.epochs=1")
    folder = Path(config.run.out)
    folder.mkdir()
    gone = 2**22 + 1  # beyond what Linux numbers processes with
    mine = [
        ".last-abcd_123.safetensors",
        ".state-0_1_2_3_.pt",
        f".state-{gone}-abcdefgh.pt",
        ".epoch-0003-abcdefgh.json",
    ]
    others = [
        f".last-{os.getppid()}-abcdefgh.safetensors",
        ".mine-abcdefgh.pt",
        ".state.pt",
        ".last-notes.txt",
        "state-a",
    ]
    for name in mine + others:
        (folder / name).write_bytes(b"x")
    (folder / ".best-abcdefgh").mkdir()  # an export that runs there
    train(config)
    left = {path.name for path in folder.iterdir()}
    assert not left & set(mine)
    assert left >= {*others, ".best-abcdefgh"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {name: [", "not readable YAML"),
        ("model: {nam: x}", "did you mean 'model.name'"),
        ("", "holds a run with another configuration"),
        ("a: &a [*a]", "nested more than 20 levels"),
    ],
)
def test_a_damaged_configuration_of_a_run(text: str, message: str, configure: Configure) -> None:
    config = configure()
    Path(config.run.out).mkdir()
    (Path(config.run.out) / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        train(config)


def test_a_run_folder_that_is_a_file(configure: Configure) -> None:
    config = configure()
    Path(config.run.out).write_text("x")
    with pytest.raises(UserError, match=r"nothing can be written to the run folder .*choose another --out"):
        train(config)
    config = configure(out="run/below")
    with pytest.raises(UserError, match=r"run is not a folder$"):
        train(config)


def test_damaged_states_are_explained(tmp_path: Path) -> None:
    good = {"format": 1, "progress": {"epoch": 1}, **dict.fromkeys(PARTS, 1), "net": {"a": torch.ones(50)}}
    torch.save(good, tmp_path / "state.pt")
    data = (tmp_path / "state.pt").read_bytes()
    assert read_state(tmp_path) is not None
    generator = random.Random(0)
    damaged = [data[: generator.randrange(len(data))] for _ in range(40)]
    for _ in range(160):
        flipped = bytearray(data)
        for _ in range(generator.randrange(1, 8)):
            flipped[generator.randrange(len(data))] = generator.randrange(256)
        damaged.append(bytes(flipped))
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about protocols of pickle
        for content in damaged:
            (tmp_path / "state.pt").write_bytes(content)
            try:
                read_state(tmp_path)
            except UserError:
                refused += 1
    assert refused > 100
    for other in (1, None, [1], "x", torch.ones(2), {"progress": 3}, {"progress": {"x": 1}}, {"progress": {}}):
        torch.save(other, tmp_path / "state.pt")
        with pytest.raises(UserError, match="the resume state"):
            read_state(tmp_path)
