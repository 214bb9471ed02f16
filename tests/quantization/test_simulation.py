"""int8 played in PyTorch: its rounding by hand, its ranges, and against a real int8 file in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from opened import open_classifier
from phonecv.exporting import export
from phonecv.exporting.ranges import Int8Settings
from phonecv.models.quantized import layers_of
from phonecv.quantization import input_ranges, layer_noise, simulate
from phonecv.quantization.sensitivity import most_sensitive, signal_to_noise
from phonecv.quantization.simulation import USUAL, rounded_activation, rounded_weight
from quantization.networks import images, small


def test_weights_are_rounded_by_their_channel() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.003], [127.0, 1.4, -1.6], [0.0, 0.0, 0.0]]).reshape(3, 3, 1, 1)
    rounded = rounded_weight(weight).flatten(1)
    assert torch.allclose(rounded[0], torch.tensor([127.0, -64.0, 0.0]) / 127)  # ties go to the even number
    assert rounded[1].tolist() == [127, 1, -2]
    assert rounded[2].tolist() == [0, 0, 0]


def test_activations_are_rounded_to_256_steps_with_zero_among_them() -> None:
    values = torch.linspace(-2, 9, 10_000)
    rounded = rounded_activation(values, (-1.0, 6.0))
    assert len(rounded.unique()) == 256
    assert 0.0 in rounded
    step = 7 / 255
    inside = (values > -1 + step) & (values < 6 - step)
    assert float((rounded - values)[inside].abs().max()) <= step / 2 + 1e-6
    assert abs(float(rounded.max()) - 6) < step
    assert rounded_activation(torch.zeros(3), (0.0, 0.0)).tolist() == [0, 0, 0]


def test_ranges_are_numpys_percentiles() -> None:
    network = nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 1))
    x = images(20)
    (low, high), *_ = input_ranges(network, x, Int8Settings("percentile", 99.0)).values()
    want = np.percentile(x.numpy(), [0.5, 99.5])
    assert (low, high) == pytest.approx(tuple(want), rel=1e-3)
    assert input_ranges(network, x, Int8Settings())["1"] == pytest.approx((float(x.min()), float(x.max())))


def quantized_logits(network: nn.Module, x: Tensor, folder: Path) -> Tensor:
    path = folder / "int8.onnx"
    settings = {"range": "percentile"}
    export(network, path, precision="int8", calibration=x.numpy(), settings=settings)  # type: ignore[arg-type]
    return open_classifier(path).run(x)


def test_it_tells_what_onnx_runtime_gives(tmp_path: Path) -> None:
    network, x = small(), images(24)
    real = quantized_logits(network, x, tmp_path)
    played = simulate(network, input_ranges(network, x, USUAL))
    with torch.no_grad():
        ours, exact = played(x), network(x)

    def decibels(want: Tensor, got: Tensor) -> float:
        return signal_to_noise(float(want.square().sum()), float((got - want).square().sum()))

    loss = decibels(exact, real)
    assert loss < 60  # it is int8 indeed
    # The played numbers are at least twice as close to the real int8 ones as these are to floating point.
    assert decibels(real, ours) > loss + 6


def test_only_the_layers_asked_for_are_rounded() -> None:
    network, x = small(), images()
    ranges = input_ranges(network, x, USUAL)
    name = next(iter(ranges))
    one = simulate(network, ranges, [name])
    for layer, module in layers_of(one).items():
        assert torch.equal(module.weight, layers_of(network)[layer].weight) == (layer != name)
    weights = simulate(network, None)
    assert not any(module._forward_pre_hooks for module in weights.modules())


def test_the_noise_of_a_spoilt_layer_is_seen() -> None:
    network, x = small(), images()
    bad = "stage3.1.reparam_conv"
    weight = layers_of(network)[bad].weight
    with torch.no_grad():
        weight[:, 0] *= 3000  # one input that matters little now takes all the steps
    feeding = layers_of(network)["stage3.0.reparam_conv"]
    assert feeding.bias is not None
    with torch.no_grad():
        feeding.weight[0] /= 3000
        feeding.bias[0] /= 3000
    noises = layer_noise(network, x, alone=True)
    assert [noise.name for noise in noises] == list(layers_of(network))
    assert most_sensitive(noises, 1, large=1.0) == [bad]
    parts = {noise.name: noise.parameters for noise in noises}
    chosen = most_sensitive(noises, 3, large=0.1)
    assert chosen
    assert max(parts[name] for name in chosen) <= 0.1 * sum(parts.values())
    spoilt = next(noise for noise in noises if noise.name == bad)
    assert spoilt.kind == "convolution"
    assert spoilt.own < sorted(noise.own for noise in noises)[1]
    assert all(noise.total <= noise.own + 3 for noise in noises)
    assert set(spoilt.to_dict()) == {"name", "kind", "parameters", "own", "total", "alone"}
