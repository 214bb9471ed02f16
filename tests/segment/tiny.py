"""Small segmenters for quick tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from conftest import TINY
from kept import kept
from phonecv.preprocessing import DensePreprocessing
from phonecv.segment.base import Segmenter
from phonecv.segment.create import create_segmenter
from settle import settle

#: Options that make the heads small.
OPTIONS: dict[str, dict[str, Any]] = {
    "deeplabv3": {"channels": 8, "dilations": [2, 3], "aux_channels": 8},
    "pspnet": {"channels": 8, "pools": [1, 2, 3], "aux_channels": 8},
    "semantic_fpn": {"channels": 8, "neck_channels": 16},
    "segformer": {"channels": 16},
    "unet": {"widths": [16, 16, 8, 8]},
}

SMALL = DensePreprocessing(size=64, longest=256)


class Both(nn.Module):
    """A segmenter as plain tensors in and out: the logits of both heads."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model, self.in_chans = model, model.in_chans

    def forward(self, x: Tensor) -> list[Tensor]:
        return [logits for logits in self.model.network(x, auxiliary=True) if logits is not None]


@kept
def tiny(architecture: str, backbone: str = "emov2_1m", *, num_classes: int = 5, **more: Any) -> Segmenter:
    """A small segmenter with settled statistics, in evaluation mode."""
    torch.manual_seed(0)
    options = OPTIONS[architecture] | more.pop("options", {})
    model = create_segmenter(
        architecture, backbone, num_classes=num_classes, options=options, **TINY.get(backbone, {}), **more
    )
    model.preprocessing = SMALL.of_channels(model.in_chans)
    both: Any = Both(model)
    settle(both)
    return model.eval()
