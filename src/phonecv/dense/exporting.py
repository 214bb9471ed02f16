"""What detectors and segmenters share on their way into a file. The record goes with every one, under "decoding".

A file may have any size of input that the network can take; whatever shape pictures have, they are brought to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from phonecv.data.pictures.reading import planes
from phonecv.dense.inputs import prepare
from phonecv.dense.model import DenseModel
from phonecv.exporting.comparing import MAX_DIFF as USUAL_MAX_DIFF

#: In half precision less than of logits is allowed: of scores 0..1, of boxes as a share of the picture's longest side,
#: of objects with suppression in the file, and as a share of pixels where it gives classes.
MAX_DIFF_FP16 = 0.02
MAX_DIFF = USUAL_MAX_DIFF | {"fp16": MAX_DIFF_FP16}


def record_fields(network: DenseModel, decoding: dict[str, Any]) -> dict[str, Any]:
    """How to build it again, its preprocessing, and what its outputs mean.

    Args:
        network: any.
        decoding: JSON values.
    """
    return {
        "architecture": network.architecture,
        "options": network.options,
        "backbone": network.backbone_name,
        "overrides": network.backbone_overrides,
        "preprocessing": network.preprocessing.to_dict(),
        "decoding": decoding,
    }


def input_batch(network: DenseModel, images: Sequence[Image.Image], height: int, width: int) -> Tensor:
    """RGB pictures, ``N 3 height width``: stretched, or made to fit where the preprocessing keeps their aspect."""
    pictures = (planes(image) for image in images)
    spec, canvas = network.preprocessing, (height, width)
    return torch.cat([prepare([picture], spec, canvas=canvas).batch for picture in pictures])
