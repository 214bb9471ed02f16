"""What detectors and segmenters share: a backbone's feature maps, pictures of any size, and the model's contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv.late import late_names

if TYPE_CHECKING:
    from phonecv.dense.backbone import backbone_for_heads, feature_channels, make_backbone, normalisation
    from phonecv.dense.inputs import Prepared, prepare
    from phonecv.dense.model import DenseModel

#: Public name -> module that defines it, imported when first used: settings of trainings need no torch.
_LATE = {
    "DenseModel": "phonecv.dense.model",
    "Prepared": "phonecv.dense.inputs",
    "backbone_for_heads": "phonecv.dense.backbone",
    "feature_channels": "phonecv.dense.backbone",
    "make_backbone": "phonecv.dense.backbone",
    "normalisation": "phonecv.dense.backbone",
    "prepare": "phonecv.dense.inputs",
}

__all__ = [
    "DenseModel",
    "Prepared",
    "backbone_for_heads",
    "feature_channels",
    "make_backbone",
    "normalisation",
    "prepare",
]

if not TYPE_CHECKING:
    __getattr__ = late_names(__name__, _LATE)
