"""A network as a graph of operators: PyTorch's own export, with batch, height and width left free."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

#: Least height and width of a graph with free sizes: the last map has more than one row and column, and no layer
#: treats a map of one apart (the tracer would have to choose).
LEAST = 33


def traced(module: nn.Module, example: Tensor, *, dynamic_size: bool) -> ExportedProgram:
    """The graph of a module for batches of any number and, if asked for, of any height and width.

    Args:
        module: in evaluation mode; one batch in.
        example: ``B 3 H W``, B > 1.
        dynamic_size: leave height and width free.
    """
    free = {0: Dim("batch", min=1)}
    if dynamic_size:
        free |= {2: Dim("height", min=LEAST), 3: Dim("width", min=LEAST)}
    # Two things would fix a size that happens to be in the example. First, sizes that are one in it, such as the number
    # of windows, count as special; the setting makes the tracer ask no such question. Second, the tracer cannot
    # prove that windows times seven is at least the map's size; deferred, that becomes a check in the graph.
    settings: Any = _config  # a module that gets its functions while it is imported
    with torch.no_grad(), settings.patch(backed_size_oblivious=True):
        program = torch.export.export(
            module, (example,), dynamic_shapes=(free,), strict=False, prefer_deferred_runtime_asserts_over_guards=True
        )
    # What was deferred holds for every size, as that windows cover the map, or only says how PyTorch lays out its
    # tensors, as that a detector's coarsest map has more than one pixel: the numbers are the same without.
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program
