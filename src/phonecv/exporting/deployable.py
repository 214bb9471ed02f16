"""A network as it goes into a file: one batch in, of pictures mostly, a tuple of named tensors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phonecv.errors import UserError, did_you_mean
from phonecv.exporting.room import exporting_of
from phonecv.options import decodings_of
from phonecv.task import done_by


class Deployable(nn.Module):
    """A network with a tuple of tensors for output, and its normalisation in front if it is to be part of the file.

    Args:
        network: takes normalised pictures, or clips, or what the room's `inputs` says.
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

    def forward(self, images: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """``B C H W``, or whatever the network takes -> the network's outputs."""
        result = self.network(self.normalised(images), *more)
        return (result,) if isinstance(result, Tensor) else tuple(result)

    def normalised(self, images: Tensor) -> Tensor:
        """What the network gets, ``B C H W`` or ``B C T H W``."""
        if not self.baked:
            return images
        if images.ndim == 5:
            return (images - self.shift[..., None]) * self.factor[..., None]
        return (images - self.shift) * self.factor


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[None, :, None, None]


def deployable(
    network: Any,
    *,
    bake: bool = False,
    decode: str = "raw",
    size: tuple[int, int] | None = None,
) -> tuple[Deployable, tuple[str, ...]]:
    """The module for a file, and a name for each of its outputs.

    Args:
        network: of any task, on the CPU, in evaluation mode.
        bake: take pixel values 0..255 rather than normalised ones.
        decode: see `phonecv.options.decodings_of`.
        size: input height and width, None where they are free.

    Raises:
        UserError: a decoding or size that this network does not have.
    """
    check_decoding(network, decode)
    spec = network.preprocessing
    module, names = exporting_of(done_by(network)).as_module(network, decode=decode, size=size)
    return Deployable(module, *((spec.mean, spec.std) if bake else (None, None))).eval(), names


def check_decoding(network: Any, decode: str) -> None:
    """Check that files of this network can hold that much.

    Raises:
        UserError: they cannot, naming what they can.
    """
    known = decodings_of(done_by(network).name)
    if decode not in known:
        listed = ", ".join(f"{name}: {text}" for name, text in known.items())
        raise UserError(f"{network.name} has no decoding {decode!r}{did_you_mean(decode, known)} ({listed})")
