"""Detectors and segmenters killed at any step end with the numbers of an unbroken run, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import mostly_long
from phonecv.training import train
from training.conftest import Configure, start
from training.test_resume import assert_same, crash, state_of, wait_for_rows

#: All that draws random numbers or carries a state, in two steps per epoch.
LIVELY = (
    "model.drop_path=0.3",
    "optimizer.accumulate=2",
    "data.passes=2",
    "schedule.epochs=3",
    "run.save_every=1",
    "data.batch_size=8",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    mostly_long(["ssdlite320", "retinanet_fpn", "mask_rcnn_fpn", "deeplabv3"], "deeplabv3"),
)
def test_a_crash_at_any_step(architecture: str, configure_dense: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    more = ("detect.group_orientation=true", "detect.transform=resize") if architecture == "retinanet_fpn" else ()
    unbroken = configure_dense(architecture, *LIVELY, *more, out="unbroken")
    assert train(unbroken).finished
    config = configure_dense(architecture, *LIVELY, *more, out="crash")
    crash(config, 4, monkeypatch)
    assert train(config).finished
    assert_same(unbroken, config)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("architecture", mostly_long(["ssdlite320", "segformer"], "segformer"))
def test_sigkill(architecture: str, configure_dense: Configure, tmp_path: Path) -> None:
    # In the middle of an epoch that is counted in steps, with the next batches already on their way.
    settings = (*LIVELY, "data.passes=1", "schedule.epoch_steps=5", "data.workers=1", "data.batch_size=4")
    unbroken, killed = (configure_dense(architecture, *settings, out=name) for name in ("unbroken", "killed"))
    assert train(unbroken).finished
    process = start(killed, tmp_path)
    wait_for_rows(killed, 3)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert state_of(killed)["progress"]["step"] < 15
    assert train(killed).finished
    assert_same(unbroken, killed)
