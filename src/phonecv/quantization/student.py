"""A network that computes in played int8 and whose weights can be learnt, and what it learns from: a teacher's maps."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from phonecv.exporting.ranges import Int8Settings, watched
from phonecv.models import VisionModel
from phonecv.models.quantized import layers_of
from phonecv.quantization.layers import batches, chosen_layers
from phonecv.quantization.simulation import Range, input_ranges, rounded_weight, rounding


class Student:
    """A network that computes in played int8, with weights and biases that can move."""

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        settings: Int8Settings,
        left_out: Sequence[str],
        device: str | torch.device,
    ) -> None:
        self._network, self._settings, self._left_out, self.device = network, settings, tuple(left_out), device
        self._names = list(chosen_layers(network, left_out))
        self.last: list[Tensor] = []
        units = _units(network, images[:16], self._names)
        self._start: dict[str, Tensor] = {}
        self._unit: dict[str, Tensor] = {}
        self._move: dict[str, Tensor] = {}
        for name, module in layers_of(network).items():
            if name not in units:  # left out, or a layer that no picture goes through
                continue
            assert module.bias is not None
            weight, bias = units[name]
            self._add(f"{name}.weight", module.weight, weight.reshape(-1, *[1] * (module.weight.ndim - 1)))
            self._add(f"{name}.bias", module.bias, bias)
        self._ranges: dict[str, Range] = {}
        self.settle(images)
        self._network.to(device)

    def _add(self, name: str, value: Tensor, unit: Tensor) -> None:
        self._start[name] = value.detach().clone().to(self.device)
        self._unit[name] = unit.to(self.device)
        self._move[name] = torch.zeros_like(self._start[name], requires_grad=True)

    @property
    def moves(self) -> list[Tensor]:
        """What is learnt."""
        return list(self._move.values())

    def _values(self) -> dict[str, Tensor]:
        return {name: start + self._unit[name] * self._move[name] for name, start in self._start.items()}

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Outputs in played int8, with gradients."""
        values = {
            name: _straight_through(value) if name.endswith(".weight") else value
            for name, value in self._values().items()
        }
        with _rounded_inputs(self._network, self._ranges):
            self.last = outputs_of(self._network, images, values)
        return self.last

    def distance(self, outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """See `distillation_loss`."""
        return distillation_loss(outputs, wanted, exclusive=getattr(self._network, "thresholds", None) is None)

    @torch.no_grad()
    def loss(self, teacher: nn.Module, images: Tensor) -> float:
        """The distillation loss on these pictures."""
        total = 0.0
        for part in batches(images, 16 * 224 * 224):
            part = part.to(self.device)
            total += self.distance(self(part), outputs_of(teacher, part)).item() * len(part)
        return total / len(images)

    @torch.no_grad()
    def settle(self, images: Tensor) -> None:
        """Find the ranges anew, as calibration will for the weights that stand now."""
        self._ranges = input_ranges(self.network(), images, self._settings, self._left_out)

    @torch.no_grad()
    def network(self) -> Any:
        """The network with the weights that stand now, in floating point on the CPU."""
        tuned = copy.deepcopy(self._network).cpu()
        parameters = dict(tuned.named_parameters())
        for name, value in self._values().items():
            parameters[name].copy_(value)
        return tuned


def _straight_through(weight: Tensor) -> Tensor:
    """The rounded weight, with the gradient of the weight: a range that spans all weights cuts none of them."""
    return weight + (rounded_weight(weight.detach()) - weight).detach()


@contextmanager
def _rounded_inputs(network: nn.Module, ranges: Mapping[str, Range]) -> Iterator[None]:
    with ExitStack() as hooks:
        for name, limits in ranges.items():
            hooks.enter_context(network.get_submodule(name).register_forward_pre_hook(rounding(limits)))
        yield


def outputs_of(network: nn.Module, images: Tensor, values: Mapping[str, Tensor] | None = None) -> list[Tensor]:
    """Maps of the stages, where it has any, then the outputs, for ``B 3 H W``.

    The network gives a tensor or a sequence of them, and may be or hold one of our backbones; `values` are parameters
    to use instead of its own.
    """
    maps: list[Tensor] = []
    stages = [stage for module in network.modules() if isinstance(module, VisionModel) for stage in module.stages()]
    with ExitStack() as hooks:
        for stage in stages:
            hooks.enter_context(stage.register_forward_hook(lambda module, given, result: maps.append(result)))
        result = functional_call(network, dict(values or {}), (images,))
    return [*maps, *([result] if isinstance(result, Tensor) else list(result))]


def distillation_loss(outputs: Sequence[Tensor], wanted: Sequence[Tensor], *, exclusive: bool = True) -> Tensor:
    """Mean over all outputs of the error's share of the teacher's variance; for logits also the divergence.

    That is of shares among classes, so of logits of classes that exclude each other alone.

    Maps of the stages are compared too: a few hundred pictures say little by their thousand logits alone.
    """
    shares = []
    for have, want in zip(outputs, wanted, strict=True):
        spread = want.var(unbiased=False).clamp(min=torch.finfo(want.dtype).tiny)
        shares.append((have - want).square().mean() / spread)
    loss = torch.stack(shares).mean()
    have, want = outputs[-1], wanted[-1]
    if exclusive and want.ndim == 2 and want.shape[1] > 1:
        chances = F.kl_div(have.log_softmax(1), want.log_softmax(1), reduction="batchmean", log_target=True)
        # In units of what can be told at all, so that ten classes weigh as much as a thousand.
        loss = loss + chances / math.log(want.shape[1])
    return loss


@torch.no_grad()
def _units(network: nn.Module, images: Tensor, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Per output channel of each layer, the unit of its weights and that of its bias."""
    units: dict[str, tuple[Tensor, Tensor]] = {}

    def look(name: str, module: nn.Conv2d | nn.Linear, given: tuple[Tensor, ...], output: Tensor) -> None:
        others = (0, 2, 3) if isinstance(module, nn.Conv2d) else tuple(range(output.ndim - 1))
        spread = output.std(others, unbiased=False)
        together = given[0].square().mean().sqrt() * module.weight[0].numel()
        # Heads go over several maps with the same layers; the first of these is the largest.
        units.setdefault(name, (spread / together.clamp(min=torch.finfo(spread.dtype).tiny), spread))

    with watched(network, names, look):
        network(batches(images, 16 * 224 * 224)[0])
    return units
