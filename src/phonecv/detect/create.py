"""`create_detector`: from the names of heads and backbone to a detector."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from torch import nn

from phonecv.dense import backbone_for_heads, normalisation
from phonecv.detect.architectures import get_architecture
from phonecv.detect.base import Detector
from phonecv.errors import UserError, did_you_mean
from phonecv.models.base import Form
from phonecv.models.fusing import fuse


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
        options: arguments of the heads that differ from the architecture's, such as ``{"size": 256}``.
        **backbone_overrides: constructor arguments of the backbone, such as ``window=10``, ``frozen_stages=1``,
            ``norm_eval=True``.

    Returns:
        The detector in training mode, as PyTorch makes modules.

    Raises:
        UserError: unknown names, arguments out of range, or a backbone without the maps that are needed.
    """
    entry = get_architecture(architecture)
    if form is not None and form not in get_args(Form):
        raise UserError(f"form {form!r} is not one of {', '.join(get_args(Form))}")
    if not (isinstance(num_classes, int) and num_classes >= 1):
        raise UserError(f"num_classes {num_classes!r} is not a whole number >= 1 (background is not counted)")
    module, _, name = entry.builder.partition(":")
    builder = getattr(importlib.import_module(module), name)
    known = [
        key
        for key, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    options = dict(options or {})
    for key in options:
        if key not in known:
            raise UserError(
                f"{architecture} has no option {key!r}{did_you_mean(key, known)} (it takes {', '.join(known)})"
            )
    network = backbone_for_heads(backbone, entry.strides, weights=weights, form=form, **backbone_overrides)
    detector: Detector = builder(architecture, network, num_classes, **(dict(entry.options) | options))
    detector.preprocessing = replace(detector.preprocessing, **normalisation(network, pretrained=weights is not None))
    detector.options = {key: _plain(value) for key, value in options.items()}
    if form == "deploy":
        # Fresh heads have nothing to get wrong in train mode, as in `phonecv.create_model`.
        detector = fuse(detector.eval()).train()
    return detector


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
