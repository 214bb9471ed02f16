"""`torch.compile` with the settings that pay on inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def compile_for_inference(network: nn.Module, *examples: Tensor) -> Callable[..., Any]:
    """Compile a network for inputs like the examples, and run it until it is compiled; takes seconds to minutes.

    Args:
        network: in evaluation mode, on the device, in the precision and memory format it is to run in. Its weights
            are frozen into the compiled code: changing them afterwards changes nothing.
        *examples: inputs of the shapes, precision and memory format of those to come.

    Returns:
        What runs it; call it under `torch.inference_mode`.
    """
    from torch._inductor import config

    settings: dict[str, Any] = {"freezing": True}
    if examples[0].device.type == "cuda":
        # A small network is over before Python has started its next kernel; a recorded graph starts them all at once.
        settings["triton.cudagraphs"] = True
    else:
        # The same for a processor: kernels are called from compiled code instead of from Python.
        settings["cpp_wrapper"] = True
    # Freezing handed over as `options` of `torch.compile` does nothing: it is looked up before they apply (torch 2.14).
    with config.patch(settings), torch.inference_mode():
        compiled = torch.compile(network, dynamic=False)
        for _ in range(2):
            compiled(*examples)
    return compiled
