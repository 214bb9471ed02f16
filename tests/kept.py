"""Networks that many tests ask for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
N = TypeVar("N", bound=nn.Module)


def kept(make: Callable[P, N], *, most: int = 8) -> Callable[P, N]:
    """A function that makes a network, which makes that of the same arguments once and gives a copy each time.

    It leaves PyTorch's random numbers where making the network left them: what a test draws is always the same.
    """
    made: dict[str, tuple[N, Tensor]] = {}

    @wraps(make)
    def copied(*given: P.args, **named: P.kwargs) -> N:
        key = repr((given, sorted(named.items())))
        if key not in made:
            if len(made) == most:
                del made[next(iter(made))]
            made[key] = make(*given, **named), torch.get_rng_state()
        network, random = made[key]
        torch.set_rng_state(random)
        return copy.deepcopy(network)

    return copied
