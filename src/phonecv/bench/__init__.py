"""What a network costs: counted (parameters, multiply-adds) and measured (time, memory, share of the peak)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phonecv.bench.count import Cost, count_cost, count_parameters
    from phonecv.bench.run import BenchResult, bench

# Late, because the processes that measure the memory of ONNX Runtime and OpenVINO must not hold torch.
_LAZY = {
    "BenchResult": "phonecv.bench.run",
    "Cost": "phonecv.bench.count",
    "bench": "phonecv.bench.run",
    "count_cost": "phonecv.bench.count",
    "count_parameters": "phonecv.bench.count",
}

__all__ = ["BenchResult", "Cost", "bench", "count_cost", "count_parameters"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'phonecv.bench' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
