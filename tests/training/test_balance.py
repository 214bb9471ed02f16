"""Rare classes count for more: in the loss, and in how often their pictures come."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.data.mixup import mixup_target

from phonecv.classify.config import LossConfig
from phonecv.classify.objective import ClassifyObjective
from phonecv.classify.training import open_setup
from phonecv.data.loading.loader import TrainBatches
from phonecv.detect.training import DetectSetup
from phonecv.errors import UserError
from phonecv.segment.training import SegmentSetup
from phonecv.training import train
from phonecv.training.balance import class_weights, pick_rates
from phonecv.training.batches import StreamBatches
from phonecv.training.world import World
from training.conftest import Configure
from training.test_resume import assert_same, crash


@pytest.fixture
def uneven(pictures: Path, tmp_path: Path) -> Path:
    """8 blue, 4 green and 2 red training pictures."""
    root = tmp_path / "uneven"
    shutil.copytree(pictures, root)
    for name, kept in (("green", 4), ("red", 2)):
        for path in sorted((root / "train" / name).iterdir())[kept:]:
            path.unlink()
    return root


def test_balanced_weights_and_those_by_name() -> None:
    # scikit-learn's compute_class_weight("balanced"): n / (k count).
    assert class_weights("balanced", "abc", [8, 4, 2], 4) == pytest.approx([14 / 24, 14 / 12, 14 / 6, 1])
    assert class_weights("balanced", "abc", [8, 0, 8], 3) == pytest.approx([1, 8, 1])
    assert class_weights({"b": 3, "c": 0}, "abc", [8, 4, 2], 3) == [1, 3, 0]
    assert class_weights("balanced", "ab", [25, 100], 2, total=100) == [3, 0.01]  # of labels that may be there together
    assert class_weights(None, "abc", [8, 4, 2], 3) is None
    with pytest.raises(UserError, match=r"'be' is no class of the data.*classes: a, b, c"):
        class_weights({"be": 3}, "abc", [8, 4, 2], 3)
    with pytest.raises(UserError, match="b=-1 is no number from 0 on"):
        class_weights({"b": -1}, "abc", [8, 4, 2], 3)


def test_the_weighted_loss_is_pytorchs_over_the_number_of_pictures() -> None:
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(6, 3), torch.tensor([0, 0, 1, 2, 0, 1]), torch.tensor([0.5, 1.0, 3.0])
    objective = ClassifyObjective(3, LossConfig(smoothing=0.1), weights)
    each = F.cross_entropy(logits, labels, weights, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(objective.cross_entropy(logits, labels), each.mean())
    # Parts of a batch count as the whole does, and labels given as shares as labels.
    halves = [objective.cross_entropy(*part) for part in zip(logits.split(3), labels.split(3), strict=True)]
    torch.testing.assert_close(torch.stack(halves).mean(), each.mean())
    mixed = ClassifyObjective(3, LossConfig(smoothing=0.1, mixup=0.2), weights)
    targets = mixup_target(labels, 3, 1.0, 0.1)
    torch.testing.assert_close(mixed.cross_entropy(logits, targets), each.mean())


def test_class_weights_reach_the_training(configure: Configure, uneven: Path) -> None:
    config = configure(f"data.path={uneven}", "loss.class_weights=balanced")
    setup = open_setup(config)
    objective = setup.objective(setup.network(), World())
    assert objective.weights.tolist() == pytest.approx([14 / 24, 14 / 12, 14 / 6])  # type: ignore[attr-defined]
    by_name = open_setup(configure(f"data.path={uneven}", "loss.class_weights={red: 4}"))
    assert by_name.objective(by_name.network(), World()).weights.tolist() == [1, 1, 4]  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="'rad' is no class of the data; did you mean 'red'"):
        train(configure(f"data.path={uneven}", "loss.class_weights={rad: 4}"))
    with pytest.raises(UserError, match="balanced"):
        configure("loss.class_weights=balancd")


def test_class_weights_of_segmenters_are_by_name(configure_dense: Configure) -> None:
    setup = SegmentSetup(configure_dense("segformer", "segment.class_weights={'7': 3}"))
    network = setup.network()
    assert network.class_factors is not None
    expected = [3.0 if name == "7" else 1.0 for name in setup.train.classes]
    assert network.class_factors.tolist() == expected
    assert "class_factors" not in network.state_dict()
    with pytest.raises(UserError, match=r"data\.balance takes pictures by their classes"):
        configure_dense("segformer", "data.balance=0.5")


def test_rates_follow_the_rarest_class_of_a_picture() -> None:
    labels = np.array([0] * 8 + [1] * 4 + [2] * 2)
    rates = pick_rates(np.arange(14), labels, 14, 1.0)
    assert rates is not None
    assert [rates[labels == label].sum() for label in range(3)] == pytest.approx([14 / 3] * 3)
    root = pick_rates(np.arange(14), labels, 14, 0.5)
    assert root is not None
    assert root[13] / root[0] == pytest.approx(2.0)  # a quarter as many pictures
    assert pick_rates(np.arange(14), labels, 14, 0.0) is None
    # Pictures 0 and 1 hold class 0, picture 1 twice and class 1 as well, picture 2 nothing.
    mixed = pick_rates(np.array([0, 1, 1, 1]), np.array([0, 0, 0, 1]), 3, 1.0)
    assert mixed == pytest.approx(np.array([1.5, 3.0, 1.5]) / 2)


@pytest.mark.parametrize("passes", [1, 2])
def test_an_epoch_takes_what_its_rates_say(passes: int) -> None:
    rates = np.array([0.5] * 8 + [1.0] * 4 + [3.0, 3.0])
    rates *= 14 / rates.sum()

    def batches(rank: int = 0, world: int = 1) -> TrainBatches:
        common = {"seed": 3, "rank": rank, "world": world, "rates": rates}
        return TrainBatches(14, 2, **common) if passes == 1 else StreamBatches(14, 2, passes=passes, **common)

    total = Counter[int]()
    for epoch in range(200):
        keys = [key for batch in batches().epoch(epoch) for key in batch]
        assert len(set(keys)) == len(keys) == 14 * passes  # a copy has random numbers of its own
        for number in range(passes):
            taken = Counter(key.index for key in keys[14 * number : 14 * number + 14])
            assert all(abs(taken[index] - rate) < 1 for index, rate in enumerate(rates))
            total += taken
    assert [total[index] / (200 * passes) for index in range(14)] == pytest.approx(rates, abs=0.12)
    whole = [key for batch in batches().epoch(5, 2) for key in batch]
    assert whole == [key for batch in batches().epoch(5) for key in batch][4:]  # goes on in the middle
    parts = [[key for batch in batches(rank, 2).epoch(5) for key in batch] for rank in range(2)]
    assert {*parts[0], *parts[1]} <= {key for batch in batches().epoch(5) for key in batch}
    assert not {*parts[0]} & {*parts[1]}


def test_balanced_detectors_take_pictures_of_rare_classes(configure_dense: Configure) -> None:
    setup = DetectSetup(configure_dense("ssdlite320", "data.balance=1"))
    data = setup.data(setup.network(), World(), 0)
    held = [set(setup.train.targets(index)["labels"].tolist()) for index in range(len(setup.train))]
    holders = Counter(label for labels in held for label in labels)
    wanted = torch.tensor([max((1 / holders[label] for label in labels), default=0) for labels in held])
    assert data.batches.rates == pytest.approx((wanted / wanted.sum() * len(held)).numpy())


def test_a_balanced_run_goes_on_bit_by_bit(configure: Configure, uneven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (f"data.path={uneven}", "data.balance=1", "run.save_every=1", "loss.class_weights=balanced")
    whole, cut = configure(*settings, out="whole"), configure(*settings, out="cut")
    assert train(whole).finished
    crash(cut, 4, monkeypatch)
    assert train(cut).finished
    assert_same(whole, cut)
    with pytest.raises(UserError, match=r"data\.repeats and data\.balance"):
        configure("data.repeats=2", "data.balance=1")
