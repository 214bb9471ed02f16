"""Rules of the Core ML interpreter for compressed weights: operators of iOS 16 that make a constant of others."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from phonecv.exporting.coreml.arguments import Arguments, Rule
from phonecv.exporting.coreml.program import MOST_ELEMENTS


def _affine_dequantize(a: Arguments) -> Tensor:
    data, axis = a.tensor("quantized_data"), a.whole("axis")
    scale, zero = (_along(a.tensor(name).float(), data, axis) for name in ("scale", "zero_point"))
    return (data.float() - zero) * scale


def _along(values: Tensor, data: Tensor, axis: int) -> Tensor:
    """One number for all of `data`, or one for each place along an axis."""
    if values.ndim == 0:
        return values
    return values.reshape([-1 if one == axis % data.ndim else 1 for one in range(data.ndim)])


def _lut_to_dense(a: Arguments) -> Tensor:
    table, shape = a.tensor("lut"), _shape(a)
    width = int(math.log2(len(table)))
    bits = _bits(a.tensor("indices"), width * math.prod(shape)).reshape(-1, width)
    indices = bits @ (2 ** np.arange(width))
    return table[torch.from_numpy(indices)].reshape(shape)


def _sparse_to_dense(a: Arguments) -> Tensor:
    values, shape = a.tensor("nonzero_data"), _shape(a)
    there = torch.from_numpy(_bits(a.tensor("mask"), math.prod(shape)).astype(bool))
    dense = torch.zeros(math.prod(shape), dtype=values.dtype)
    dense[there] = values
    return dense.reshape(shape)


def _shape(a: Arguments) -> list[int]:
    shape = a.wholes("shape")
    if min(shape, default=1) < 0 or math.prod(shape) > MOST_ELEMENTS:
        raise ValueError(f"weights of shape {shape}")
    return shape


def _bits(packed: Tensor, count: int) -> np.ndarray:
    """Single bits of bytes, the lowest first."""
    bits = np.unpackbits(packed.numpy().astype(np.uint8), bitorder="little")
    if len(bits) < count:
        raise ValueError(f"{len(bits)} packed bits where {count} are needed")
    return bits[:count].astype(np.int64)


RULES: dict[str, Rule] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_cast": lambda a: a.tensor("source_val"),
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
