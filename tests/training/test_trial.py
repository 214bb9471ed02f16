"""What cannot work in the first step is refused before it, with the setting to change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import phonecv
from conftest import TINY
from opened import open_classifier
from phonecv.errors import UserError
from phonecv.models.headed import check_takes_pictures
from phonecv.training import train
from phonecv.training.interrupt import Interrupts
from phonecv.training.job import prepare
from phonecv.training.threads import Threads
from phonecv.training.world import World
from training.conftest import Configure

ALONE = "gives BatchNorm one picture at a time"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.batch_size=1", "data.size=32"), r"data\.batch_size=1 gives .* set data\.batch_size=2 or more"),
        (
            ("data.batch_size=4", "optimizer.accumulate=4"),
            r"batch_size=4 in 1 process and 4 parts .*=8 or",
        ),
        (("data.batch_size=1", "data.size=64", "curriculum=[{epoch: 1}, {epoch: 2, size: 32}]"), ALONE),
        (("model.overrides.in_chans=2",), "takes pictures of 2 channels, and what reads them gives RGB or gray"),
        (("model.overrides.in_chans=4",), r"takes pictures of 4 channels.*leave out in_chans=4 \(model\.overrides\)"),
    ],
)
def test_refused_before_anything_is_written(overrides: tuple[str, ...], message: str, configure: Configure) -> None:
    config = configure(*overrides)
    with pytest.raises(UserError, match=message) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    assert not Path(config.run.out).exists()


def test_one_picture_at_a_time_where_that_is_enough(configure: Configure) -> None:
    config = configure("data.batch_size=1", "data.size=64", "schedule.epochs=1", "schedule.epoch_steps=2")
    assert train(config).finished
    # The same without statistics to be taken: nothing is tried, nothing refused.
    config = configure("data.batch_size=1", "data.size=32", "model.mode=eval", out="eval")
    with Interrupts() as interrupts:
        prepare(config, World(), Threads(1, 0), interrupts)


def test_the_trial_leaves_no_trace(configure: Configure) -> None:
    config = configure("data.batch_size=1", "data.size=64")
    with Interrupts() as interrupts:
        run = prepare(config, World(), Threads(1, 0), interrupts)
    counters = [value for name, value in run.net.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counters
    assert not any(map(int, counters))
    run.log.close(finished=True)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("deeplabv3", "normalises that over the batch; take a batch of 2 or more"),
        ("ssdlite320", "SSDLite trains on two pictures or more at a time"),
    ],
)
def test_heads_on_a_single_picture_say_it_in_their_own_words_in_time(
    architecture: str, message: str, configure_dense: Configure
) -> None:
    config = configure_dense(architecture, "data.batch_size=1", "schedule.epochs=1", "schedule.epoch_steps=1")
    with pytest.raises(UserError, match=message):
        train(config)
    assert not Path(config.run.out).exists()


def test_networks_of_other_channels_are_not_evaluated() -> None:
    net = phonecv.create_model("mobileone_s0", num_classes=3, in_chans=2, **TINY["mobileone_s0"])
    with pytest.raises(UserError, match="2 channels, and what reads them gives RGB or gray"):
        open_classifier(net)
    check_takes_pictures(torch.nn.Conv2d(12, 3, 1), "a stem that folds pixels")
