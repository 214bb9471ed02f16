"""What detectors and segmenters share on their way into a file."""

from __future__ import annotations

from collections.abc import Sequence

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


def input_batch(network: DenseModel, images: Sequence[Image.Image], height: int, width: int) -> Tensor:
    """RGB pictures, ``N 3 height width``: stretched, or made to fit where the preprocessing keeps their aspect."""
    pictures = (planes(image) for image in images)
    spec, canvas = network.preprocessing, (height, width)
    return torch.cat([prepare([picture], spec, canvas=canvas).batch for picture in pictures])
