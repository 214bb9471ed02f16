"""The baseline of the benchmarks computes what our networks compute, in both directions of a training step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import phonecv
import reference_style
from conftest import mostly_long
from settle import settle
from weights.helpers import relative

CASES = mostly_long(["emo_1m", "emov2_1m", "emo_5m", "emov2_5m"], "emo_1m", "emov2_1m")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [64, 150])
def test_outputs_are_ours_in_every_form(name: str, size: int) -> None:
    ours = settle(phonecv.create_model(name))
    theirs = reference_style.build(name).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(x)
        assert relative(ours(x), expected) < 1e-4
        assert relative(phonecv.fuse(ours)(x), expected) < 1e-4


@pytest.mark.parametrize("name", ["emo_1m", "emov2_1m"])
def test_gradients_and_statistics_are_ours(name: str) -> None:
    ours = settle(phonecv.create_model(name, drop_path=0.0)).double().train()
    theirs = reference_style.build(name).double().train()
    theirs.load_state_dict(ours.state_dict())
    for module in theirs.modules():
        if isinstance(module, reference_style.DropPath):
            module.rate = 0.0
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    for model in (ours, theirs):
        nn.functional.cross_entropy(model(x), torch.tensor([1, 7])).backward()
    gradients = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    for key, parameter in ours.named_parameters():
        ours_grad, theirs_grad = parameter.grad, gradients[key]
        assert ours_grad is not None
        assert theirs_grad is not None
        # Keys' biases have no effect, so their gradients are nothing but rounding.
        assert (ours_grad - theirs_grad).abs().max() < 1e-9 * max(1e-3, theirs_grad.abs().max().item()), key
    buffers = dict(theirs.named_buffers())
    for key, buffer in ours.named_buffers():
        assert relative(buffer.double(), buffers[key].double()) < 1e-10, key


def test_a_network_without_the_hybrid_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="mobileone_s0"):
        reference_style.build("mobileone_s0")
