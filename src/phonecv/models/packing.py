"""A frozen deploy form: a network that is only run, whose convolutions keep their weights as oneDNN wants them.

oneDNN computes with weights in blocks of its own order. PyTorch brings them into it at every call, or goes to a slower
library for fear of that. Kept in that order they save the work, and the activation comes with the convolution. A weight
changed afterwards would go unnoticed, so a frozen network refuses whatever changes weights; see
`phonecv.models.base.Freezable`. Its state dict is that of the plain deploy form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models.base import FROZEN, Freezable
from phonecv.models.blocks import Conv2d, ConvNormAct
from phonecv.models.kernels.calls import ONEDNN, may_call_onednn
from phonecv.models.kernels.choices import WEIGHTS
from phonecv.models.kernels.work import Work, channels_last, feature_map, inference
from phonecv.models.mobileone import DeployedMobileOneBlock

#: Activation -> oneDNN's name, numbers and algorithm of it.
_FUSED: dict[type[nn.Module], Callable[[Any], tuple[str, list[float], str]]] = {
    nn.Identity: lambda act: ("none", [], ""),
    nn.ReLU: lambda act: ("relu", [], ""),
    nn.ReLU6: lambda act: ("hardtanh", [0.0, 6.0], ""),
    nn.SiLU: lambda act: ("swish", [], ""),
    nn.GELU: lambda act: ("gelu", [], act.approximate),
}


#: Weights, and the geometry of their convolution -> the same in oneDNN's order.
_reorder: Any = torch.ops.mkldnn._reorder_convolution_weight if ONEDNN else None

_NOTHING = nn.Identity()

Pair = tuple[int, int]


def geometry(conv: nn.Conv2d) -> tuple[int, int, Pair, Pair, str | Pair, Pair]:
    """What a convolution is made from, in the order of its constructor."""
    kernel, stride, padding, dilation = (
        cast("Pair", sides) for sides in (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    )
    return conv.in_channels, conv.out_channels, kernel, stride, padding, dilation


class PackedConv2d(Conv2d, Freezable):
    """A convolution that is only run, with the activation that follows it: the same numbers, the same state dict."""

    frozen = True

    def __init__(self, conv: nn.Conv2d) -> None:
        """Stand in for it; the parameters stay the same tensors."""
        #: For inputs of which shape, and what oneDNN's convolution takes beside one.
        self._held: tuple[torch.Size, tuple[Any, ...]] | None = None
        super().__init__(*geometry(conv), groups=conv.groups, device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        self.training = False

    def unpacked(self) -> Conv2d:
        """One that can change."""
        conv = Conv2d(*geometry(self), groups=self.groups, device="meta").eval()
        conv.weight, conv.bias = self.weight, self.bias
        return conv

    def forward(self, input: Tensor, act: nn.Module = _NOTHING) -> Tensor:
        """``B C H W -> B out H/stride W/stride``, activated.

        Raises:
            UserError: gradients are asked for.
        """
        if torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad):
            raise UserError(f"gradients were asked for, and {FROZEN}")
        if not (type(act) in _FUSED and may_call_onednn(input, self.weight) and WEIGHTS.ours):
            return act(super().forward(input))
        held = self._held
        if held is None or held[0] != input.shape:  # the best order may depend on the size; any gives the same numbers
            geometry = (self.padding, self.stride, self.dilation, self.groups)
            packed = _reorder(self.weight.detach(), *geometry, list(input.shape))
            held = input.shape, (packed, None if self.bias is None else self.bias.detach(), *geometry)
            self._held = held
        x = input.contiguous(memory_format=torch.channels_last)
        return torch.ops.mkldnn._convolution_pointwise(x, *held[1], *_FUSED[type(act)](act))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise UserError(f"load_state_dict() was called, and {FROZEN}")

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self._held = None  # another device or precision
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_held": None}


def freeze(network: nn.Module) -> None:
    """Make a network in deploy form one that is only run, in place."""
    network.eval().requires_grad_(False)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and _can_pack(child):
                setattr(parent, name, PackedConv2d(child))
        if isinstance(parent, ConvNormAct):
            parent.joined = isinstance(parent.conv, PackedConv2d) and isinstance(parent.norm, nn.Identity)
        elif isinstance(parent, DeployedMobileOneBlock):
            parent.joined = isinstance(parent.reparam_conv, PackedConv2d) and isinstance(parent.se, nn.Identity)
        elif isinstance(parent, Freezable):
            parent.frozen = True


def thaw(network: nn.Module) -> None:
    """Make a frozen network one that can change again, in place; it stays in evaluation mode."""
    frozen = False
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, PackedConv2d):
                setattr(parent, name, child.unpacked())
        if isinstance(parent, ConvNormAct | DeployedMobileOneBlock):
            parent.joined = False
        elif isinstance(parent, Freezable):
            frozen, parent.frozen = frozen or parent.frozen, False
    if frozen:
        network.requires_grad_()


def _can_pack(conv: nn.Conv2d) -> bool:
    known = type(conv) in (nn.Conv2d, Conv2d)
    return known and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


@WEIGHTS.timed_by
def _weights() -> Work:
    """Convolutions and activations of EMOv2-5M's third stage and of a MobileOne."""
    units = (
        (ConvNormAct(160, 640, bias=True, act=nn.GELU), feature_map(160, 14)),
        (ConvNormAct(640, 640, 5, groups=640, bias=True, act=nn.SiLU), feature_map(640, 14)),
        (ConvNormAct(640, 160), feature_map(640, 14)),
        (ConvNormAct(256, 256, bias=True, act=nn.ReLU), feature_map(256, 14)),
    )
    network = nn.ModuleList(channels_last(unit) for unit, _ in units)
    freeze(network)
    return inference(*((unit, x) for unit, (_, x) in zip(network, units, strict=True)))
