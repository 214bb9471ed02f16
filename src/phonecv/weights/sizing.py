"""A network that a file's record describes, built without memory first: a record may lie, or ask for far too much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from phonecv.errors import UserError

#: A training form has at most so many times the parameters of its deploy form (2.6 for MobileOne-S0).
MOST_BRANCHES = 8

#: What constructors raise on arguments that nobody checked.
_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError, LookupError, MemoryError)

#: Arguments, also of timm's networks, that say how many blocks there are.
_BLOCKS = ("depths", "depth", "layers", "num_layers", "blocks")


def parameters_within(
    make: Callable[[], nn.Module], what: str, arguments: Mapping[str, Any], *, tensors: int, values: int
) -> int:
    """Parameters of the network that `make` builds, if a file of so many tensors and values can fill it.

    The number of blocks among `arguments` is looked at before anything is built; every block has one tensor at least.

    Raises:
        UserError: it cannot be built, or is far larger than what the file holds.
    """
    for key in _BLOCKS:
        asked = arguments.get(key, ())
        numbers = asked if isinstance(asked, list | tuple) else (asked,)
        blocks = sum(n for n in numbers if isinstance(n, int))
        if blocks > tensors:
            raise UserError(f"its record asks for {blocks} blocks ({key}), the file holds only {tensors} tensors")
    try:
        with torch.device("meta"):  # shapes without memory
            needed = sum(parameter.numel() for parameter in make().parameters())
    except (UserError, *_ERRORS) as error:
        raise UserError(f"no network can be built from its record, {what} ({str(error)[:300]})") from error
    if needed > MOST_BRANCHES * values:
        raise UserError(f"its record asks for {needed:,} parameters, the file holds only {values:,} values")
    return needed


def values_in(state: Mapping[str, Tensor]) -> int:
    """How many numbers there are."""
    return sum(tensor.numel() for tensor in state.values())
