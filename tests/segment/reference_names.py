"""Our parameter names -> those of the reference implementation, which the golden numbers' tensors are filled by."""

from __future__ import annotations

import re

from models.reference import official_name
from phonecv.segment.base import Segmenter

_HEADS: tuple[tuple[str, str], ...] = (
    (r"^head\.classify\.conv\.", "decode_head.conv_seg."),
    (r"^aux_head\.classify\.conv\.", "auxiliary_head.conv_seg."),
    (r"^aux_head\.conv\.", "auxiliary_head.convs.0."),
)
_ASPP: tuple[tuple[str, str], ...] = (
    (r"^head\.pooled\.", "decode_head.image_pool.1."),
    (r"^head\.branches\.(\d)\.", r"decode_head.aspp_modules.\1."),
    (r"^head\.join\.", "decode_head.bottleneck."),
)
_DECODERS: dict[str, tuple[tuple[str, str], ...]] = {
    "deeplabv3": _ASPP,
    "unet_hrf": _ASPP,
    "pspnet": (
        (r"^head\.levels\.(\d)\.", r"decode_head.psp_modules.\1.1."),
        (r"^head\.join\.", "decode_head.bottleneck."),
    ),
    "semantic_fpn": (
        (r"^head\.levels\.(\d)\.(\d)\.", r"decode_head.scale_heads.\1.\2."),
        (r"^neck\.laterals\.(\d)\.", r"neck.lateral_convs.\1.conv."),
        (r"^neck\.outputs\.(\d)\.", r"neck.fpn_convs.\1.conv."),
    ),
    "segformer": (
        (r"^head\.levels\.(\d)\.", r"decode_head.convs.\1."),
        (r"^head\.join\.", "decode_head.fusion_conv."),
    ),
}


def reference_name(model: Segmenter, name: str) -> str:
    """The reference's name of our parameter or buffer."""
    if name.startswith("backbone."):
        inner = name.removeprefix("backbone.")
        if model.backbone_name.startswith("emo_"):
            inner = official_name(inner)
        return "backbone." + (_unet(inner) if model.architecture == "unet_hrf" else inner)
    for ours, theirs in (*_HEADS, *_DECODERS[model.architecture]):
        name = re.sub(ours, theirs, name)
    return re.sub(r"\.norm\.(?=\w+$)", ".bn.", name)


def _unet(name: str) -> str:
    """The reference counts the decoder's steps from the finest, and its encoder stages hold the pooling."""
    if match := re.match(r"encoder\.0\.(\d)\.(.*)", name):
        return f"encoder.0.0.convs.{match[1]}.{match[2].replace('norm.', 'bn.')}"
    if match := re.match(r"encoder\.(\d)\.(\d)\.(.*)", name):
        return f"encoder.{match[1]}.1.convs.{match[2]}.{match[3]}"
    if match := re.match(r"decoder\.(\d)\.shrink\.(.*)", name):
        return f"decoder.{3 - int(match[1])}.upsample.interp_upsample.1.{match[2].replace('norm.', 'bn.')}"
    if match := re.match(r"decoder\.(\d)\.blocks\.(\d)\.(.*)", name):
        return f"decoder.{3 - int(match[1])}.conv_block.convs.{match[2]}.{match[3]}"
    raise KeyError(name)
