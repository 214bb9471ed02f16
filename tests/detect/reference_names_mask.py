"""Names of the published Mask R-CNN's parameters for ours: renaming alone, no tensor changes."""

from __future__ import annotations

import re

_RULES: tuple[tuple[str, str], ...] = (
    (r"^backbone\.", "backbone."),
    (r"^neck\.laterals\.(\d)\.", r"neck.lateral_convs.\1.conv."),
    (r"^neck\.outputs\.(\d)\.", r"neck.fpn_convs.\1.conv."),
    (r"^rpn\.shared\.conv\.", "rpn_head.rpn_conv."),
    (r"^rpn\.objectness\.", "rpn_head.rpn_cls."),
    (r"^rpn\.box\.", "rpn_head.rpn_reg."),
    (r"^box_head\.fc1\.", "roi_head.bbox_head.shared_fcs.0."),
    (r"^box_head\.fc2\.", "roi_head.bbox_head.shared_fcs.1."),
    (r"^box_head\.cls\.", "roi_head.bbox_head.fc_cls."),
    (r"^box_head\.box\.", "roi_head.bbox_head.fc_reg."),
    (r"^mask_head\.mask\.", "roi_head.mask_head.conv_logits."),
    (r"^mask_head\.", "roi_head.mask_head."),
)


def reference_name(name: str) -> str:
    """The published name of one of our tensors."""
    for pattern, replacement in _RULES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    raise KeyError(name)
