"""EMO and EMOv2 as a newer timm builds them: the same networks under other names.

The network below has timm's modules, in timm's order, without what they compute. Both code bases register the parts of
a block in the same order, so the n-th tensor of one is the n-th of the other: that tells the right names without the
rules that are tested.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import phonecv
from phonecv.models.catalog import MODELS
from phonecv.weights import to_phonecv
from phonecv.weights.recognise import recognise


class Block(nn.Module):
    def __init__(self, dim: int, out: int, ratio: float, kernel: int, late: bool, attends: bool, scale: bool) -> None:
        super().__init__()
        middle = int(dim * ratio)
        self.norm = nn.LayerNorm(dim) if late else nn.BatchNorm2d(dim)
        if attends:
            self.qk = nn.Conv2d(dim, 2 * dim, 1)
        self.v = nn.Sequential(nn.Conv2d(dim, middle, 1), nn.SiLU())
        local = nn.Conv2d(middle, middle, kernel, groups=middle, bias=False)
        self.conv_local = nn.Sequential(local, nn.BatchNorm2d(middle), nn.SiLU())
        self.proj = nn.Conv2d(middle, out, 1, bias=False)
        if scale:
            self.layer_scale = nn.Module()
            self.layer_scale.gamma = nn.Parameter(torch.ones(out))


class Stage(nn.Module):
    def __init__(self, first: Block, others: list[Block]) -> None:
        super().__init__()
        self.downsample = first
        self.blocks = nn.Sequential(*others) if others else nn.Identity()


class SqueezeExcite(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)


class Network(nn.Module):
    """Parameters and buffers of timm's EMO (with a stem of 24 channels) or EMOv2."""

    def __init__(self, name: str, num_classes: int = 7) -> None:
        super().__init__()
        config = MODELS[name].config
        second = name.startswith("emov2")
        widths, kernels = config["widths"], (5, 5, 5, 5) if second else (3, 3, 5, 5)
        stem = widths[0] // 2 if second else 24
        parts: list[nn.Module] = [nn.Conv2d(3, stem, 3), nn.BatchNorm2d(stem)]
        if second:
            parts += [nn.SiLU()]
        parts += [nn.Conv2d(stem, stem, 3, groups=stem, bias=False), nn.BatchNorm2d(stem), nn.SiLU()]
        if not second:
            parts += [SqueezeExcite(stem), nn.Dropout()]
        self.patch_embed = nn.Sequential(*parts, nn.Conv2d(stem, stem, 1, bias=False))
        dims = (stem, *widths)
        self.stages = nn.Sequential(
            *(
                Stage(
                    Block(dims[i], dims[i + 1], 2 * config["exp_ratios"][i], kernels[i], i > 1, False, second),
                    [
                        Block(dims[i + 1], dims[i + 1], config["exp_ratios"][i], kernels[i], i > 1, i > 1, second)
                        for _ in range(config["depths"][i] - 1)
                    ],
                )
                for i in range(4)
            )
        )
        self.norm = nn.LayerNorm(widths[-1])
        self.head = nn.Linear(widths[-1], num_classes)


def filled(name: str) -> dict[str, Tensor]:
    state = Network(name).state_dict()
    return {key: torch.full_like(value, n) for n, (key, value) in enumerate(state.items())}


@pytest.mark.parametrize("name", ["emo_1m", "emo_6m", "emov2_1m", "emov2_2m", "emov2_20m"])
def test_timm_s_names_become_ours_in_the_same_order(name: str) -> None:
    theirs = filled(name)
    assert {"patch_embed.0.weight", "stages.0.downsample.norm.weight", "stages.3.blocks.1.qk.bias"} <= theirs.keys()
    found = recognise({f"model.{key}": value for key, value in theirs.items()})
    assert (found.layout, found.family, found.form, found.num_classes) == ("timm", name.split("_")[0], "training", 7)
    assert name in found.candidates
    ours = phonecv.create_model(name, num_classes=7).state_dict()
    renamed = to_phonecv(theirs, "timm")
    assert renamed.keys() == ours.keys()
    for n, key in enumerate(ours):
        assert renamed[key].shape == ours[key].shape, key
        assert (renamed[key] == n).all(), key


def test_a_file_of_theirs_loads() -> None:
    state = filled("emov2_1m")
    model = phonecv.load_checkpoint("emov2_1m", {"state_dict": state, "arch": "emo2_1m"})
    assert model.num_classes == 7
    for ours, theirs in (
        ("head.bias", "head.bias"),
        ("stage0.2.conv.weight", "patch_embed.6.weight"),
        ("stage4.2.norm.norm.weight", "stages.3.blocks.1.norm.weight"),
        ("stage2.0.eops.0.net.conv.bias", "stages.1.downsample.v.0.bias"),
        ("stage3.7.eops.0.v.conv.bias", "stages.2.blocks.6.v.0.bias"),
        ("stage1.1.conv_local.norm.running_var", "stages.0.blocks.0.conv_local.1.running_var"),
    ):
        assert torch.equal(model.state_dict()[ours], state[theirs]), ours
    gamma = model.get_parameter("stage1.0.ls.gamma")
    assert torch.equal(gamma.flatten(), state["stages.0.downsample.layer_scale.gamma"])
