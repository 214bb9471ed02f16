from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from mixing.network import CLASSES, FRAMES, SIZE, STEPS, Clips, Mixer
from phonecv.exporting.comparing import MAX_DIFF
from phonecv.exporting.example import first_example as choose_example
from phonecv.exporting.inputs import Input
from phonecv.exporting.pictures import cropped_batch
from phonecv.exporting.plain import compare, decoding, needs, no_pictures, nothing_compared, traceable

__all__ = ["MAX_DIFF", "choose_example", "compare", "decoding", "needs", "nothing_compared", "traceable"]


def inputs(network: Mixer | Clips, height: int, width: int) -> tuple[Input, ...]:
    if isinstance(network, Clips):
        return (Input("clip", (3, FRAMES, height, width), "clips"),)
    return (  # of one size alone
        Input("noisy", (4, SIZE, SIZE), "latents"),
        Input("timesteps", (), "timesteps", most=STEPS - 1),
        Input("classes", (), "classes", "int32", most=CLASSES),
    )


def input_batch(network: Mixer | Clips, images: Sequence[Image.Image], height: int, width: int) -> Tensor:
    if isinstance(network, Mixer):
        return no_pictures(network, images, height, width)
    frames = cropped_batch(network, images, height, width)
    return torch.stack([frames.roll(2 * step, 3) for step in range(FRAMES)], 2)


def as_module(
    network: Mixer | Clips, *, decode: str, size: tuple[int, int] | None
) -> tuple[nn.Module, tuple[str, ...]]:
    del decode, size
    return network, ("logits",) if isinstance(network, Clips) else ("prediction",)


def timed(network: Mixer | Clips) -> tuple[nn.Module, str]:
    return network, ""
