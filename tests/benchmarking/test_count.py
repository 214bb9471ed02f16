"""Counted operations against torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from phonecv.benchmarking import count_cost
from phonecv.models import build_model


class Attention(nn.Module):
    """Fused attention, an einsum and a matrix product on the pixels of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = nn.functional.scaled_dot_product_attention(*[tokens.unflatten(2, (2, 4)).transpose(1, 2)] * 3)
        return torch.einsum("bhnc,bhmc->bhnm", tokens, tokens) @ tokens


@pytest.mark.parametrize("network", [Attention, lambda: build_model("emov2_1m", depths=(1, 1, 2, 2))])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_operations_are_those_of_torch_s_counter(network: type[nn.Module], device: str) -> None:
    model = network().eval().to(device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 32, 32, device=device))
    assert 2 * count_cost(model, 32).executed_macs == counter.get_total_flops() > 0
