"""What can be done to a network before its numbers become 8 bits, by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from phonecv.errors import UserError, did_you_mean
from phonecv.exporting.ranges import Int8Settings
from phonecv.models.quantized import layers_of, mark
from phonecv.quantization.bias import correct_biases
from phonecv.quantization.chains import equalize, rescale_to_relu6
from phonecv.quantization.layers import links_of
from phonecv.quantization.qat import FineTuning, fine_tune
from phonecv.quantization.simulation import USUAL

#: In the order in which they are applied, whatever order they are asked for in. The last one, quantization-aware
#: fine-tuning, is a training of minutes; the others are done in seconds.
REMEDIES = ("equalize", "relu6", "bias", "qat")

#: Those that need layers with only ReLU between them.
CHAIN_REMEDIES = ("equalize", "relu6")

M = TypeVar("M", bound=nn.Module)


def apply(
    network: M,
    remedies: Sequence[str],
    images: Tensor,
    *,
    settings: Int8Settings | None = None,
    left_out: Sequence[str] = (),
    precision: str = "int8",
    tuning: FineTuning | None = None,
    say: Callable[[str], None] | None = None,
) -> M:
    """A copy with these remedies applied and noted on it; the network given stays as it was.

    Args:
        network: in deploy form and evaluation mode.
        remedies: of `REMEDIES`.
        images: calibration pictures, ``N 3 H W``.
        settings: of the ranges that the file will have, for the bias correction.
        left_out: layers that stay in floating point.
        precision: "int8", or "int8-weights" to correct for rounded weights alone.
        tuning: of "qat", which learns from these pictures and from the network given.
        say: called with what "qat" has to say: how long it will take, and how it goes.
    """
    for remedy in remedies:
        if remedy not in REMEDIES:
            raise UserError(f"unknown remedy {remedy!r}{did_you_mean(remedy, REMEDIES)} (known: {', '.join(REMEDIES)})")
    if "qat" in remedies and precision != "int8":
        raise UserError(f"fine-tuning plays int8 arithmetic; it does nothing for {precision}")
    done: Any = copy.deepcopy(network)
    settings = settings or USUAL
    if "equalize" in remedies:
        done = equalize(done)
        mark(done, "equalize")
    if "relu6" in remedies:
        done = rescale_to_relu6(done, images, settings.percentile)
        # Its few cut activations hardly matter, but it is not the network that was trained either.
        mark(done, "relu6", relu6=True)
    if "bias" in remedies:
        before = {name for name, module in layers_of(done).items() if module.bias is None}
        weights_only = precision == "int8-weights"
        done = correct_biases(done, images, settings, left_out=left_out, weights_only=weights_only)
        given = [name for name, module in layers_of(done).items() if name in before and module.bias is not None]
        mark(done, "bias", float=False, biases=given, precision=precision)
    if "qat" in remedies:
        done = fine_tune(
            done, images, teacher=network, tuning=tuning, settings=settings, left_out=left_out, say=say
        )  # fmt: skip
    return done


def allowed(network: nn.Module, remedies: Sequence[str]) -> bool:
    """Whether a network allows all of these remedies."""
    return bool(links_of(network)) or not set(remedies) & set(CHAIN_REMEDIES)
