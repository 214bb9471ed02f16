"""PyTorch as a candidate: eager and compiled."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.benchmarking.calls import Arrays, Call
from phonecv.benchmarking.timing import best_of
from phonecv.models.compiling import compile_for_inference

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


def torch_call(network: nn.Module, given: Arrays, *, precision: str, layout: str, device: str, compiled: bool) -> Call:
    """A network under `torch.inference_mode`, with weights in the precision and the layout asked for.

    The network stays as it is. The batch is float32, mostly of pictures, ``B 3 H W``; turning it into lower precision
    is part of the call. The layout is "nchw", "nhwc" (PyTorch's channels_last), or "auto" for the faster one, tried
    here.
    """
    if layout == "auto":
        # Which layout is better hangs on the network, its convolutions and the processor, and eager tells in a moment.
        made = {name: _call(network, given, precision, name, device) for name in FORMATS}
        layout = min(made, key=lambda name: best_of(made[name].run, 6))
        if not compiled:
            return made[layout]
    return _call(network, given, precision, layout, device, compiled=compiled)


def _call(
    network: nn.Module, given: Arrays, precision: str, layout: str, device: str, *, compiled: bool = False
) -> Call:
    low, memory = DTYPES[precision], FORMATS[layout]
    ready: Any = copy.deepcopy(network).eval().requires_grad_(False).to(device=device, dtype=low)
    for parameter in ready.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory)
    tensors = [torch.from_numpy(array).to(device=device) for array in given]
    x = [one.contiguous(memory_format=memory) if one.ndim == 4 else one for one in tensors]
    if compiled:
        ready = compile_for_inference(ready, *lowered(x, low))

    @torch.inference_mode()
    def run() -> Any:
        return ready(*lowered(x, low))

    return Call(run, lambda: arrays(run()), layout)


def lowered(x: Iterable[Tensor], low: torch.dtype) -> list[Tensor]:
    """The same in this precision, whole numbers apart."""
    return [one.to(low) if one.is_floating_point() else one for one in x]


def arrays(outputs: Tensor | Sequence[Tensor]) -> list[np.ndarray]:
    """Outputs of a network as float32 arrays in main memory."""
    listed = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    return [tensor.float().cpu().numpy() for tensor in listed]
