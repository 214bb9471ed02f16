"""Activation checkpointing leaves every number as it was, and keeps less."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from conftest import TINY
from phonecv import create_model
from phonecv.models import VisionModel

#: Random numbers in the blocks, so that a second run that draws others would be seen.
LIVELY: dict[str, dict[str, Any]] = {
    "emo_1m": {"drop_path": 0.5},
    "emov2_1m": {"drop_path": 0.5},
    "mobileone_s0": {"se_pairs": (0, 0, 1, 1)},
}


def step(model: VisionModel, amp: bool = False, kept: list[Tensor] | None = None) -> Tensor:
    """Forward and backward; `kept` collects what the forward pass keeps."""
    torch.manual_seed(3)
    x = torch.randn(4, 3, 64, 64)
    x.requires_grad_()

    def pack(tensor: Tensor) -> Tensor:
        if kept is not None:
            kept.append(tensor)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=amp),
    ):
        loss = F.cross_entropy(model(x).float(), torch.arange(4) % 3)
    loss.backward()
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize("name", sorted(TINY))
@pytest.mark.parametrize("amp", [False, True])
def test_gradients_and_statistics_are_the_same_bits(name: str, amp: bool) -> None:
    torch.manual_seed(0)
    plain = create_model(name, num_classes=3, **(TINY[name] | LIVELY[name])).train()
    checked = copy.deepcopy(plain)
    checked.checkpoint_activations = True
    for _ in range(2):  # the second step starts from moved statistics
        assert torch.equal(step(plain, amp), step(checked, amp))
    for (key, value), other in zip(plain.named_parameters(), checked.parameters(), strict=True):
        assert value.grad is not None, key
        assert other.grad is not None, key
        assert torch.equal(value.grad, other.grad), key
    for (key, value), other in zip(plain.named_buffers(), checked.buffers(), strict=True):
        assert torch.equal(value, other), key
    counters = [value for key, value in checked.named_buffers() if key.endswith("num_batches_tracked")]
    assert counters
    assert all(int(counter) == 2 for counter in counters)


@pytest.mark.parametrize("name", sorted(TINY))
def test_less_is_kept(name: str) -> None:
    sizes = []
    for wanted in (False, True):
        model = create_model(name, num_classes=3, **TINY[name]).train()
        model.checkpoint_activations = wanted
        kept: list[Tensor] = []
        step(model, kept=kept)
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
        sizes.append(sum(size for where, size in storages.items() if where not in own))
    assert sizes[1] < 0.5 * sizes[0]


def test_features_and_evaluation_go_the_same_way() -> None:
    model = create_model("emov2_1m", out_indices=(1, 2, 3, 4), **TINY["emov2_1m"]).train()
    x = torch.randn(2, 3, 64, 64)
    expected = [value.detach() for value in copy.deepcopy(model)(x)]
    model.checkpoint_activations = True
    found = model(x)
    assert all(torch.equal(value, other) for value, other in zip(found, expected, strict=True))
    model.eval()
    with torch.inference_mode():
        assert len(model(x)) == 4
