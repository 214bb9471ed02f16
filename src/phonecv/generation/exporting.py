"""Generators in files: one step of the way from noise to pictures; the loop around it is the app's."""

from __future__ import annotations

from torch import nn

from phonecv.exporting.comparing import MAX_DIFF
from phonecv.exporting.example import first_example as choose_example
from phonecv.exporting.inputs import Input
from phonecv.exporting.plain import compare, decoding, needs, nothing_compared, timed, traceable
from phonecv.exporting.plain import no_pictures as input_batch
from phonecv.generation.diffusion import STEPS
from phonecv.generation.network import Generator

__all__ = ["MAX_DIFF", "choose_example", "compare", "decoding", "input_batch", "needs", "nothing_compared", "timed",
           "traceable"]  # fmt: skip


def inputs(network: Generator, height: int, width: int) -> tuple[Input, ...]:
    """Noisy pictures or latents of the network's own size, how noisy they are, and of which class."""
    return (
        Input("noisy", (network.channels, network.size, network.size), "latents" if network.latent else "pixels"),
        Input("timesteps", (), "timesteps", most=STEPS - 1),
        Input("classes", (), "classes", "int32", most=network.num_classes),
    )


def as_module(network: Generator, *, decode: str, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The network as it is: noise, then where its variance lies."""
    return network, ("prediction",)
