"""Feature maps at chosen strides, from our networks and from timm's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from phonecv.create import create_model
from phonecv.errors import UserError, did_you_mean
from phonecv.models.base import Form, VisionModel
from phonecv.models.catalog import MODELS
from phonecv.models.factory import listed
from phonecv.models.fusing import fuse
from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import RGB

M = TypeVar("M", bound=HeadedModel)

#: Before the name of one of timm's networks.
TIMM = "timm:"


def make_backbone(
    backbone: str | nn.Module,
    strides: Sequence[int],
    *,
    weights: str | Path | None = None,
    form: Form | None = None,
    **overrides: Any,
) -> nn.Module:
    """A module that maps ``B 3 H W`` to the list of feature maps at `strides`, for heads to stand on.

    Args:
        backbone: a catalog name; "timm:NAME" for any network of timm that offers `features_only`; or a module that
            returns a list of maps and describes them in `feature_info`, which is used as it is.
        strides: rising, such as (4, 8, 16, 32).
        weights: as for `phonecv.create_model`: a tag of the catalog, or a classification checkpoint of any layout; its
            classifier is not needed. For timm "pretrained" or None.
        form: the one that heads and backbone shall have in the end. With None the backbone has that of its weights:
            fresh heads can be trained on a fused backbone, and fused with it afterwards.
        **overrides: constructor arguments, such as ``window=10``, ``frozen_stages=1``, ``norm_eval=True``.

    Raises:
        UserError: an unknown name, a stride it does not have, arguments it does not take, or a backbone in deploy form
            where `form` insists on the other.
    """
    if isinstance(backbone, nn.Module):
        if weights is not None or overrides:
            raise UserError("a backbone given as a module is used as it is; load, fuse and set it up beforehand")
        feature_channels(backbone, strides)
        network = backbone
    elif backbone.startswith(TIMM):
        network = _from_timm(backbone.removeprefix(TIMM), strides, weights, overrides)
    elif backbone not in MODELS:
        raise UserError(
            f"unknown backbone {backbone!r}{did_you_mean(backbone, MODELS)}; `phonecv models` lists ours,"
            f" and {TIMM}NAME takes one of timm's"
        )
    else:
        indices = [stride.bit_length() - 2 for stride in strides]
        if any(
            stride != 2 ** (index + 1) or not 0 <= index <= 4 for stride, index in zip(strides, indices, strict=True)
        ):
            raise UserError(f"{backbone} has maps of strides 2, 4, 8, 16 and 32, not all of {list(strides)}")
        own = None if form == "deploy" else form
        if form is None and weights == "official":
            own = "training"  # the public file that can be fused later, where there are both
        network = create_model(backbone, weights=weights, form=own, out_indices=tuple(indices), **overrides)
    if form == "training" and isinstance(network, VisionModel) and network.form == "deploy":
        raise UserError(
            "the backbone is in deploy form: take its training form, or leave out form='training' to train heads on it"
            " as it is"
        )
    return network


def completed(model: M, options: Mapping[str, Any], *, form: Form | None, pretrained: bool) -> M:
    """A network whose heads have just been made on a backbone from `make_backbone`, as it is given away.

    It gets the normalisation that its backbone was trained with, and the options of the heads as part of its record.
    """
    spec = replace(model.preprocessing, **normalisation(model.backbone, pretrained=pretrained))
    model.preprocessing = spec.of_channels(model.backbone_overrides.get("in_chans", RGB))
    model.options = listed(options)
    # A fresh network has nothing to get wrong in train mode; its statistics are those it will be fused with.
    return fuse(model.eval()).train() if form == "deploy" else model


def normalisation(network: nn.Module, *, pretrained: bool) -> dict[str, Any]:
    """Mean and standard deviation that a backbone was trained with, as fields of `DensePreprocessing`.

    Args:
        network: from `make_backbone`.
        pretrained: whether a network of timm has its public weights.
    """
    if isinstance(network, VisionModel):
        return {"mean": network.preprocessing.mean, "std": network.preprocessing.std}
    name = getattr(network, "name", "")
    if pretrained and isinstance(name, str) and name.startswith(TIMM):
        import timm

        config = timm.get_pretrained_cfg(name.removeprefix(TIMM))
        if config is not None:
            return {"mean": tuple(config.mean), "std": tuple(config.std)}
    return {}


def feature_channels(backbone: nn.Module, strides: Sequence[int]) -> list[int]:
    """Channels of the maps that `backbone` returns, which must be at `strides`.

    Raises:
        UserError: it describes no features, or others.
    """
    infos: Any = getattr(backbone, "feature_info", None)
    if infos is None:
        raise UserError(
            f"{type(backbone).__name__} has no feature_info; a backbone lists num_chs and reduction of its maps there"
        )
    if isinstance(backbone, VisionModel):
        if backbone.out_indices is None:
            raise UserError(f"{backbone.name or 'the backbone'} classifies; build it with out_indices to get its maps")
        infos = [backbone.feature_info[index] for index in backbone.out_indices]
    elif hasattr(infos, "get_dicts"):  # timm's FeatureInfo: only the chosen maps
        infos = infos.get_dicts(keys=["num_chs", "reduction"])
    there = [int(info["reduction"]) for info in infos]
    if there != list(strides):
        raise UserError(f"the backbone's maps have strides {there}, {list(strides)} are needed")
    return [int(info["num_chs"]) for info in infos]


def _from_timm(name: str, strides: Sequence[int], weights: str | Path | None, overrides: dict[str, Any]) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise UserError(f"timm has no network {name!r}{did_you_mean(name, timm.list_models())}")
    if weights not in (None, "pretrained"):
        raise UserError(f"weights {str(weights)!r}: a timm backbone takes 'pretrained' or none")
    try:
        whole: Any = timm.create_model(name, features_only=True, **overrides)
        every = whole.feature_info.reduction()
    except (RuntimeError, TypeError, AssertionError, AttributeError) as error:
        raise UserError(f"timm's {name} cannot serve as a backbone: {error}") from error
    missing = [stride for stride in strides if stride not in every]
    if missing:
        raise UserError(f"timm's {name} has maps of strides {every}, not {missing}")
    # Where two maps share a stride, the later one is the richer.
    indices = [len(every) - 1 - every[::-1].index(stride) for stride in strides]
    network: Any = timm.create_model(
        name, features_only=True, out_indices=indices, pretrained=weights == "pretrained", **overrides
    )
    network.name, network.overrides = TIMM + name, dict(overrides)
    return network
