from __future__ import annotations

from torch import nn

from phonecv.exporting import comparing
from phonecv.exporting.example import first_example as choose_example
from phonecv.exporting.pictures import cropped_batch as input_batch
from phonecv.exporting.plain import compare, decoding, inputs, needs, nothing_compared, traceable
from phonecv.models.headed import RawOutputs
from regress.network import Regressor

MAX_DIFF = comparing.MAX_DIFF | {"int8": 0.5}

__all__ = ["choose_example", "compare", "decoding", "input_batch", "inputs", "needs", "nothing_compared", "traceable"]


def as_module(network: Regressor, *, decode: str, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[str, ...]]:
    return RawOutputs(network), ("number",)


def timed(network: Regressor) -> tuple[nn.Module, str]:
    return RawOutputs(network), ""
