from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from phonecv.exporting import comparing
from phonecv.exporting.comparing import Compared, compare_numbers
from phonecv.exporting.example import first_example
from phonecv.exporting.pictures import cropped_batch
from phonecv.exporting.record import at_size
from phonecv.models.headed import RawOutputs
from regress.network import Regressor

MAX_DIFF = comparing.MAX_DIFF | {"int8": 0.5}

input_batch, nothing_compared, choose_example = cropped_batch, comparing.unvaried, first_example


def as_module(network: Regressor, *, decode: str, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[str, ...]]:
    return RawOutputs(network), ("number",)


def needs(network: Regressor, decode: str) -> tuple[str, ...]:
    return ()


def traceable(network: Regressor, batch: Tensor) -> tuple[Regressor, Tensor]:
    return network, batch


def record_fields(network: Regressor, height: int, width: int, decode: str) -> dict[str, Any]:
    return {"preprocessing": at_size(network.preprocessing, height, width).to_dict()}


def compare(
    module: nn.Module,
    names: Sequence[str],
    wanted: Sequence[np.ndarray],
    got: Sequence[np.ndarray],
    *,
    batch: np.ndarray | None,
    max_diff: float | None,
) -> Compared:
    return compare_numbers(names, wanted, got, max_diff=max_diff)


def timed(network: Regressor) -> tuple[nn.Module, str]:
    return RawOutputs(network), ""
