"""`create_segmenter`: an architecture by name, on any backbone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from phonecv.dense.backbone import completed, feature_channels, make_backbone
from phonecv.dense.fpn import FPN
from phonecv.dense.windows import Windows
from phonecv.errors import UserError, did_you_mean
from phonecv.models.base import Form, check_form
from phonecv.models.factory import check_known
from phonecv.preprocessing import DensePreprocessing
from phonecv.segment.architectures import SEGMENTERS
from phonecv.segment.base import Segmenter
from phonecv.segment.heads import ASPPHead, FCNHead, PSPHead, SegFormerHead, SemanticFPNHead, UNetHead
from phonecv.segment.unet_hrf import EMOv2UNet

#: Evaluation of all ADE20K rows.
ADE20K = DensePreprocessing(size=512, longest=2048)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decode head and what belongs to it; the published choices.

    Attributes:
        head: channels of the maps, number of classes and options -> the head.
        strides: of the maps that it takes from the backbone.
        auxiliary: whether it is trained with an auxiliary head, unless the person says otherwise.
        aux_stride: of the map that the auxiliary head takes.
        aux_channels: of the auxiliary head.
        backbone: of its own, or None for any.
        preprocessing: of evaluation.
        windows: of evaluation, or None for the whole picture.
        pyramid: whether a feature pyramid stands between the maps and the head.
    """

    head: Callable[..., nn.Module]
    strides: tuple[int, ...]
    auxiliary: bool = False
    aux_stride: int = 16
    aux_channels: int = 256
    backbone: type[EMOv2UNet] | None = None
    preprocessing: DensePreprocessing = ADE20K
    windows: Windows | None = None
    pyramid: bool = False


ARCHITECTURES: dict[str, Architecture] = {
    "deeplabv3": Architecture(ASPPHead, (32,), auxiliary=True),
    "pspnet": Architecture(PSPHead, (32,), auxiliary=True),
    "semantic_fpn": Architecture(SemanticFPNHead, (4, 8, 16, 32), pyramid=True),
    "segformer": Architecture(SegFormerHead, (4, 8, 16, 32)),
    "unet": Architecture(UNetHead, (2, 4, 8, 16, 32)),
    "unet_hrf": Architecture(
        partial(ASPPHead, channels=16),
        (16, 8, 4, 2, 1),
        auxiliary=True,
        aux_stride=2,
        aux_channels=64,
        backbone=EMOv2UNet,
        # HRF pictures, 2336 x 3504, as they are.
        preprocessing=DensePreprocessing(size=2336, longest=3504),
        windows=Windows(crop=256, stride=170),
    ),
}

DEFAULT_BACKBONE = "emov2_5m"


def create_segmenter(
    architecture: str,
    backbone: str | nn.Module = DEFAULT_BACKBONE,
    *,
    num_classes: int = 150,
    weights: str | Path | None = None,
    form: Form | None = None,
    options: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> Segmenter:
    """Build a segmenter with fresh heads.

    Args:
        architecture: "deeplabv3", "pspnet", "semantic_fpn", "segformer", "unet" on any backbone; "unet_hrf", the
            published EMOv2 UNet, brings its own.
        backbone: a catalog name, "timm:NAME", or a module; see `phonecv.dense.backbone.make_backbone`.
        num_classes: 2..255; label 255 marks ignored pixels.
        weights: of the backbone: a tag of the catalog or a classification checkpoint; "pretrained" for timm's.
        form: "deploy" for the fused network, backbone and heads; "training" for the one to train; None for training
            heads on a backbone in the form of its weights.
        options: of the heads, where they differ from the published ones: `channels`, `dilations` (deeplabv3), `pools`
            (pspnet), `neck_channels` (semantic_fpn), `widths` and `finest` (unet: the finest stride it takes from the
            backbone, 2 or 4), `dropout`, `aux` (bool), `aux_channels`, `aux_weight`, and `slide` to evaluate by
            windows: ``{"crop": 512, "stride": 341}``, or None for whole pictures.
        **overrides: constructor arguments of the backbone, such as ``window=10``, ``drop_path=0.1``.

    Returns:
        The segmenter in training mode, as PyTorch makes modules.

    Raises:
        UserError: an unknown name or option, or a value out of range.
    """
    if architecture not in SEGMENTERS:
        raise UserError(
            f"unknown architecture {architecture!r}{did_you_mean(architecture, SEGMENTERS)}"
            f" (known: {', '.join(SEGMENTERS)})"
        )
    check_form(form)
    if not (isinstance(num_classes, int) and 2 <= num_classes <= 255):
        raise UserError(f"num_classes {num_classes!r} is not 2..255 (label 255 marks ignored pixels)")
    entry = ARCHITECTURES[architecture]
    given = dict(options or {})
    own = [key for key in inspect.signature(entry.head).parameters if key not in ("in_channels", "num_classes")]
    check_options(architecture, given, ["neck_channels", *own] if entry.pyramid else own)

    aux = given.get("aux", entry.auxiliary)
    finest = given.get("finest", 1)
    strides = [stride for stride in entry.strides if stride >= finest]
    if aux and entry.aux_stride not in strides:
        strides = sorted([*strides, entry.aux_stride])
    network: nn.Module
    if entry.backbone is None:
        network = make_backbone(backbone, strides, weights=weights, form=form, **overrides)
    else:
        name = entry.backbone.name
        if backbone not in (DEFAULT_BACKBONE, name) or weights is not None:
            raise UserError(f"{architecture} is a network of its own without public weights; leave out the backbone")
        check_known(name, "option", overrides, list(inspect.signature(entry.backbone).parameters))
        network = entry.backbone(**overrides)
        network.overrides = dict(overrides)
    maps = feature_channels(network, strides)
    wide = given.get("neck_channels", 256)
    neck = FPN(maps, wide) if entry.pyramid else None
    below = maps if neck is None else [wide] * len(maps)
    head = entry.head(below, num_classes, **{key: given[key] for key in own if key in given})
    aux_head = None
    if aux:
        index = strides.index(entry.aux_stride)
        width = given.get("aux_channels", entry.aux_channels)
        dropout = given.get("dropout", 0.1)
        aux_head = FCNHead(maps[index], num_classes, index=index, channels=width, dropout=dropout)
    slide = given.get("slide", entry.windows)
    model = Segmenter(
        architecture,
        network,
        num_classes,
        entry.preprocessing,
        head=head,
        neck=neck,
        aux_head=aux_head,
        aux_weight=given.get("aux_weight", 0.4),
        windows=Windows(**slide) if isinstance(slide, Mapping) else slide,
    )
    return completed(model, given, form=form, pretrained=weights is not None)


#: Options that every architecture takes, and those of `unet` alone.
COMMON = ("aux", "aux_channels", "aux_weight", "slide")
UNET = ("finest",)

#: Options that hold one whole number > 0, or a list of them.
_NUMBERS = ("channels", "neck_channels", "aux_channels")
_LISTS = ("dilations", "pools", "widths")


def check_options(architecture: str, options: Mapping[str, Any], own: Sequence[str]) -> None:
    """Every option is known (to the head itself, by `own`, or to all) and has a value in range."""
    check_known(architecture, "option", options, [*own, *COMMON, *(UNET if architecture == "unet" else ())])
    for key, value in options.items():
        if key in _NUMBERS and not _positive(value):
            raise UserError(f"{key} {value!r} is not a whole number > 0")
        if key in _LISTS and not (isinstance(value, list | tuple) and value and all(map(_positive, value))):
            raise UserError(f"{key} {value!r} is not a list of whole numbers > 0")
        if key == "dropout" and not _number(value, below=1.0):
            raise UserError(f"dropout {value!r} is not in [0, 1)")
        if key == "aux" and not isinstance(value, bool):
            raise UserError(f"aux {value!r} is neither true nor false")
        if key == "aux_weight" and not _number(value, below=float("inf")):
            raise UserError(f"aux_weight {value!r} is not a number >= 0")
        if key == "finest" and value not in (2, 4):
            raise UserError(f"finest {value!r} is neither 2 nor 4")
        if key == "slide" and value is not None:
            pair = value if isinstance(value, Mapping) else {}
            if set(pair) != {"crop", "stride"} or not all(map(_positive, pair.values())):
                raise UserError(f"slide {value!r} is not of the form {{'crop': 512, 'stride': 341}}, in pixels")
            Windows(**pair)


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(value: Any, *, below: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < below
