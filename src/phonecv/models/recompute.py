"""Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): memory for time, with the same numbers.

A block keeps only its input for the backward pass and runs again when its turn comes. Running twice must leave no
trace: drop path draws the same numbers again, and BatchNorm's running statistics move once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, *given: Tensor) -> Tensor:
    """``block(*given)``, whose intermediate results are computed again in the backward pass."""
    if torch.compiler.is_compiling():
        # The compiler sees one graph, in which statistics are written once.
        return checkpoint(block, *given, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), buffers_kept(block)

    return checkpoint(block, *given, use_reentrant=False, context_fn=contexts)


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Undo what happens to the module's buffers inside."""
    # Not through autograd, which may hold a buffer for the backward pass and would notice that it was written to.
    before = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.data.copy_(value)
