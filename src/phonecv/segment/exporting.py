"""Segmenters as they go into a file.

| decoding | outputs |
|---|---|
| raw | `logits` B C h w, at the head's own size |
| final | `classes` B H W, at the input's size |
| mediapipe | `logits_last` B h w C |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.dense.exporting import MAX_DIFF, input_batch
from phonecv.exporting.comparing import HINT, Compared, Sides, compare_numbers, unvaried
from phonecv.exporting.example import first_example as choose_example
from phonecv.exporting.formats import MEDIAPIPE
from phonecv.exporting.plain import inputs, traceable
from phonecv.models.headed import RawOutputs
from phonecv.segment.base import Segmenter
from phonecv.segment.layers import at_least_float32, resize

#: Logits with the classes on the last axis.
LAST = "logits_last"

#: Pixels that may be of another class however many are asked to stay: some are at the border of two classes.
MAX_DIFF_PIXELS = 1e-4


def as_module(network: Segmenter, *, decode: str, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[str, ...]]:
    """Logits or classes."""
    if decode == "mediapipe":
        return LastLogits(network), (LAST,)
    return (PixelLogits(network), ("logits",)) if decode == "raw" else (PixelClasses(network), ("classes",))


def needs(network: Segmenter, decode: str) -> tuple[str, ...]:
    """A backbone's operators do."""
    return (MEDIAPIPE,) if decode == "mediapipe" else ()


def decoding(network: Segmenter, height: int, width: int, decode: str) -> dict[str, Any]:
    """With the windows that large pictures are cut into."""
    windows = network.windows
    return {"kind": decode, "windows": None if windows is None else [windows.crop, windows.stride]}


def compare(sides: Sides, max_diff: float | None) -> Compared:
    """Maps of classes by the share of pixels that are of another class, logits number by number."""
    if tuple(sides.names) == ("classes",):
        return Compared(float(np.mean(sides.wanted[0] != sides.got[0])))
    if tuple(sides.names) == (LAST,):
        wanted, got = ([np.moveaxis(output, -1, 1) for output in side] for side in (sides.wanted, sides.got))
        sides = replace(sides, names=("logits",), wanted=wanted, got=got)
    return compare_numbers(sides, max_diff, unit="pixels", tipping=MAX_DIFF_PIXELS)


def nothing_compared(
    names: Sequence[str], wanted: Sequence[Sequence[np.ndarray]], got: Sequence[Sequence[np.ndarray]]
) -> str:
    """Where all pixels are of one class, or logits do not vary."""
    if tuple(names) != ("classes",):
        return unvaried(names, wanted, got)
    if len(np.unique(np.concatenate([side[0].ravel() for batches in (wanted, got) for side in batches]))) == 1:
        return f"all pixels of {len(wanted[0][0])} pictures are of one class; {HINT}"
    return ""


def timed(network: Segmenter) -> tuple[nn.Module, str]:
    """From normalised pictures to the heads' raw outputs."""
    return RawOutputs(network), "backbone and heads are timed, not the resizing of their logits"


class PixelLogits(nn.Module):
    """A segmenter's logits at the size its head works at; whoever reads them makes them larger."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> ``B classes h w``."""
        return (self.network.network(batch, auxiliary=False)[0],)


class LastLogits(PixelLogits):
    """The same with the classes last."""

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> ``B h w classes``."""
        (logits,) = super().forward(batch)
        return (logits.movedim(1, -1),)


class PixelClasses(PixelLogits):
    """A segmenter's class of every pixel of its input."""

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> ``B H W``, int32."""
        (logits,) = super().forward(batch)
        whole = resize(at_least_float32(logits), (batch.shape[2], batch.shape[3]))
        return (whole.argmax(1).to(torch.int32),)


__all__ = ["MAX_DIFF", "as_module", "choose_example", "compare", "decoding", "input_batch", "inputs", "needs",
           "nothing_compared", "timed", "traceable"]  # fmt: skip
