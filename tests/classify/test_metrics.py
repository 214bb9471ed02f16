"""TopK against a sort in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from phonecv.whole.metrics import Accuracy, TopK, label_rank, standard_error


def plain_counts(logits: torch.Tensor, labels: torch.Tensor) -> list[int]:
    counts = [0, 0, 0]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda index: (-row[index], index))
        counts[0] += 1
        counts[1] += order[0] == label
        counts[2] += label in order[:5]
    return counts


@pytest.mark.parametrize("classes", [2, 3, 5, 6, 10, 1000])
def test_counts_equal_a_sort(classes: int) -> None:
    torch.manual_seed(classes)
    meter = TopK(classes, "cpu")
    expected = [0, 0, 0]
    for size in (7, 1, 32):
        # Rounded values, so that ties occur.
        logits, labels = torch.randn(size, classes).round(decimals=1), torch.randint(classes, (size,))
        meter.update(logits, labels)
        expected = [a + b for a, b in zip(expected, plain_counts(logits, labels), strict=True)]
    assert meter.counts.tolist() == expected
    result = meter.result()
    assert (result.count, result.top1, result.top5) == tuple(expected)
    if classes <= 5:
        assert result.top5 == result.count


def test_nan_and_foreign_labels_are_never_right() -> None:
    meter = TopK(3, "cpu")
    logits = torch.zeros(5, 3)
    logits[0, 1] = float("nan")
    logits[1, 0] = float("nan")
    meter.update(logits, torch.tensor([0, 0, -1, 3, 0]))
    assert meter.counts.tolist() == [5, 1, 1]


def test_a_constant_output_gets_no_credit_for_ties() -> None:
    meter = TopK(10, "cpu")
    meter.update(torch.zeros(10, 10), torch.arange(10))
    assert meter.counts.tolist() == [10, 1, 5]


def test_counts_add_up_over_parts() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 12), torch.randint(12, (50,))
    whole, first, second = TopK(12, "cpu"), TopK(12, "cpu"), TopK(12, "cpu")
    whole.update(logits, labels)
    first.update(logits[::2], labels[::2])
    second.update(logits[1::2], labels[1::2])
    assert torch.equal(first.counts + second.counts, whole.counts)


def test_the_standard_error_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(0)
    shares = rng.binomial(66, 0.9, 20_000) / 66 * 100
    assert standard_error(0.9 * 66, 66) == pytest.approx(shares.std(), rel=0.03)
    # All right is not certain: half a picture is taken as wrong.
    for right in (0, 66):
        assert standard_error(right, 66) == pytest.approx(100 * math.sqrt(0.5 * 65.5 / 66) / 66)
    assert standard_error(0, 0) == 0


def test_text_and_shape() -> None:
    assert str(Accuracy(200, 171, 192)) == "171/200 top-1 (85.50 ± 2.49 %), 192/200 top-5 (96.00 %)"
    assert (
        str(Accuracy(66, 64, 66, 3)) == "64/66 top-1 (96.97 ± 2.11 %)"
    )  # of three classes all are among the first five
    assert "top-5" not in str(Accuracy(9, 8, 9, 5))
    assert "top-5" in str(Accuracy(9, 8, 9, 6))
    assert Accuracy(0, 0, 0).top1_percent == 0.0
    with pytest.raises(ValueError, match="B x 4"):
        TopK(4, "cpu").update(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    assert label_rank(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([2])).tolist() == [1]
