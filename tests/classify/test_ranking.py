"""Average precision, thresholds and F1 of labels that do not exclude each other, against loops and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phonecv.classify.ranking import LEAST, average_precision, best_thresholds, counted, mean_defined


def drawn(pictures: int = 40, labels: int = 6, *, ties: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(pictures + ties)
    scores = torch.rand(pictures, labels, generator=generator)
    truth = torch.rand(pictures, labels, generator=generator) < torch.linspace(0.1, 0.9, labels)
    return (scores.mul(8).round() / 8 if ties else scores), truth


def plain_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """The sum over falling thresholds of precision times the rise of recall."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        told = scores >= threshold
        recall = (told & truth).sum() / truth.sum()
        total += (recall - before) * (told & truth).sum() / told.sum()
        before = recall
    return total


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision(ties: bool) -> None:
    scores, truth = drawn(ties=ties)
    found = average_precision(scores, truth)
    wanted = [plain_precision(scores[:, label].numpy(), truth[:, label].numpy()) for label in range(6)]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    theirs = metrics.multilabel_average_precision(scores, truth.long(), 6, average="none")
    np.testing.assert_allclose(found.numpy(), theirs.numpy(), rtol=1e-5)


def test_of_a_label_without_pictures_nothing_is_known() -> None:
    scores, truth = drawn()
    truth[:, 2] = False
    found = average_precision(scores, truth)
    assert found.isnan().tolist() == [label == 2 for label in range(6)]
    assert mean_defined(found) == pytest.approx(float(found[[0, 1, 3, 4, 5]].mean()))
    assert np.isnan(mean_defined(average_precision(scores, torch.zeros_like(truth))))


def test_what_is_no_number_comes_last() -> None:
    scores = torch.tensor([[float("nan")], [0.1], [0.9]])
    assert float(average_precision(scores, torch.tensor([[True], [False], [True]]))) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("ties", [False, True])
def test_thresholds_have_the_best_f1(ties: bool) -> None:
    scores, truth = drawn(ties=ties)
    thresholds = best_thresholds(scores, truth)
    reached = counted(scores >= thresholds, truth).f1
    for label in range(6):
        tried = [counted(scores >= one, truth).f1[label] for one in scores[:, label].unique()]
        if truth[:, label].sum() >= LEAST:
            assert float(reached[label]) == pytest.approx(float(max(tried)))
        assert not (scores[:, label] == thresholds[label]).any() or not thresholds[label]  # between two pictures


def test_rare_labels_share_a_threshold_and_of_nothing_it_is_half() -> None:
    scores, truth = drawn()
    truth[:, :2] = False
    truth[:2, 0] = True
    found = best_thresholds(scores, truth)
    assert found[0] == found[1]
    assert best_thresholds(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.bool)).tolist() == [0.5] * 3
    assert best_thresholds(scores, torch.zeros_like(truth)).tolist() == [0.5] * 6


def test_counts() -> None:
    told = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    truth = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 0]]).bool()
    found = counted(told, truth)
    assert found.f1[:2].tolist() == pytest.approx([0.8, 0.0])
    assert found.precision.tolist() == [1.0, 0.0, 1.0]
    assert found.recall[:2].tolist() == pytest.approx([2 / 3, 0.0])
    assert found.f1[2].isnan()
