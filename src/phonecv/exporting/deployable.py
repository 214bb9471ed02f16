"""A network as it goes into a file: one batch of pictures in, a tuple of named tensors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from phonecv.models import VisionModel

if TYPE_CHECKING:
    from phonecv.dense import DenseModel


class Deployable(nn.Module):
    """A network with a tuple of tensors for output, and its normalisation in front if it is to be part of the file.

    Args:
        network: takes normalised pictures.
        mean: of values in 0..1, to take pixel values 0..255; None to take normalised pictures.
        std: likewise.
    """

    def __init__(
        self, network: nn.Module, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.baked = mean is not None
        self.register_buffer("shift", _per_channel(mean or (0, 0, 0)) * 255, persistent=False)
        self.register_buffer("factor", 1 / (_per_channel(std or (1, 1, 1)) * 255), persistent=False)
        self.shift: Tensor
        self.factor: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> the network's outputs."""
        result = self.network(self.normalised(images))
        return (result,) if isinstance(result, Tensor) else tuple(result)

    def normalised(self, images: Tensor) -> Tensor:
        """What the network gets, ``B 3 H W``."""
        return (images - self.shift) * self.factor if self.baked else images


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[None, :, None, None]


def deployable(
    network: VisionModel | DenseModel,
    *,
    bake: bool = False,
    decode: bool | str = False,
    size: tuple[int, int] | None = None,
) -> tuple[Deployable, tuple[str, ...]]:
    """The module for a file, and a name for each of its outputs.

    Args:
        network: on the CPU, in evaluation mode; classifier, dense backbone, detector or segmenter.
        bake: take pixel values 0..255 rather than normalised ones.
        decode: for detectors: boxes, scores and labels rather than the heads' raw outputs; for segmenters: the class
            of every pixel rather than logits. See `phonecv.dense.exporting.DECODINGS`.
        size: input height and width of detectors, None where they are free.
    """
    spec = network.preprocessing
    normalisation = (spec.mean, spec.std) if bake else (None, None)
    if isinstance(network, VisionModel):
        names = ("logits",) if network.out_indices is None else tuple(f"stage{stage}" for stage in network.out_indices)
        return Deployable(network, *normalisation).eval(), names
    from phonecv.dense.exporting import dense_module

    module, names = dense_module(network, decode=decode, size=size)
    return Deployable(module, *normalisation).eval(), names
