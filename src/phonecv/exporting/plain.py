"""Hooks for the room "exporting" of tasks whose networks go into a file as they are, see `phonecv.exporting.room`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from phonecv.exporting.comparing import Compared, compare_numbers
from phonecv.exporting.comparing import unvaried as nothing_compared

N = TypeVar("N")


def needs(network: Any, decode: str) -> tuple[str, ...]:
    """Nothing but a backbone's operators."""
    del network, decode
    return ()


def traceable(network: N, batch: Tensor) -> tuple[N, Tensor]:
    """Both as they are."""
    return network, batch


def decoding(network: Any, height: int, width: int, decode: str) -> dict[str, Any]:
    """Outputs that mean what their names say."""
    del network, height, width, decode
    return {}


def compare(
    module: nn.Module,
    names: Sequence[str],
    wanted: Sequence[np.ndarray],
    got: Sequence[np.ndarray],
    *,
    batch: np.ndarray | None,
    max_diff: float | None,
) -> Compared:
    """Number by number, and by the best class of every picture where there are logits."""
    del module, batch
    return compare_numbers(names, wanted, got, max_diff=max_diff)


__all__ = ["compare", "decoding", "needs", "nothing_compared", "traceable"]
