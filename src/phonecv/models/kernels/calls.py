"""When a kernel may be called by its own name in place of the ordinary operator."""

from __future__ import annotations

import torch
from torch import Tensor

#: Whether there is a oneDNN to call; the second attribute tells whether somebody watches the operators.
ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch._C, "_len_torch_dispatch_stack")


def may_call_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether this is plain inference in float32 on the CPU.

    Whoever traces the graph, counts operators or changes their precision expects the ordinary operator.
    """
    return (
        ONEDNN
        and not (torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu"))
        and torch._C._len_torch_dispatch_stack() == 0
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.ndim == 4
        and x.numel() > 0
        and type(x) is Tensor
    )
