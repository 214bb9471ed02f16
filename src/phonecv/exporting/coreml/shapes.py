"""Rules of the Core ML interpreter for operators that move values about."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from phonecv.exporting.coreml.arguments import Arguments, Rule


def _reshape(a: Arguments) -> Tensor:
    x, shape = a.tensor("x"), a.wholes("shape")
    # A zero keeps the length of the same axis, but only among as many axes.
    return x.reshape([x.shape[axis] if length == 0 else length for axis, length in enumerate(shape)])


def _expand_dims(a: Arguments) -> Tensor:
    x, axes = a.tensor("x"), a.wholes("axes")
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _concat(a: Arguments) -> Tensor:
    if a.flag("interleave"):
        raise ValueError("interleave has no rule")
    return torch.cat(a.tensors("values"), a.whole("axis"))


def _split(a: Arguments) -> tuple[Tensor, ...]:
    x, axis = a.tensor("x"), a.whole("axis")
    sizes = a.wholes("split_sizes", [])
    if not sizes:
        count = a.whole("num_splits")
        sizes = [x.shape[axis] // count] * count
    return x.split(sizes, axis)


def _slice_by_index(a: Arguments) -> Tensor:
    x = a.tensor("x")
    begin, end = a.wholes("begin"), a.wholes("end")
    stride = a.wholes("stride", [1] * x.ndim)
    from_start, to_end = a.flags("begin_mask", x.ndim), a.flags("end_mask", x.ndim)
    single = a.flags("squeeze_mask", x.ndim)
    for axis in range(x.ndim):
        length = x.shape[axis]
        if single[axis]:
            x = x.narrow(axis, begin[axis] % length, 1)
            continue
        part = slice(
            None if from_start[axis] else begin[axis], None if to_end[axis] else end[axis], stride[axis] or None
        )
        places = range(*part.indices(length))
        if places != range(length):
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.long))
    return x.squeeze([axis for axis, one in enumerate(single) if one])


def _slice_by_size(a: Arguments) -> Tensor:
    x = a.tensor("x")
    for axis, (begin, size) in enumerate(zip(a.wholes("begin"), a.wholes("size"), strict=True)):
        begin %= max(1, x.shape[axis])
        x = x.narrow(axis, begin, x.shape[axis] - begin if size == -1 else size)
    return x


def padded(x: Tensor, pairs: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """With so much of a value before and after, in each of the last axes."""
    flat = [length for pair in reversed(pairs) for length in pair]  # torch counts from the last axis
    return F.pad(x, flat, value=value) if any(flat) else x


def _pad(a: Arguments) -> Tensor:
    x, mode = a.tensor("x"), a.text("mode", "constant")
    before_after = a.wholes("pad")
    first = x.ndim - len(before_after) // 2
    pairs = list(zip(before_after[::2], before_after[1::2], strict=True))
    if mode == "constant":
        return padded(x, pairs, a.number("constant_val", 0.0))
    for axis, (before, after) in enumerate(pairs, first):
        length = x.shape[axis]
        places = torch.arange(-before, length + after)
        if mode == "reflect":
            places = (length - 1) - ((length - 1) - places.abs()).abs()
        elif mode == "replicate":
            places = places.clamp(0, length - 1)
        else:
            raise ValueError(f"unknown mode {mode!r}")
        x = x.index_select(axis, places)
    return x


def _filled(a: Arguments, shape: Sequence[int]) -> Tensor:
    value = a.optional("value")
    return torch.full(shape, 0.0 if value is None else value.item())


def _gather(a: Arguments) -> Tensor:
    x, indices, axis = a.tensor("x"), a.tensor("indices").long(), a.whole("axis", 0)
    if a.whole("batch_dims", 0):
        raise ValueError("batch_dims has no rule")
    axis %= x.ndim
    found = x.index_select(axis, _positive(indices, x.shape[axis]).reshape(-1))
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_along_axis(a: Arguments) -> Tensor:
    x, indices, axis = a.tensor("x"), a.tensor("indices").long(), a.whole("axis", 0)
    return x.gather(axis, _positive(indices, x.shape[axis]))


def _gather_nd(a: Arguments) -> Tensor:
    x, indices = a.tensor("x"), a.tensor("indices").long()
    if a.whole("batch_dims", 0):
        raise ValueError("batch_dims has no rule")
    return x[tuple(_positive(one, x.shape[axis]) for axis, one in enumerate(indices.unbind(-1)))]


def _positive(indices: Tensor, length: int) -> Tensor:
    """Indices from the end as indices from the start."""
    return torch.where(indices < 0, indices + length, indices)


def _topk(a: Arguments) -> Tensor | tuple[Tensor, ...]:
    # Sorted whether or not the program asks for it: any order is right then.
    values, indices = a.tensor("x").topk(a.whole("k", 1), a.whole("axis", -1), largest=not a.flag("ascending"))
    return (values, indices) if a.flag("return_indices", True) else values


def _cumsum(a: Arguments) -> Tensor:
    x, axis = a.tensor("x"), a.whole("axis", 0)
    x = x.flip(axis) if a.flag("reverse") else x
    total = x.cumsum(axis)
    total = total - x if a.flag("exclusive") else total
    return total.flip(axis) if a.flag("reverse") else total


def _range(a: Arguments) -> Tensor:
    start, end, step = (a.tensor(name).item() for name in ("start", "end", "step"))
    return torch.arange(start, end, step)


RULES: dict[str, Rule] = {
    "reshape": _reshape,
    "transpose": lambda a: a.tensor("x").permute(a.wholes("perm")),
    "expand_dims": _expand_dims,
    "squeeze": lambda a: a.tensor("x").squeeze(a.axes()),
    "concat": _concat,
    "stack": lambda a: torch.stack(a.tensors("values"), a.whole("axis")),
    "split": _split,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "pad": _pad,
    "tile": lambda a: a.tensor("x").tile(a.wholes("reps")),
    "fill": lambda a: _filled(a, a.wholes("shape")),
    "fill_like": lambda a: _filled(a, a.tensor("ref_tensor").shape),
    "reverse": lambda a: a.tensor("x").flip(a.axes()),
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "topk": _topk,
    "argsort": lambda a: a.tensor("x").argsort(a.whole("axis", -1), descending=not a.flag("ascending")),
    "cumsum": _cumsum,
    "range_1d": _range,
    "pixel_shuffle": lambda a: F.pixel_shuffle(a.tensor("x"), a.whole("upscale_factor")),
}
