"""Classifiers of clips as they go into a file: `clip` B 3 T H W in, `logits` B C out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor, nn

from phonecv.data.clips.transforms import EvalClips, clip_pixels
from phonecv.errors import UserError
from phonecv.exporting.comparing import MAX_DIFF
from phonecv.exporting.example import first_example as choose_example
from phonecv.exporting.inputs import Input
from phonecv.exporting.plain import compare, decoding, nothing_compared, traceable
from phonecv.models.headed import RawOutputs
from phonecv.video.network import VideoClassifier

#: Share of a picture's sides that the made-up clip of it shows at a time.
_SHOWN = 0.8


def needs(network: VideoClassifier, decode: str) -> tuple[str, ...]:
    """Windows that hold several frames, where there are any."""
    return ("windows over frames",) if network.later > 1 else ()


def as_module(
    network: VideoClassifier, *, decode: str, size: tuple[int, int] | None
) -> tuple[nn.Module, tuple[str, ...]]:
    """The network itself: nothing is to be decoded."""
    return RawOutputs(network), ("logits",)


def inputs(network: VideoClassifier, height: int, width: int) -> tuple[Input, ...]:
    """One clip."""
    return (Input("clip", (3, network.frames, height, width), "clips"),)


def input_batch(network: VideoClassifier, images: Sequence[Image.Image], height: int, width: int) -> Tensor:
    """A clip of each picture, ``N 3 T height width``: its view moves from the left to the right.

    Raises:
        UserError: the sides differ.
    """
    if height != width:
        raise UserError(f"clips are cut to squares, so export with one number for the size, not {height} x {width}")
    reader = EvalClips(network.preprocessing, network.frames)
    return torch.cat([reader.normalise(_panned(network, image, height)[None]) for image in images])


def _panned(network: VideoClassifier, image: Image.Image, side: int) -> Tensor:
    width, height = (max(1, round(_SHOWN * length)) for length in image.size)
    steps = max(1, network.frames - 1)
    lefts = [(image.width - width) * number // steps for number in range(network.frames)]
    views = [image.crop((left, 0, left + width, height)) for left in lefts]
    return clip_pixels(views, replace(network.preprocessing, size=side))


def timed(network: VideoClassifier) -> tuple[nn.Module, str]:
    """All of it."""
    return RawOutputs(network), ""


__all__ = ["MAX_DIFF", "as_module", "choose_example", "compare", "decoding", "input_batch", "inputs", "needs",
           "nothing_compared", "timed", "traceable"]  # fmt: skip
