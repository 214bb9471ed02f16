"""Semantic segmentation on any backbone: DeepLabv3, PSPNet, Semantic FPN, SegFormer and UNet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv.late import late_names

if TYPE_CHECKING:
    from phonecv.segment.architectures import list_segmenters
    from phonecv.segment.base import Segmenter
    from phonecv.segment.create import create_segmenter
    from phonecv.segment.inference import predict_labels
    from phonecv.segment.published import PUBLISHED, create_published

#: Public name -> module that defines it, imported when first used: metrics and tables need no network.
_LAZY = {
    "PUBLISHED": "phonecv.segment.published",
    "Segmenter": "phonecv.segment.base",
    "create_published": "phonecv.segment.published",
    "create_segmenter": "phonecv.segment.create",
    "list_segmenters": "phonecv.segment.architectures",
    "predict_labels": "phonecv.segment.inference",
}

__all__ = [
    "PUBLISHED",
    "Segmenter",
    "create_published",
    "create_segmenter",
    "list_segmenters",
    "predict_labels",
]


if not TYPE_CHECKING:
    __getattr__ = late_names(__name__, _LAZY)
