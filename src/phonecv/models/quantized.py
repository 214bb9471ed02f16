"""A network prepared for int8 is a state, like its form: kept on the network and in its file, heeded in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from phonecv.errors import UserError
from phonecv.models.mobileone import DeployedMobileOneBlock


def state_of(network: nn.Module) -> dict[str, Any]:
    """What was done to a network for int8; empty for an ordinary one.

    Keys: ``remedies`` (names, in order), ``relu6`` (ReLU became ReLU6), ``biases`` (layers that had none), ``float``
    (whether it is still right in floating point), ``precision`` (what it is meant for).
    """
    return dict(getattr(network, "quantization", {}) or {})


def mark(network: Any, remedy: str, **changes: Any) -> None:
    """Note a remedy on a network, in place."""
    before = state_of(network)
    # What was no longer right in floating point does not become so again.
    changes["float"] = before.get("float", True) and changes.get("float", True)
    changes["biases"] = [*before.get("biases", []), *changes.get("biases", [])]
    network.quantization = {**before, "remedies": [*before.get("remedies", []), remedy], **changes}


def restore(network: Any, state: Mapping[str, Any], source: str) -> None:
    """Give a fresh deploy-form network the parts that a file of a prepared one holds, in place."""
    if state_of(network) and not state:
        raise UserError(f"the network given is prepared for int8 and {source} is not; pass its name instead")
    if not state:
        return
    known = layers_of(network)
    missing = [name for name in state.get("biases", []) if name not in known]
    if missing:
        raise UserError(f"{source}: its record gives a bias to {missing[0]!r:.80}, which the network does not have")
    if state.get("relu6"):
        put_relu6(network)
    give_biases(network, list(state.get("biases", [])))
    network.quantization = dict(state)


def refuse_floating_point(network: nn.Module, precision: str) -> None:
    """Refuse to pass a network off as a floating-point one that is right as int8 only."""
    state = state_of(network)
    if not state.get("float", True) and precision not in ("int8", "int8-weights"):
        done = ", ".join(state.get("remedies", []))
        raise UserError(
            f"{getattr(network, 'name', '') or 'this network'} is prepared for int8 ({done}) and gives wrong numbers "
            f"as {precision}; use the network it was made from, or write it with precision='int8'"
        )


def layers_of(network: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers by name, in the order in which our networks run them."""
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def give_biases(network: nn.Module, names: Sequence[str]) -> list[str]:
    """Give layers without a bias one of zeros, in place; returns their names."""
    layers = layers_of(network)
    without = [name for name in names if layers[name].bias is None]
    for name in without:
        weight = layers[name].weight
        layers[name].bias = nn.Parameter(weight.new_zeros(weight.shape[0]), requires_grad=weight.requires_grad)
    return without


def put_relu6(network: nn.Module) -> None:
    """Replace the ReLU of every layer by ReLU6, in place; gates keep theirs."""
    for block in network.modules():
        if isinstance(block, DeployedMobileOneBlock):
            act: nn.Module = nn.ReLU6(inplace=block.act.inplace).train(block.act.training)
            block.register_module("act", act)
