"""The layers of a network that become integer arithmetic, and which of them have only ReLU between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models import VisionModel
from phonecv.models.blocks import SqueezeExcite
from phonecv.models.mobileone import DeployedMobileOneBlock
from phonecv.models.quantized import layers_of


def chosen_layers(network: nn.Module, left_out: Sequence[str] = ()) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers that are quantized: all but those in `left_out`, or in the modules named there."""
    layers = layers_of(network)
    for name in left_out:
        if not any(_within(layer, name) for layer in layers):
            some = ", ".join(list(layers)[:3])
            raise UserError(f"there is no layer {name!r} to leave in floating point (layers: {some}, ...)")
    return {name: module for name, module in layers.items() if not any(_within(name, part) for part in left_out)}


def _within(layer: str, name: str) -> bool:
    return layer == name or layer.startswith(name + ".")


@dataclass(frozen=True, slots=True)
class Link:
    """A convolution whose output, after ReLU, is read by nothing but these layers: factors can pass between them.

    Attributes:
        first: name of the convolution.
        activation: name of the ReLU.
        reader: name of the layer that reads the output.
        gate: name of the squeeze-excite in between, or an empty string.
    """

    first: str
    activation: str
    reader: str
    gate: str = ""


def links_of(network: nn.Module) -> list[Link]:
    """The chain of a MobileOne classifier in deploy form. Any other network of ours has none.

    In EMO and EMOv2 a SiLU or GELU, a norm or a sum stands between all layers, and no factor passes through these.
    """
    if not isinstance(network, VisionModel) or network.out_indices is not None or not network.num_classes:
        return []
    if network.form != "deploy":
        raise UserError("remedies for int8 work on the deploy form; call phonecv.fuse first")
    blocks = [(name, module) for name, module in network.named_modules() if isinstance(module, DeployedMobileOneBlock)]
    links = []
    for number, (name, block) in enumerate(blocks):
        last = number + 1 == len(blocks)
        reader = network.classifier_name if last else f"{blocks[number + 1][0]}.reparam_conv"
        gate = f"{name}.se" if isinstance(block.se, SqueezeExcite) else ""
        links.append(Link(f"{name}.reparam_conv", f"{name}.act", reader, gate))
    return links


def chain_of(network: nn.Module, done: str) -> list[Link]:
    """The links of a network that is to be `done` something that needs them.

    Raises:
        UserError: it has none.
    """
    links = links_of(network)
    if not links:
        raise UserError(
            f"{getattr(network, 'name', 'the network')} cannot be {done}: SiLU, GELU, norms or sums stand between its"
            " layers, and no factor passes through these"
        )
    return links


def scale_link(network: nn.Module, link: Link, factor: Tensor) -> None:
    """Divide the outputs of a link's convolution by `factor`, one value per channel or one for all, and undo it in
    what reads them. Exact up to rounding, because ReLU and averages over the map let factors through."""
    first = layer(network, link.first)
    factor = factor.expand(first.weight.shape[0])
    first.weight.div_(factor.reshape(-1, *[1] * (first.weight.ndim - 1)))
    if first.bias is not None:
        first.bias.div_(factor)
    readers = [layer(network, link.reader)]
    if link.gate:
        readers.append(layer(network, f"{link.gate}.reduce"))
    for reader in readers:
        reader.weight.mul_(_spread(reader, factor))


def _spread(reader: nn.Conv2d | nn.Linear, factor: Tensor) -> Tensor:
    """A factor per input channel in the shape of the weights."""
    if isinstance(reader, nn.Linear):
        return factor[None]
    groups, outputs, inputs = reader.groups, *reader.weight.shape[:2]
    spread = factor.reshape(groups, 1, inputs).expand(groups, outputs // groups, inputs)
    return spread.reshape(outputs, inputs, 1, 1)


def input_reach(reader: nn.Conv2d | nn.Linear) -> Tensor:
    """Largest absolute weight that meets each input channel."""
    weight = reader.weight.abs()
    if isinstance(reader, nn.Linear):
        return weight.amax(0)
    outputs, inputs = weight.shape[:2]
    return weight.amax((2, 3)).reshape(reader.groups, outputs // reader.groups, inputs).amax(1).flatten()


def layer(network: nn.Module, name: str) -> nn.Conv2d | nn.Linear:
    """A layer by name."""
    found = network.get_submodule(name)
    assert isinstance(found, nn.Conv2d | nn.Linear)
    return found


def batches(images: Tensor, pixels: int = 8 * 224 * 224) -> tuple[Tensor, ...]:
    """Pictures in parts that fit the caches of a processor."""
    return images.split(max(1, pixels // (images.shape[-2] * images.shape[-1])))
