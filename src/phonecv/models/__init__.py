"""The networks: one file per family, what they share, and the way to build one by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv.late import late_names

if TYPE_CHECKING:
    from phonecv.models.base import VisionModel, no_weight_decay
    from phonecv.models.emo import EMO
    from phonecv.models.emov2 import EMOv2
    from phonecv.models.factory import build_model
    from phonecv.models.mobileone import MobileOne

# Late, because the catalog is read without torch.
__all__ = ["EMO", "EMOv2", "MobileOne", "VisionModel", "build_model", "no_weight_decay"]


if not TYPE_CHECKING:
    __getattr__ = late_names(__name__)
