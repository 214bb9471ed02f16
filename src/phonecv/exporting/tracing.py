"""A network as a graph of operators: PyTorch's own export, with batch, height and width left free."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

from phonecv.exporting.job import Job

#: Least height and width of a graph with free sizes: the last map has more than one row and column, and no layer
#: treats a map of one apart (the tracer would have to choose).
LEAST = 33


def free_axes(job: Job, *, least_batch: int | None = None) -> tuple[Any, ...]:
    """The axes that stay free in the graph of a job's module, as `torch.export` takes them: its first input, the rest.

    The job's inputs share a batch, and height and width where they are free; without a smallest batch the tracer has
    its own idea of it.
    """
    batch = Dim("batch") if least_batch is None else Dim("batch", min=least_batch)
    height, width = Dim("height", min=LEAST), Dim("width", min=LEAST)
    axes: list[dict[int, Any]] = []
    for one in job.taken:
        last = len(one.shape)
        axes.append({0: batch} | ({last - 1: height, last: width} if one.free and job.dynamic_size else {}))
    first, *more = axes
    return (first, tuple(more)) if more else (first,)


def traced(job: Job) -> ExportedProgram:
    """The graph of a job's module for batches of any number and, if asked for, of any height and width."""
    # Two things would fix a size that happens to be in the example. First, sizes that are one in it, such as the number
    # of windows, count as special; the setting makes the tracer ask no such question. Second, the tracer cannot
    # prove that windows times seven is at least the map's size; deferred, that becomes a check in the graph.
    settings: Any = _config  # a module that gets its functions while it is imported
    with torch.no_grad(), settings.patch(backed_size_oblivious=True):
        program = torch.export.export(
            job.module,
            job.examples,
            dynamic_shapes=free_axes(job, least_batch=1),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    # What was deferred holds for every size, as that windows cover the map, or only says how PyTorch lays out its
    # tensors, as that a detector's coarsest map has more than one pixel: the numbers are the same without.
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program
