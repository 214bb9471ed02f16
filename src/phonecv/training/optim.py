"""Optimizer and its parameter groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.optim import Optimizer

from phonecv.errors import UserError
from phonecv.models.base import VisionModel, no_weight_decay
from phonecv.models.headed import HeadedModel
from phonecv.training.config import OptimizerConfig

#: Parts of a network with heads that are not its heads.
_NO_HEAD = ("backbone.", "neck.")

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def decay_groups(model: nn.Module, rule: str) -> tuple[list[str], list[str]]:
    """Names of the trained parameters with and without weight decay, by a rule of `OptimizerConfig.no_decay`.

    A network without heads is all backbone.
    """
    within = "backbone." if rule == "backbone_norm" and isinstance(model, HeadedModel) else ""
    kinds = (nn.LayerNorm,) if rule == "layer_norm" else _NORMS
    norms = {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if isinstance(module, kinds) and path.startswith(within)
        for name, _ in module.named_parameters(recurse=False)
    }
    by_norm = rule.endswith("norm")
    decay: list[str] = []
    spared: list[str] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spare = (rule == "emo" and no_weight_decay(name, parameter)) or (by_norm and name in norms)
            (spared if spare else decay).append(name)
    return decay, spared


def head_names(model: nn.Module) -> set[str]:
    """Names of the heads' parameters: all beside backbone and neck, or the classifier of a network without heads."""
    names = (name for name, _ in model.named_parameters())
    if isinstance(model, VisionModel):
        return {name for name in names if name.startswith(f"{model.classifier_name}.")}
    return {name for name in names if not name.startswith(_NO_HEAD)}


def layer_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """Factor on the rate of each parameter: ``decay ** d``, d layers before the last.

    Layers are the stem, each block, and all behind the last block, as timm's `param_groups_layer_decay` counts them by
    a network's `group_matcher` (the rule of BEiT, Bao et al., ICLR 2022, whose blocks are all alike).

    Raises:
        UserError: a network that does not tell its blocks apart.
    """
    backbone: Any = getattr(model, "backbone", model)
    if not hasattr(backbone, "group_matcher"):
        raise UserError(
            f"optimizer.layer_decay is for EMO, EMOv2 and MobileOne, alone or as backbones; a {type(backbone).__name__}"
            " does not tell its blocks apart"
        )
    layers: Any = group_parameters(backbone, backbone.group_matcher(), reverse=True)
    before = "" if backbone is model else "backbone."
    # Without norm and classifier the last group of a backbone is its last block.
    behind = [name for name in layers if not name.startswith("stage")]
    last = layers[behind[0]] if behind else max(layers.values()) + 1
    known = {f"{before}{name}": decay ** (last - layer) for name, layer in layers.items()}
    return {name: known.get(name, 1.0) for name, _ in model.named_parameters()}


def make_optimizer(model: nn.Module, config: OptimizerConfig, lr: float, *, fused: bool = False) -> Optimizer:
    """The optimizer over all trained parameters: with and without weight decay, apart where their rates differ.

    `lr` is the rate of the first step, of the heads times `config.head_lr`, of layers times `layer_factors`.
    `config.fused` may be "auto", so `fused` decides: one kernel for the whole update, else PyTorch's own choice.
    """
    parameters = dict(model.named_parameters())
    factors = dict.fromkeys(parameters, 1.0) if config.layer_decay is None else layer_factors(model, config.layer_decay)
    for name in head_names(model):
        factors[name] *= config.head_lr
    groups: list[dict[str, Any]] = []
    for factor in dict.fromkeys(factors.values()):
        for names, weight_decay in zip(decay_groups(model, config.no_decay), (config.weight_decay, 0.0), strict=True):
            own = [parameters[name] for name in names if factors[name] == factor]
            if own:
                # timm's schedulers multiply by `lr_scale` whatever rate they set.
                scale = {} if factor == 1 else {"lr_scale": factor}
                groups.append({"params": own, "weight_decay": weight_decay, **scale})
    if not groups:
        raise UserError("every parameter is frozen, nothing would be trained; shorten model.freeze")
    kernel = True if fused else None
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, nesterov=config.nesterov, fused=kernel)
    return torch.optim.AdamW(groups, lr=lr, betas=config.betas, eps=config.eps, fused=kernel)


def freeze(model: nn.Module, beginnings: Iterable[str], classifier: nn.Module | None) -> None:
    """Stop the gradient of every parameter whose name begins so.

    "backbone" is the module of that name, or all but `classifier`; "all" is the same: a task may do more for it.
    """
    names = [name for name, _ in model.named_parameters()]
    kept = {id(parameter) for parameter in classifier.parameters()} if classifier is not None else set()
    for beginning in ("backbone" if word == "all" else word for word in beginnings):
        start = beginning.rstrip(".") + "."
        fits = [name for name in names if name == beginning or name.startswith((start, f"backbone.{start}"))]
        if beginning != "backbone" and not fits:
            tops = sorted({name.split(".")[0] for name in names})
            raise UserError(
                f"model.freeze={beginning!r} fits no parameter; use 'all', 'backbone' or one of {', '.join(tops)}"
            )
        for name, parameter in model.named_parameters():
            if name in fits or (beginning == "backbone" and not fits and id(parameter) not in kept):
                parameter.requires_grad_(False)


def train_mode(model: nn.Module, mode: str) -> None:
    """Put the network in the mode it trains in.

    "train"; "norm_eval" keeps BatchNorm in evaluation mode; "eval" keeps everything there. A module whose parameters
    are all frozen stays in evaluation mode too: its statistics belong to the weights it keeps.
    """
    model.train(mode != "eval")
    if mode == "eval":
        return
    for module in model.modules():
        own = list(module.parameters())
        frozen = own and not any(parameter.requires_grad for parameter in own)
        if frozen or (mode == "norm_eval" and isinstance(module, _BatchNorm)):
            module.eval()
