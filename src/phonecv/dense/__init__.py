"""What detectors and segmenters share: a backbone's feature maps, pictures of any size, and the model's contract."""

from __future__ import annotations

from phonecv.dense.backbone import backbone_for_heads, feature_channels, make_backbone, normalisation
from phonecv.dense.inputs import Prepared, prepare
from phonecv.dense.model import DenseModel

__all__ = [
    "DenseModel",
    "Prepared",
    "backbone_for_heads",
    "feature_channels",
    "make_backbone",
    "normalisation",
    "prepare",
]
