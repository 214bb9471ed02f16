"""Teachers of classifiers: any network of timm or ours, for its opinion or for its features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from phonecv.errors import UserError, did_you_mean
from phonecv.models import VisionModel
from phonecv.preprocessing import Preprocessing
from phonecv.training.groups import DistillConfig
from phonecv.training.teacher import Teacher


def load_teacher(config: DistillConfig, student: Preprocessing, *, many: bool = False) -> Teacher:
    """The teacher that the configuration names, with its own normalisation and input side unless set there.

    Args:
        config: names it.
        student: how pictures come.
        many: whether pictures have several labels or none; what networks of timm learned nobody says.

    Raises:
        UserError: it does not exist, its weights cannot be had, or it learned the other kind of labels.
    """
    name = config.teacher or ""
    if name.startswith("timm:"):
        net, own = _from_timm(name.removeprefix("timm:"), config.weights, config.size)
    else:
        net, own = _from_phonecv(name, config.weights)
    told = config.kind != "features"  # whose teacher is not asked for classes
    if told and isinstance(net, VisionModel) and (net.thresholds is not None) != many:
        kinds = ("any number of labels", "one class") if many else ("one class", "any number of labels")
        raise UserError(
            f"distill.teacher={name!r} gives a picture {kinds[1]}, this data {kinds[0]}; train a teacher on it first"
        )
    for key in ("size", "mean", "std"):
        if (value := getattr(config, key)) is not None:
            own = replace(own, **{key: value})
    return Teacher(
        net,
        name=name,
        num_classes=int(getattr(net, "num_classes", 0)),
        own=own,
        student=student,
        interpolation=config.interpolation,
        antialias=config.antialias,
    )


def _from_phonecv(name: str, weights: str | None) -> tuple[nn.Module, Preprocessing]:
    from phonecv.create import create_model, load_network
    from phonecv.models.catalog import list_models

    if Path(name).is_file():
        model = load_network(name)
    elif name in list_models():
        if weights is None:
            raise UserError(
                f"distill.teacher={name} without weights would teach noise;"
                " set distill.weights=official, another tag, or a checkpoint file"
            )
        model = create_model(name, weights=weights)
    else:
        near = did_you_mean(name, list_models())
        raise UserError(
            f"distill.teacher={name!r} is neither a checkpoint file nor a catalog name{near}; timm's networks are"
            " written timm:NAME"
        )
    return model, model.preprocessing


def _from_timm(name: str, weights: str | None, size: int | None) -> tuple[nn.Module, Preprocessing]:
    import timm
    from timm.data.config import resolve_data_config

    if not timm.is_model(name):
        raise UserError(f"timm has no network {name!r}{did_you_mean(name, timm.list_models())}")
    if weights is None:
        raise UserError(
            f"distill.teacher=timm:{name} without weights would teach noise; set distill.weights=pretrained (downloads)"
            " or the path of a file with its weights"
        )
    if weights == "pretrained":
        try:
            net = timm.create_model(name, pretrained=True)
        except (OSError, RuntimeError) as error:  # huggingface_hub and urllib raise kinds of these when offline
            raise UserError(
                f"the weights of timm:{name} could not be loaded ({type(error).__name__}: {str(error)[:200]});"
                " give a local file with distill.weights=PATH"
            ) from error
    else:
        net = _load_file(name, Path(weights))
    if size is not None and hasattr(net, "set_input_size"):  # transformers: their positions follow the side
        cast(Any, net).set_input_size(img_size=size)
    data: dict[str, Any] = resolve_data_config(model=net)
    own = Preprocessing(
        size=int(data["input_size"][-1]), mean=tuple(data["mean"]), std=tuple(data["std"]), crop=float(data["crop_pct"])
    )
    return net, own


def _load_file(name: str, path: Path) -> nn.Module:
    """timm's network `name` with the weights of a file: under timm's names, their authors', or any others in order."""
    import timm

    from phonecv.weights.reader import read_file
    from phonecv.weights.unwrap import choose_weights

    state = choose_weights(read_file(path).content, None, str(path)).state
    net = timm.create_model(name, pretrained=False)
    if net.state_dict().keys() != state.keys():
        state = _renamed_in_order(net, state) or state
    if net.state_dict().keys() != state.keys():
        try:  # timm knows how the authors of some networks called their tensors
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
        except (RuntimeError, KeyError, ValueError) as error:
            raise UserError(f"{path} does not hold the weights of timm:{name}: {str(error)[:600]}") from error
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path} does not hold the weights of timm:{name}: {str(error)[:600]}") from error
    return net


def _renamed_in_order(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """`state` under the network's names, if both hold the same kinds and shapes of tensors one after the other.

    Libraries that build the same network write its layers in the same order, whatever they call them.
    """
    counters = ".num_batches_tracked"
    own = {key: value for key, value in net.state_dict().items() if not key.endswith(counters)}
    theirs = {key: value for key, value in state.items() if not key.endswith(counters)}

    def shapes(tensors: dict[str, Tensor]) -> list[tuple[str, torch.Size]]:
        return [(key.rpartition(".")[2], value.shape) for key, value in tensors.items()]

    if shapes(own) != shapes(theirs):
        return None
    return net.state_dict() | dict(zip(own, theirs.values(), strict=True))
