"""Training form -> deploy form: everything that is linear in a row becomes one convolution.

MobileOne's branches become one convolution per layer (paper, section 3.2). In EMO and EMOv2 BatchNorm goes into
its convolution, a BatchNorm or LayerNorm before 1x1 convolutions gives them its affine part, layer scale goes
into the projection and the attention's 1/sqrt(d) into the queries. All algebra runs in float64 and is rounded once.

The LayerNorm before the classifier keeps its affine part: features taken there stay the same in both forms.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from phonecv.errors import UserError
from phonecv.models.base import VisionModel
from phonecv.models.blocks import Conv2d, ConvNormAct, LayerNorm2d, LayerScale2d
from phonecv.models.clips import ClipConv
from phonecv.models.emo import IRMB
from phonecv.models.emov2 import I2RMB, WindowExpansion
from phonecv.models.kernels.choices import LAYOUT
from phonecv.models.kernels.work import Work, inference
from phonecv.models.mobileone import ConvBN, DeployedMobileOneBlock, MobileOneBlock
from phonecv.models.packing import freeze, geometry, thaw

#: The most by which fusing may change an output, as a share of the largest; see `form_difference`.
FORM_TOLERANCE = 1e-5

#: Activations that can overwrite their input.
_INPLACE = (nn.SiLU, nn.ReLU, nn.ReLU6)

M = TypeVar("M", bound=nn.Module)


def fuse(module: M, *, frozen: bool = False) -> M:
    """The deploy form of a network, or of any module that holds one (a detector, a segmenter).

    The module given stays as it was. Fusing again changes nothing. Preprocessing, class names and whatever
    else the module carries are kept.

    Args:
        module: with settled BatchNorm statistics, as after training or loading.
        frozen: for a network that is only run from now on, which is faster: see `phonecv.models.packing`. It is in
            evaluation mode, and refuses training, other weights and gradients. Fused again without `frozen` it can
            change again.

    Returns:
        A new module with the same outputs in evaluation mode, up to rounding.

    Raises:
        UserError: a BatchNorm that would be folded is in train mode. It normalises by the batch, the deploy
            form by the running statistics, so outputs would change: call ``module.eval()`` first.
    """
    for name, child in module.named_modules():
        if type(child) in _FUSERS:
            for inner, norm in child.named_modules():
                if isinstance(norm, _BatchNorm) and norm.training:
                    raise UserError(
                        f"{'.'.join(part for part in (name, inner) if part)} is in train mode: fused outputs would "
                        "differ, because it normalises by the batch now; call .eval() before fusing"
                    )
    fused = copy.deepcopy(module)
    thaw(fused)
    with torch.no_grad():
        replaced = _replace(fused)
    for child in cast(Iterator[Any], replaced.modules()):
        # A network, and the detector or segmenter that holds one: whatever says which form it is in.
        if isinstance(getattr(child, "form", None), str):
            child.form = "deploy"
            _prepare_for_inference(child)
    if frozen:
        freeze(replaced)
    return cast(M, replaced)


def _prepare_for_inference(network: nn.Module) -> None:
    """Choose what runs fastest where it changes no number.

    Activations overwrite what the convolution before them has written.
    """
    lay_out(network)
    for module in network.modules():
        if isinstance(module, _INPLACE) and isinstance(network, VisionModel):
            module.inplace = True
        elif isinstance(module, ConvNormAct) and isinstance(module.act, _INPLACE):
            # In heads only here: elsewhere an activation may follow something that is still needed.
            module.act.inplace = True


def lay_out(network: nn.Module, layout: torch.memory_format | None = None) -> None:
    """Bring the weights of convolutions into a layout, by default the faster one for inference, in place.

    One whose weights lie channels-last makes its output so, whatever the input. That is the layout which window
    attention reads, and mostly that of PyTorch's fastest kernels. Nothing else is laid out so: a layer scale of
    (1, C, 1, 1) would get strides that its gradients do not have.
    """
    if layout is None:
        layout = torch.channels_last if LAYOUT.ours else torch.contiguous_format
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=layout)


def form_difference(model: nn.Module, fused: nn.Module, *inputs: Tensor) -> float:
    """Largest output difference of two forms for what they take, relative to the largest output of the first.

    Copies of both run in float64, in evaluation mode, so this is what the stored numbers differ by. In float32
    the order of summation adds its own noise, to either form alike: up to 2e-5 for MobileOne-S0 with its
    four branches. Outputs are a tensor or a sequence of tensors.
    """
    outputs = []
    for form in (model, fused):
        with torch.no_grad():
            out = copy.deepcopy(form).double().eval()(*(x.double() if x.is_floating_point() else x for x in inputs))
        outputs.append([out] if isinstance(out, Tensor) else list(out))
    return max(
        ((a - b).abs().max() / a.abs().max().clamp(min=torch.finfo(a.dtype).tiny)).item()
        for a, b in zip(*outputs, strict=True)
    )


def _replace(module: nn.Module) -> nn.Module:
    """Fuse every known block below `module`, in place; returns what stands in its stead."""
    fuser = _FUSERS.get(type(module))
    if fuser is not None:
        return fuser(module)
    for name, child in module.named_children():
        setattr(module, name, _replace(child))
    return module


def _conv(like: nn.Conv2d, weight: Tensor, bias: Tensor) -> Conv2d:
    """A convolution of the same geometry with other float64 values, cast to the old type."""
    conv = Conv2d(*geometry(like), groups=like.groups, device=like.weight.device, dtype=like.weight.dtype)
    conv.weight.copy_(weight)
    assert conv.bias is not None
    conv.bias.copy_(bias)
    conv.requires_grad_(like.weight.requires_grad).train(like.training)
    return conv


def _batchnorm_affine(bn: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Factor and shift per channel that a BatchNorm applies with its running statistics, in float64."""
    if bn.running_mean is None or bn.running_var is None:
        raise UserError("a BatchNorm without running statistics cannot be folded into a convolution")
    factor = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    return factor, bn.bias.double() - bn.running_mean.double() * factor


def _bias(conv: nn.Conv2d) -> Tensor:
    return conv.weight.new_zeros(conv.out_channels, dtype=torch.float64) if conv.bias is None else conv.bias.double()


def _folded(conv: nn.Conv2d, factor: Tensor, shift: Tensor) -> Conv2d:
    """The convolution whose output is scaled and shifted."""
    return _conv(conv, conv.weight.double() * factor[:, None, None, None], _bias(conv) * factor + shift)


def _fuse_conv_norm_act(unit: ConvNormAct) -> ConvNormAct:
    """Fold the BatchNorm that follows the convolution into it."""
    if isinstance(unit.norm, _BatchNorm):
        factor, shift = _batchnorm_affine(unit.norm)
        conv: nn.Module = unit.conv
        if isinstance(conv, ClipConv):
            middle = _folded(conv.middle, factor, shift)
            for tap in conv.convolutions:
                tap.weight.copy_(tap.weight.double() * factor[:, None, None, None])
            conv.taps[conv.reach] = middle
        else:
            unit.conv = _folded(unit.conv, factor, shift)
        unit.norm = nn.Identity()
    return unit


def _absorb_input_affine(unit: ConvNormAct, factor: Tensor, shift: Tensor) -> None:
    """Make a 1x1 unit take `n` where it took ``factor * n + shift``."""
    weight = unit.conv.weight.double()
    bias = _bias(unit.conv) + (weight * shift[None, :, None, None]).sum((1, 2, 3))
    unit.conv = _conv(unit.conv, weight * factor[None, :, None, None], bias)


def _fold_pre_norm(
    norm: nn.Module, followers: Sequence[ConvNormAct], windowed: bool
) -> tuple[nn.Module, Tensor | None]:
    """Move the affine part of a block's pre-norm into the 1x1 convolutions that read it.

    Gives what remains of the norm, and the value per channel (1 C 1 1) that stands for zero in an appended window cell,
    or None when zero still does.
    """
    if isinstance(norm, _BatchNorm):
        factor, shift = _batchnorm_affine(norm)
        rest: nn.Module = nn.Identity()
        like = norm.weight
    elif isinstance(norm, LayerNorm2d) and norm.norm.elementwise_affine:
        factor, shift = norm.norm.weight.double(), norm.norm.bias.double()
        rest = LayerNorm2d(factor.numel(), eps=norm.norm.eps, affine=False)
        like = norm.norm.weight
    else:
        return norm, None
    pad_value = None
    if windowed:
        # Cells appended to fill a window are zero after the norm. A channel that the norm scales by (almost)
        # nothing has no finite value that means zero; then the norm stays as it is.
        if factor.abs().min() < 1e-6 * factor.abs().max():
            return norm, None
        pad_value = (-shift / factor).to(like.dtype)[None, :, None, None]
    for unit in followers:
        _absorb_input_affine(unit, factor, shift)
    return rest.train(norm.training), pad_value


def _fold_into_units(
    block: IRMB | I2RMB, units: Iterable[nn.Module | None], windowed: Sequence[IRMB | WindowExpansion]
) -> None:
    """Fold a block's pre-norm into the units that read it, and the attention's scale into its queries."""
    _fuse_conv_norm_act(block.conv_local)
    followers = [unit for unit in units if isinstance(unit, ConvNormAct)]
    block.norm, pad_value = _fold_pre_norm(block.norm, followers, windowed=bool(windowed))
    for operator in windowed:
        operator.pad_value = operator.pad_value if pad_value is None else pad_value.clone()
        qk = cast("ConvNormAct", operator.qk)
        weight, bias = qk.conv.weight.double(), _bias(qk.conv)
        queries = weight.shape[0] // 2
        weight[:queries] *= operator.scale
        bias[:queries] *= operator.scale
        qk.conv, operator.scale = _conv(qk.conv, weight, bias), 1.0


def _fuse_irmb(block: IRMB) -> IRMB:
    # The attention's rows sum to one, so the affine part of the values passes through it to `v`.
    _fold_into_units(block, (block.qk, block.v), [] if block.qk is None else [block])
    return block


def _fuse_i2rmb(block: I2RMB) -> I2RMB:
    windowed = [operator for operator in block.eops if isinstance(operator, WindowExpansion)]
    _fold_into_units(block, (unit for operator in block.eops for unit in operator.children()), windowed)
    if isinstance(block.ls, LayerScale2d):
        # The projection has no bias to scale. Rounding once more here keeps the convolution bias-free.
        weight = block.proj.conv.weight
        weight.copy_(weight.double() * block.ls.gamma.double().reshape(-1, 1, 1, 1))
        block.ls = nn.Identity()
    return block


def _fuse_mobileone(block: MobileOneBlock) -> DeployedMobileOneBlock:
    main = block.rbr_conv[0]
    assert isinstance(main, ConvBN)
    side = block.kernel
    weight = torch.zeros_like(main.conv.weight, dtype=torch.float64)
    bias = weight.new_zeros(weight.shape[0])
    for branch in [*block.rbr_conv, block.rbr_scale]:
        if branch is None:
            continue
        assert isinstance(branch, ConvBN)
        factor, shift = _batchnorm_affine(branch.bn)
        kernel = branch.conv.weight.double() * factor[:, None, None, None]
        margin = (side - kernel.shape[-1]) // 2  # a 1x1 kernel lands on the centre tap
        weight += nn.functional.pad(kernel, [margin] * 4)
        bias += shift
    if block.rbr_skip is not None:
        factor, shift = _batchnorm_affine(block.rbr_skip)
        channel = torch.arange(weight.shape[0], device=weight.device)
        weight[channel, channel % weight.shape[1], side // 2, side // 2] += factor
        bias += shift
    return DeployedMobileOneBlock(_conv(main.conv, weight, bias), block.se).train(block.training)


_FUSERS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    ConvNormAct: _fuse_conv_norm_act,
    IRMB: _fuse_irmb,
    I2RMB: _fuse_i2rmb,
    MobileOneBlock: _fuse_mobileone,
}


@LAYOUT.timed_by
def _layout() -> Work:
    """Layers of MobileOne-S0, on a picture in PyTorch's layout."""

    def layer(C: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
        conv = Conv2d(C, out, kernel, stride, kernel // 2, groups=groups)
        return DeployedMobileOneBlock(conv, nn.Identity())

    layers = [layer(3, 48, 3, 2)]
    for C, out, stride in ((48, 48, 2), (48, 128, 2), (128, 128, 1), (128, 256, 2), *[(256, 256, 1)] * 3):
        layers += [layer(C, C, 3, stride, C), layer(C, out, 1)]
    network = nn.Sequential(*layers)
    lay_out(network)
    return inference((network, torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))))
