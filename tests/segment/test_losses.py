"""The pixel loss against PyTorch's and against a loop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from phonecv.errors import UserError
from phonecv.segment.losses import balanced_weights, pixel_cross_entropy


def test_ignored_pixels_count_in_the_mean() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 6, 5), torch.randint(0, 4, (2, 6, 5))
    assert pixel_cross_entropy(logits, labels).item() == pytest.approx(F.cross_entropy(logits, labels).item())
    labels[:, :2] = 255
    expected = 0.0
    for b in range(2):
        for y in range(6):
            for x in range(5):
                if labels[b, y, x] != 255:
                    expected -= logits[b, :, y, x].log_softmax(0)[labels[b, y, x]].item() / 60
    assert pixel_cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-5)
    plain = F.cross_entropy(logits, labels, ignore_index=255).item()
    assert plain * 40 / 60 == pytest.approx(expected, rel=1e-5)


def test_logits_are_resized_to_the_labels() -> None:
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 9, 7))
    large = F.interpolate(logits, (9, 7), mode="bilinear", align_corners=False)
    assert pixel_cross_entropy(logits, labels).item() == pytest.approx(F.cross_entropy(large, labels).item())


def test_fresh_logits_cost_the_logarithm_of_the_classes() -> None:
    labels = torch.randint(0, 150, (1, 8, 8))
    assert pixel_cross_entropy(torch.zeros(1, 150, 8, 8), labels).item() == pytest.approx(math.log(150))


def test_nothing_labelled_costs_nothing() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = pixel_cross_entropy(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("size", [(4, 5), (9, 20), (3, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_the_one_that_autograd_finds(size: tuple[int, int], weighted: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    logits = 5 * torch.randn(3, 6, *size, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 6, (3, 9, 20), generator=generator)
    labels[0, :4], labels[1] = 255, 255
    weights = torch.rand(6, generator=generator, dtype=torch.float64) + 0.5 if weighted else None
    losses, gradients = [], []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = logits.clone(memory_format=layout).requires_grad_()
        loss = pixel_cross_entropy(x, labels, weights)
        (7 * loss).backward()
        assert x.grad is not None
        losses.append(loss.item())
        gradients.append(x.grad)
    x = logits.clone().requires_grad_()
    large = F.interpolate(x, (9, 20), mode="bilinear", align_corners=False)
    shift = 0 if weights is None else weights.log().view(-1, 1, 1)
    total = F.cross_entropy(large + shift, labels, weights, ignore_index=255, reduction="sum") / labels.numel()
    (7 * total).backward()
    assert x.grad is not None
    with torch.no_grad():
        losses.append(pixel_cross_entropy(logits, labels, weights).item())
    assert losses == pytest.approx([total.item()] * 3, rel=1e-12)
    for gradient in gradients:
        torch.testing.assert_close(gradient, x.grad, rtol=1e-10, atol=1e-14)


def test_large_logits_keep_their_gradient() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]]).view(1, 3, 1, 1).requires_grad_()
    pixel_cross_entropy(logits, torch.ones(1, 1, 1, dtype=torch.int64)).backward()
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [1.0, -1.0, 0.0]


def test_half_precision_is_summed_in_float32() -> None:
    logits, labels = torch.randn(1, 3, 64, 64), torch.randint(0, 3, (1, 64, 64))
    low = pixel_cross_entropy(logits.bfloat16(), labels)
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(pixel_cross_entropy(logits, labels).item(), rel=0.01)


@pytest.mark.parametrize("value", [3, 254, -1, 256])
def test_labels_out_of_range_are_named(value: int) -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, 1, 2] = value
    with pytest.raises(UserError, match=f"hold {value};"):
        pixel_cross_entropy(torch.randn(1, 3, 4, 4), labels)


def test_balanced_weights() -> None:
    pixels = [900, 90, 10, 0]
    assert balanced_weights(pixels, 0.0).tolist() == [1, 1, 1, 1]
    every = balanced_weights(pixels, 1.0)
    shares = every * torch.tensor(pixels)
    torch.testing.assert_close(shares[:3], torch.full((3,), 1000 / 3))  # every class the same in all
    assert every[3] == every[2]  # never seen: as the rarest that was
    half = balanced_weights(pixels, 0.5)
    assert half[1] / half[0] == pytest.approx(math.sqrt(10))
    assert float((half * torch.tensor(pixels)).sum()) == pytest.approx(1000)
    assert balanced_weights([0, 0], 0.5).tolist() == [1, 1]


def test_factors_are_those_of_pytorch() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 5, 5), torch.randint(0, 3, (2, 5, 5))
    labels[0, 0] = 255
    factors = torch.tensor([1.0, 5.0, 0.0])
    wanted = F.cross_entropy(logits, labels, factors, ignore_index=255, reduction="sum") / labels.numel()
    for needed in (False, True):
        found = pixel_cross_entropy(logits.requires_grad_(needed), labels, None, factors)
        torch.testing.assert_close(found.detach(), wanted)


def test_weights_count_pixels_several_times_without_moving_the_best_answer() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2]).view(1, 10, 10)
    shares = torch.tensor([0.9, 0.09, 0.01])
    weights = balanced_weights([90, 9, 1], 0.5)
    best = shares.log().view(1, 3, 1, 1).expand(1, 3, 10, 10).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(pixel_cross_entropy(best, labels, weights), best)
    assert gradient.sum((0, 2, 3)).abs().max() < 1e-6
    wrong = torch.zeros(1, 3, 10, 10, requires_grad=True)
    (plain,) = torch.autograd.grad(pixel_cross_entropy(wrong, labels), wrong)
    (weighted,) = torch.autograd.grad(pixel_cross_entropy(wrong, labels, weights), wrong)
    rare, frequent = (0, 2, 9, 9), (0, 0, 0, 0)
    assert weighted[rare] / plain[rare] > 3 * weighted[frequent] / plain[frequent]
