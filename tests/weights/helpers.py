"""Small networks and files for the tests of checkpoints."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import conftest

M = TypeVar("M", bound=nn.Module)

GOLDEN = Path(__file__).parents[1] / "golden"
TINY: dict[str, dict[str, Any]] = {name: dict(overrides) for name, overrides in conftest.TINY.items()}
SIZES = ("s0", "s1", "s2", "s3", "s4")


def key_table(code_base: str, size: str, form: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes as executed by that code base."""
    tables = json.loads(gzip.decompress((GOLDEN / f"{code_base}_keys.json.gz").read_bytes()))["tables"]
    return {name: tuple(shape) for name, shape, _ in tables[size][form]}


def numbered(table: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A tensor per name; the n-th holds the number n everywhere."""
    return {
        name: torch.full(shape, i, dtype=torch.int64 if name.endswith("tracked") else torch.float32)
        for i, (name, shape) in enumerate(table.items())
    }


def settled(model: M, seed: int = 0, size: int = 64) -> M:
    """Give a network random values throughout and BatchNorm statistics that fit them; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.uniform_(0.5, 1.0, generator=generator)
            elif parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
            else:
                parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    model.train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(4, 3, size, size, generator=generator))
    return model.eval()


def picture(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(7))


def relative(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def mobileone_blocks(pairs: Iterable[int] = (2, 8, 10, 1)) -> list[tuple[int, int, str]]:
    """(stage, pair, "dw" | "pw") of every block after the stem."""
    return [(s, i, kind) for s, n in enumerate(pairs, start=1) for i in range(n) for kind in ("dw", "pw")]


class Payload:
    """Unpickled without care it leaves a file behind, as the hostile samples do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'a').write('executed')",)
