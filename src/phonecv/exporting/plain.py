"""Hooks for the room "exporting" of tasks whose networks go into a file as they are, see `phonecv.exporting.room`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor

from phonecv.errors import UserError
from phonecv.exporting.comparing import compare_numbers as compare
from phonecv.exporting.comparing import unvaried as nothing_compared
from phonecv.exporting.inputs import Input, picture_input

N = TypeVar("N")


def needs(network: Any, decode: str) -> tuple[str, ...]:
    """Nothing but a backbone's operators."""
    del network, decode
    return ()


def inputs(network: Any, height: int, width: int) -> tuple[Input, ...]:
    """One batch of pictures, of as many channels as the network takes."""
    return (picture_input(height, width, network.preprocessing.channels),)


def no_pictures(network: Any, images: Sequence[Image.Image], height: int, width: int) -> Tensor:
    """For networks that take none."""
    del images, height, width
    raise UserError(f"{network.name} takes no pictures; leave them out")


def timed(network: N) -> tuple[N, str]:
    """All of it."""
    return network, ""


def traceable(network: N, batch: Tensor) -> tuple[N, Tensor]:
    """Both as they are."""
    return network, batch


def decoding(network: Any, height: int, width: int, decode: str) -> dict[str, Any]:
    """Outputs that mean what their names say."""
    del network, height, width, decode
    return {}


__all__ = ["compare", "decoding", "inputs", "needs", "no_pictures", "nothing_compared", "timed", "traceable"]
