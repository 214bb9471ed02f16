"""Networks of clips: against convolutions over time and space, attention written out, and the networks of pictures."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import TINY
from phonecv.errors import UserError
from phonecv.models import build_model
from phonecv.models.blocks import Conv2d, Scheme
from phonecv.models.clips import ClipConv, ClipGrid, inflate
from phonecv.models.emov2 import EMOv2
from phonecv.models.fusing import form_difference, fuse
from settle import settle

#: Side of the pictures: one window in the last stage, several in the one before.
SIDE = 64


def network(**more: object) -> EMOv2:
    """A tiny network with settled statistics, of ten classes."""
    net = build_model("emov2_1m", num_classes=10, **TINY["emov2_1m"], window=2, **more)
    assert isinstance(net, EMOv2)
    settle(net, size=SIDE)
    return net


@pytest.mark.parametrize(("frames", "time_stride"), [(4, 2), (2, 1), (1, 2), (8, 1), (4, 1)])
@pytest.mark.parametrize(("kernel", "groups", "stride"), [(3, 1, 2), (5, 6, 1), (5, 6, 2)])
def test_convolution_is_the_one_over_time_and_space(
    frames: int, time_stride: int, kernel: int, groups: int, stride: int
) -> None:
    torch.manual_seed(0)
    conv = ClipConv(Conv2d(6, 6, kernel, stride, kernel // 2, groups=groups), frames=frames, time_stride=time_stride)
    conv.spread()
    x = torch.randn(frames * 2, 6, 12, 11)
    weight = torch.stack([tap.weight for tap in conv.convolutions], 2)
    clips = x.unflatten(0, (frames, 2)).permute(1, 2, 0, 3, 4)
    padding = (kernel // 2,) * 3
    wanted = F.conv3d(clips, weight, conv.middle.bias, (time_stride, stride, stride), padding, groups=groups)
    found = conv(x).unflatten(0, (-1, 2)).permute(1, 2, 0, 3, 4)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    executed = sum(len(pairs) for pairs in conv._pairs) * conv.middle.weight.numel() * wanted[0, 0, 0].numel()
    assert executed + conv.saved_macs(x) == wanted[0].numel() * weight[0].numel()


@pytest.mark.parametrize("scheme", ["close", "remote"])
@pytest.mark.parametrize(("frames", "side"), [(2, 4), (4, 4), (2, 2), (4, 2)])
def test_windows_hold_the_tokens_that_the_paper_gives_them(scheme: Scheme, frames: int, side: int) -> None:
    window, span = 2, 2
    grid = ClipGrid(side, side, window, frames=frames, span=span)
    places = torch.arange(3 * frames * side * side).reshape(frames, 3, side, side)
    windows = grid.split(places.reshape(-1, 1), scheme)[:, :, 0]
    groups = frames // span, side // window, side // window
    sizes = span, window, window
    wanted = set()
    for clip in places.unbind(1):
        for cell in torch.cartesian_prod(*(torch.arange(count) for count in groups)).reshape(-1, 3).tolist():
            axes = [
                range(first * size, (first + 1) * size) if scheme == "close" else range(first, count * size, count)
                for first, count, size in zip(cell, groups, sizes, strict=True)
            ]
            wanted.add(tuple(clip[list(axes[0])][:, list(axes[1])][:, :, list(axes[2])].flatten().tolist()))
    assert {tuple(window) for window in windows.tolist()} == wanted
    assert grid.tokens == windows.shape[1]
    assert torch.equal(grid.merge(windows[:, :, None], scheme)[:, 0], places.flatten())


@pytest.mark.parametrize("frames", [1, 2, 4, 8])
def test_a_still_clip_gives_what_the_picture_gives(frames: int) -> None:
    net, x = network(), torch.randn(2, 3, SIDE, SIDE)
    clips = copy.deepcopy(net)
    later = inflate(clips, frames)
    with torch.no_grad():
        wanted = net.forward_features(x)
        found = clips.forward_features(x.repeat(frames, 1, 1, 1)).unflatten(0, (later, 2))
    assert later == -(-frames // 2)
    for frame in found:
        assert (frame - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_moving_clips_differ_from_their_frames_in_another_order() -> None:
    net = network()
    inflate(net, 4)
    for module in net.modules():
        if isinstance(module, ClipConv):
            module.spread()
    settle(net, size=SIDE)
    x = torch.randn(4, 3, SIDE, SIDE)
    with torch.no_grad():
        one, other = net.forward_features(x).mean(0), net.forward_features(x.flip(0)).mean(0)
    assert (one - other).abs().max() > 1e-3 * one.abs().max()


def test_fused_clips_say_the_same() -> None:
    net = network()
    inflate(net, 4)
    for module in net.modules():
        if isinstance(module, ClipConv):
            module.spread()
    settle(net, size=SIDE)
    fused = fuse(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert form_difference(net, fused, torch.randn(8, 3, SIDE, SIDE)) < 1e-5


def test_frames_of_a_clip_are_dropped_together() -> None:
    net = network(drop_path=0.9)
    inflate(net, 4)
    drop = net.get_submodule("stage4.1.drop_path").train()
    kept = drop(torch.ones(64, 2, 1, 1))[:, 0, 0, 0].unflatten(0, (2, 32))
    assert torch.equal(kept[0], kept[1])
    assert len(kept[0].unique()) == 2


@pytest.mark.parametrize("frames", [0, 3, 6])
def test_numbers_of_frames_that_windows_do_not_divide_are_refused(frames: int) -> None:
    with pytest.raises(UserError, match=f"frames {frames} is not 1, 2 or a multiple of 4"):
        inflate(network(), frames)
