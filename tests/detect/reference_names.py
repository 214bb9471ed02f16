"""Names of the published detectors' parameters for ours: renaming alone, no tensor changes."""

from __future__ import annotations

import re

from models.reference import official_name

_RULES: tuple[tuple[str, str], ...] = (
    (r"^extras\.(\d)\.0\.norm\.", r"neck.extra_layers.\1.0.bn."),
    (r"^extras\.(\d)\.0\.", r"neck.extra_layers.\1.0."),
    (r"^extras\.(\d)\.1\.norm\.", r"neck.extra_layers.\1.1.depthwise_conv.bn."),
    (r"^extras\.(\d)\.1\.", r"neck.extra_layers.\1.1.depthwise_conv."),
    (r"^extras\.(\d)\.2\.norm\.", r"neck.extra_layers.\1.1.pointwise_conv.bn."),
    (r"^extras\.(\d)\.2\.", r"neck.extra_layers.\1.1.pointwise_conv."),
    (r"^class_heads\.(\d)\.0\.norm\.", r"bbox_head.cls_convs.\1.0.bn."),
    (r"^class_heads\.", "bbox_head.cls_convs."),
    (r"^box_heads\.(\d)\.0\.norm\.", r"bbox_head.reg_convs.\1.0.bn."),
    (r"^box_heads\.", "bbox_head.reg_convs."),
    (r"^neck\.laterals\.(\d)\.", r"neck.lateral_convs.\1.conv."),
    (r"^neck\.outputs\.(\d)\.", r"neck.fpn_convs.\1.conv."),
    # RetinaNet's pyramid has three levels before the coarser two.
    (r"^neck\.coarser\.0\.", "neck.fpn_convs.3.conv."),
    (r"^neck\.coarser\.1\.", "neck.fpn_convs.4.conv."),
    (r"^class_tower\.", "bbox_head.cls_convs."),
    (r"^box_tower\.", "bbox_head.reg_convs."),
    (r"^class_head\.", "bbox_head.retina_cls."),
    (r"^box_head\.", "bbox_head.retina_reg."),
)


def reference_name(name: str, *, generation: int) -> str:
    """The published name of one of our tensors.

    Args:
        name: in the state dict of an SSDLite or a RetinaNet.
        generation: 1 for EMO, 2 for EMOv2.
    """
    if name.startswith("backbone."):
        inner = name.removeprefix("backbone.")
        return "backbone." + (official_name(inner) if generation == 1 else inner)
    for pattern, replacement in _RULES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    raise KeyError(name)
