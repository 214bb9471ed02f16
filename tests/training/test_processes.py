"""Two processes: one network, one average, every picture once; and how the failure of one is told."""

from __future__ import annotations

import csv
import json
import multiprocessing
import multiprocessing.forkserver
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.multiprocessing as mp

from phonecv.classify.config import ClassifyConfig
from phonecv.errors import UserError
from phonecv.training import train
from phonecv.training.launch import launch
from training.conftest import Configure


@pytest.fixture(scope="module", autouse=True)
def one_import() -> Iterator[None]:
    """Processes are forked from one that has imported all: importing is most of what a spawned one of these does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        spawn = mp.start_processes

        def fork(*given: Any, start_method: str, **named: Any) -> Any:
            assert start_method == "spawn"
            return spawn(*given, start_method="forkserver", **named)

        patch.setattr(mp, "start_processes", fork)
        multiprocessing.get_context("forkserver").set_forkserver_preload(["training.workers"])
        yield
        multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined] - it would stay until the tests end


@pytest.mark.slow
def test_two_processes_hold_the_same_and_see_every_picture_once(configure: Configure) -> None:
    common = ("model.mode=eval", "schedule.epochs=1", "augment.hflip=0", "data.eval_batch_size=3")
    config = configure(*common, out="two")
    launch("training.workers:compare", config, 2)
    first, second = json.loads((Path(config.run.out) / "report.json").read_text())
    assert first["sums"] == second["sums"]  # live and averaged, parameters and statistics
    assert sorted(first["val"] + second["val"]) == list(range(10))
    assert len(first["val"]) == len(second["val"]) == 5
    assert sorted(first["train"] + second["train"]) == list(range(24))
    # Asked for by the second process before step 2, agreed one step later, by both.
    assert first["agreed"] == second["agreed"] == [[False, False], [False, False], [True, False], [False, False]]
    with (Path(config.run.out) / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["val_images"] == rows[-1]["ema_images"] == "10"
    # Without BatchNorm between pictures two processes compute what one computes.
    single = train(configure(*common, out="one"))
    with (Path(config.run.out) / "steps.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses == pytest.approx([row["loss"] for row in single.steps], rel=2e-3)


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_share_their_precise_statistics(configure: Configure) -> None:
    config = configure("schedule.epochs=1", "run.precise_bn=24")
    launch("training.workers:compare", config, 2)
    first, second = json.loads((Path(config.run.out) / "report.json").read_text())
    assert first["sums"] == second["sums"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        ("mistake", UserError, "^the data are unusable; get others$"),
        pytest.param(
            "crash",
            RuntimeError,
            "process 2 of 2 failed(.|\n)*ZeroDivisionError: something else",
            marks=pytest.mark.long,
        ),
        ("killed", UserError, "process 2 of 2 was ended by SIGKILL; if the machine ran out of memory"),
    ],
)
def test_a_failing_process_ends_the_run_with_its_own_words(work: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        launch(f"training.workers:{work}", ClassifyConfig(), 2)
