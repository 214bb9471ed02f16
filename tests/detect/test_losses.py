"""Losses against torchvision, PyTorch's own and plain loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from detect.detectors import ONE_STAGE, pictures, small
from phonecv.detect.assign import IGNORED, NEGATIVE, Assigned, assign, spare
from phonecv.detect.base import flatten_level
from phonecv.detect.losses import focal_sum, mined_cross_entropy, normaliser

A, C, B, H, W = 3, 5, 2, 4, 6


def scene(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits as from a convolution, what anchors stand for, and labels of the objects."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, A * C, H, W, generator=generator, dtype=torch.float64) * 4
    index = torch.randint(-2, 3, (B, H * W * A), generator=generator)
    labels = torch.randint(0, C, (B, 3), generator=generator)
    return logits, index, labels


def torchvision_focal(logits: Tensor, index: Tensor, labels: Tensor, alpha: float) -> Tensor:
    flat = flatten_level(logits, C)
    target = F.one_hot(labels.gather(1, index.clamp(min=0)), C) * (index >= 0)[..., None]
    loss = torchvision.ops.sigmoid_focal_loss(flat, target.to(flat), alpha=alpha, gamma=2.0)
    return loss[index != IGNORED].sum()


@pytest.mark.parametrize("alpha", [0.25, 0.6])
@pytest.mark.parametrize("channels_last", [False, True])
def test_focal_loss_and_gradient_equal_torchvision(alpha: float, channels_last: bool) -> None:
    logits, index, labels = scene()
    if channels_last:
        logits = logits.contiguous(memory_format=torch.channels_last)
    results = []
    for loss in (
        lambda x: focal_sum(x, index, labels, classes=C, alpha=alpha),
        lambda x: torchvision_focal(x, index, labels, alpha),
    ):
        x = logits.clone().requires_grad_()
        value = loss(x)
        (value * 1.7).backward()
        assert x.grad is not None
        results.append((value.detach(), x.grad))
    torch.testing.assert_close(*results)


def test_focal_gradient_is_that_of_the_loss() -> None:
    logits, index, labels = scene(1)
    assert torch.autograd.gradcheck(lambda x: focal_sum(x, index, labels, classes=C), logits.requires_grad_())


def test_focal_loss_in_low_precision() -> None:
    logits, index, labels = scene()
    x = logits.bfloat16().requires_grad_()
    value = focal_sum(x, index, labels, classes=C)
    value.backward()
    assert value.dtype == torch.float32
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
    wanted = torchvision_focal(logits.bfloat16().double(), index, labels, 0.25)
    assert value.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_focal_loss_of_extreme_logits_is_finite() -> None:
    _, index, labels = scene()
    for size in (100.0, -100.0, 1e4, -1e4):
        x = torch.full((B, A * C, H, W), size, requires_grad=True)
        value = focal_sum(x, index, labels, classes=C)
        value.backward()
        assert value.isfinite()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def looped_mining(scores: Tensor, labels: Tensor, background: int) -> Tensor:
    """Picture by picture, with a sort."""
    total = scores.new_zeros(())
    for score, label in zip(scores, labels, strict=True):
        loss = F.cross_entropy(score, label, reduction="none")
        positive = label != background
        hard = loss[~positive].sort(descending=True).values[: 3 * int(positive.sum())]
        total = total + loss[positive].sum() + hard.sum()
    return total


@pytest.mark.parametrize("positives", [[4, 0, 1, 30], [0, 0, 0, 0], [40, 40, 40, 40]])
def test_mining_takes_the_hardest_negatives_of_each_picture(positives: list[int]) -> None:
    generator = torch.Generator().manual_seed(5)
    background = 7
    scores = torch.randn(4, 40, 8, generator=generator, dtype=torch.float64)
    labels = torch.full((4, 40), background)
    for row, count in zip(labels, positives, strict=True):
        row[torch.randperm(40, generator=generator)[:count]] = torch.randint(0, 7, (count,), generator=generator)
    grads = []
    values = []
    for loss in (mined_cross_entropy, looped_mining):
        x = scores.clone().requires_grad_()
        value = loss(x, labels, background)
        (value + 0 * x.sum()).backward()
        values.append(value.detach())
        grads.append(x.grad)
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(grads[0], grads[1])


def test_mining_shows_a_network_that_gives_nan() -> None:
    scores = torch.randn(1, 20, 4)
    scores[0, 11] = torch.nan
    labels = torch.full((1, 20), 3)
    labels[0, 2] = 1
    assert mined_cross_entropy(scores, labels, 3).isnan()


def test_a_picture_without_positives_counts_as_one() -> None:
    index = torch.tensor([[0, 1, NEGATIVE], [NEGATIVE, IGNORED, NEGATIVE], [IGNORED, 0, 2]])
    assert normaliser(Assigned(index)).item() == 5


@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_what_is_ignored_is_neither_object_nor_background(architecture: str) -> None:
    """The loss does not hang on the classes of anchors within it; as background, or left out, it does."""
    detector = small(architecture).train()
    images = pictures((90, 90), (90, 90))
    box, other = torch.tensor([[10.0, 10, 40, 40]]), torch.tensor([[50.0, 45, 88, 86]])
    target = {"boxes": torch.cat([box, other]), "labels": torch.tensor([0, 1])}
    marked = target | {"ignored": torch.tensor([False, True])}
    left_out = {"boxes": box, "labels": torch.tensor([0])}
    prepared = detector.prepare(images)
    shapes = [(x.shape[2], x.shape[3]) for x in detector.network(prepared.batch)[0]]
    anchors = torch.cat(detector.anchors(shapes, torch.device("cpu")))
    truth = detector.truth([marked, left_out], prepared)
    assert truth.valid.tolist() == [[True, False], [True, False]]
    plain = assign(anchors, truth.boxes, truth.valid, positive=0.5, negative=0.4, least=0.0)
    found = spare(plain, anchors, truth.ignored)
    scaled = other * prepared.scales.repeat(1, 2)[:1]
    low, high = torch.maximum(anchors[:, :2], scaled[:, :2]), torch.minimum(anchors[:, 2:], scaled[:, 2:])
    inside = (high - low).clamp(min=0).prod(1) >= 0.5 * (anchors[:, 2:] - anchors[:, :2]).prod(1)
    assert inside.any()
    assert torch.equal(found.index[1], plain.index[1])
    assert torch.equal(found.index[0] == IGNORED, (plain.index[0] == IGNORED) | (inside & plain.negative[0]))
    torch.manual_seed(0)
    with torch.no_grad():
        losses = [detector.losses(images, [one, left_out])["cls"].item() for one in (marked, left_out, target)]
    assert losses[0] < losses[1] or architecture == "ssdlite320"  # which learns from the hardest background alone
    assert losses[0] != losses[2]


def test_no_hard_negative_is_ignored() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(2, 60, 4, generator=generator), torch.full((2, 60), 3)
    labels[:, :4] = 1
    ignored = torch.zeros(2, 60, dtype=torch.bool)
    ignored[:, 30:] = True
    found = mined_cross_entropy(scores, labels, 3, (labels == 3) & ~ignored)
    torch.testing.assert_close(found, mined_cross_entropy(scores[:, :30], labels[:, :30], 3))
    assert found < mined_cross_entropy(scores, labels, 3)
