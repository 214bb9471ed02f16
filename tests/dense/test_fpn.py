"""The feature pyramid against torchvision's, with which it agrees up to P6."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torchvision
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from phonecv.dense.fpn import FPN
from phonecv.errors import UserError

CHANNELS = [6, 9, 12]


def maps() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    # Sizes that are not halves of each other.
    sizes = [(13, 21), (7, 11), (4, 6)]
    return [torch.randn(2, c, *size, generator=generator) for c, size in zip(CHANNELS, sizes, strict=True)]


def test_equals_torchvision_but_for_its_activation() -> None:
    ours = FPN(CHANNELS, 16, extra="p6p7")
    theirs = torchvision.ops.FeaturePyramidNetwork(CHANNELS, 16, extra_blocks=LastLevelP6P7(CHANNELS[-1], 16))
    names = {"laterals.": "inner_blocks.", "outputs.": "layer_blocks."}
    state = {}
    for key, value in ours.state_dict().items():
        for a, b in names.items():
            if key.startswith(a):
                number, leaf = key.removeprefix(a).split(".")
                state[f"{b}{number}.0.{leaf}"] = value
        if key.startswith("coarser."):
            number, leaf = key.removeprefix("coarser.").split(".")
            state[f"extra_blocks.p{6 + int(number)}.{leaf}"] = value
    theirs.load_state_dict(state)
    x = maps()
    found, wanted = ours(x), list(theirs(OrderedDict(enumerate_names(x))).values())
    assert [tuple(y.shape[-2:]) for y in found] == [(13, 21), (7, 11), (4, 6), (2, 3), (1, 2)]
    for y, z in zip(found[:4], wanted, strict=False):
        torch.testing.assert_close(y, z, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[4], wanted[4], atol=1e-3)
    torch.testing.assert_close(found[4], ours.coarser[1](found[3]))


def enumerate_names(x: list[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    return [(str(i), y) for i, y in enumerate(x)]


def test_pooled_level_and_none() -> None:
    pooled = FPN(CHANNELS, 16, extra="pool")
    found = pooled(maps())
    assert len(found) == 4
    assert torch.equal(found[3], found[2][:, :, ::2, ::2])
    assert len(FPN(CHANNELS, 16)(maps())) == 3
    with pytest.raises(UserError, match="p5"):
        FPN(CHANNELS, 16, extra="p5")  # pyrefly: ignore
