"""`create_detector`: from the names of heads and backbone to a detector."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from torch import nn

from phonecv.dense.backbone import completed, make_backbone
from phonecv.detect.architectures import get_architecture
from phonecv.detect.base import CHOOSING, Detector
from phonecv.errors import UserError
from phonecv.models.base import Form, check_form
from phonecv.models.factory import check_known


def create_detector(
    architecture: str,
    backbone: str | nn.Module = "emov2_5m",
    *,
    num_classes: int = 80,
    weights: str | Path | None = None,
    form: Form | None = None,
    options: Mapping[str, Any] | None = None,
    **backbone_overrides: Any,
) -> Detector:
    """Build a detector.

    Args:
        architecture: heads, see `phonecv.list_detectors`.
        backbone: a catalog name; "timm:NAME"; or a module that returns maps and describes them in `feature_info`.
        num_classes: without background.
        weights: of the backbone, as for `phonecv.create_model`: classification weights by tag or file.
        form: "deploy" for the fused detector; "training" for the one to train; None for training heads on a backbone in
            the form of its weights.
        options: arguments of the heads, or `phonecv.detect.base.CHOOSING`, that differ from the architecture's, such as
            ``{"size": 256}``.
        **backbone_overrides: constructor arguments of the backbone, such as ``window=10``, ``frozen_stages=1``,
            ``norm_eval=True``.

    Returns:
        The detector in training mode, as PyTorch makes modules.

    Raises:
        UserError: unknown names, arguments out of range, or a backbone without the maps that are needed.
    """
    entry = get_architecture(architecture)
    check_form(form)
    if not (isinstance(num_classes, int) and num_classes >= 1):
        raise UserError(f"num_classes {num_classes!r} is not a whole number >= 1 (background is not counted)")
    builder = resolve_name(entry.builder)
    known = [
        key
        for key, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    options = dict(options or {})
    check_known(architecture, "option", options, [*known, *CHOOSING])
    network = make_backbone(backbone, entry.strides, weights=weights, form=form, **backbone_overrides)
    heads = dict(entry.options) | {name: value for name, value in options.items() if name in known}
    detector: Detector = builder(architecture, network, num_classes, **heads)
    detector.choose_boxes(options)
    return completed(detector, options, form=form, pretrained=weights is not None)
