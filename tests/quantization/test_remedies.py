"""Remedies: exact in floating point where they should be, helpful where not, and noted on the network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from phonecv.errors import UserError
from phonecv.exporting.ranges import Int8Settings
from phonecv.models import VisionModel
from phonecv.models.mobileone import DeployedMobileOneBlock
from phonecv.models.quantized import layers_of
from phonecv.quantization import correct_biases, equalize, input_ranges, rescale_to_relu6, simulate
from phonecv.quantization.layers import input_reach, layer, links_of
from phonecv.quantization.remedies import allowed, apply
from phonecv.quantization.simulation import USUAL
from quantization.networks import images, relative, small


@pytest.fixture(scope="module")
def mobileone() -> VisionModel:
    return small()


@pytest.fixture(scope="module")
def gated() -> VisionModel:
    return small("mobileone_s0", se_pairs=(0, 0, 1, 1))


def uneven(network: VisionModel) -> VisionModel:
    """The same function with channels of very unequal reach, as training leaves them."""
    network = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for link in links_of(network):
            first, reader = layer(network, link.first), layer(network, link.reader)
            factor = torch.exp(torch.randn(first.weight.shape[0], generator=generator))
            first.weight.mul_(factor.reshape(-1, 1, 1, 1))
            assert first.bias is not None
            first.bias.mul_(factor)
            if reader.weight.ndim == 4 and reader.weight.shape[1] == 1:  # depthwise
                reader.weight.div_(factor.reshape(-1, 1, 1, 1))
            else:
                reader.weight.div_(factor.reshape(1, -1, *[1] * (reader.weight.ndim - 2)))
    return network


@pytest.mark.parametrize("name", ["mobileone", "gated"])
def test_equalising_changes_no_output(name: str, request: pytest.FixtureRequest) -> None:
    network: VisionModel = request.getfixturevalue(name)
    equal = equalize(network)
    x = images()
    with torch.no_grad():
        assert relative(equal(x), network(x)) < 1e-5
    assert not torch.equal(layer(equal, "stage0.reparam_conv").weight, layer(network, "stage0.reparam_conv").weight)


def test_equalising_makes_channels_reach_equally_far(mobileone: VisionModel) -> None:
    equal = equalize(uneven(mobileone))
    for link in links_of(equal):
        own = layer(equal, link.first).weight.detach().abs().flatten(1).amax(1)
        read = input_reach(layer(equal, link.reader)).detach()
        assert float((own / read).log().abs().max()) < 0.05, link


def test_dead_channels_are_left_alone(mobileone: VisionModel) -> None:
    network = copy.deepcopy(mobileone)
    first = layer(network, "stage0.reparam_conv")
    assert first.bias is not None
    with torch.no_grad():
        first.weight[2] *= 1e-9
        first.bias[2] = 0.7  # it matters all the same
        first.weight[3] = 0
    equal = equalize(network)
    x = images()
    with torch.no_grad():
        assert torch.isfinite(equal(x)).all()
        assert relative(equal(x), network(x)) < 1e-5
    after = layer(equal, "stage0.reparam_conv").bias
    assert after is not None
    assert after[2] == first.bias[2]


@pytest.mark.parametrize("name", ["mobileone", "gated"])
def test_rescaling_by_the_largest_activation_is_exact(name: str, request: pytest.FixtureRequest) -> None:
    network: VisionModel = request.getfixturevalue(name)
    x = images()
    rescaled = rescale_to_relu6(network, x, percentile=100)
    blocks = [module for module in rescaled.modules() if isinstance(module, DeployedMobileOneBlock)]
    assert all(isinstance(block.act, nn.ReLU6) for block in blocks)
    reached = []
    for block in blocks:
        block.act.register_forward_hook(lambda module, given, output: reached.append(float(output.max())))
    with torch.no_grad():
        assert relative(rescaled(x), network(x)) < 1e-5
    assert reached == pytest.approx([6.0] * len(blocks), rel=1e-4)


def test_rescaling_by_a_percentile_cuts_little(mobileone: VisionModel) -> None:
    x = images()
    rescaled = rescale_to_relu6(mobileone, x, percentile=99.9)
    with torch.no_grad():
        difference = relative(rescaled(x), mobileone(x))
    assert 0 < difference < 0.5


def mean_error(network: VisionModel, corrected: VisionModel, settings: Int8Settings) -> dict[str, float]:
    """For every layer, the mean difference of its output channels between int8 and floating point."""
    x = images()
    played = simulate(corrected, input_ranges(network, x, settings))
    means: list[dict[str, torch.Tensor]] = []
    for one in (network, played):
        found: dict[str, torch.Tensor] = {}
        hooks = [
            module.register_forward_hook(
                lambda module, given, output, name=name, found=found: found.__setitem__(
                    name, output.mean([0, *range(2, output.ndim)])
                )
            )
            for name, module in layers_of(one).items()
        ]
        with torch.no_grad():
            one(x)
        for hook in hooks:
            hook.remove()
        means.append(found)
    return {name: float((means[0][name] - means[1][name]).abs().max()) for name in means[0]}


@pytest.mark.parametrize("family", ["mobileone_s0", "emo_1m", "emov2_1m"])
def test_bias_correction_takes_the_mean_error_away(family: str) -> None:
    network = small(family)
    corrected = correct_biases(network, images(), USUAL)
    before, after = mean_error(network, network, USUAL), mean_error(network, corrected, USUAL)
    # What is left is rounding of float32 sums, which now and then tips a value into the next of 256 steps.
    assert sorted(after.values())[len(after) // 2] < 1e-5
    assert max(after.values()) < 0.01
    assert sum(before.values()) > 20 * sum(after.values())


def test_bias_correction_leaves_float_layers_and_the_network_given_alone(mobileone: VisionModel) -> None:
    before = {name: value.clone() for name, value in mobileone.state_dict().items()}
    corrected = correct_biases(mobileone, images(), USUAL, left_out=["stage0", "stage2.1.reparam_conv"])
    for name, value in mobileone.state_dict().items():
        assert torch.equal(value, before[name])
    for name in ("stage0.reparam_conv", "stage2.1.reparam_conv"):
        assert torch.equal(corrected.state_dict()[f"{name}.bias"], before[f"{name}.bias"])
    changed = "stage2.0.reparam_conv.bias"
    assert not torch.equal(corrected.state_dict()[changed], before[changed])


def test_layers_without_a_bias_get_one() -> None:
    network = small("emov2_1m")
    without = [name for name, module in layers_of(network).items() if module.bias is None]
    corrected = apply(network, ["bias"], images())
    assert without
    assert corrected.quantization["biases"] == without
    assert all(module.bias is not None for module in layers_of(corrected).values())


def test_remedies_are_noted_and_only_some_networks_allow_all(mobileone: VisionModel) -> None:
    prepared = apply(mobileone, ["bias", "equalize", "relu6"], images(), settings=Int8Settings())
    assert prepared.quantization["remedies"] == ["equalize", "relu6", "bias"]
    assert prepared.quantization["float"] is False
    assert apply(mobileone, ["equalize"], images()).quantization["float"] is True
    assert mobileone.quantization == {}
    emo = small("emo_1m")
    assert allowed(mobileone, ["equalize"]) and not allowed(emo, ["equalize"]) and allowed(emo, ["bias"])  # noqa: PT018
    with pytest.raises(UserError, match="SiLU, GELU"):
        apply(emo, ["equalize"], images())
    with pytest.raises(UserError, match="did you mean 'equalize'"):
        apply(mobileone, ["equalise"], images())
    with pytest.raises(UserError, match="there is no layer 'stage9'"):
        correct_biases(mobileone, images(), left_out=["stage9"])
