"""What a network costs: counted (parameters, multiply-adds) and measured (time, memory, share of the peak)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phonecv.benchmarking.count import Cost, count_cost, count_parameters
    from phonecv.benchmarking.run import BenchResult, bench

# Late, because the processes that measure the memory of ONNX Runtime and OpenVINO must not hold torch.
_LAZY = {
    "BenchResult": "phonecv.benchmarking.run",
    "Cost": "phonecv.benchmarking.count",
    "bench": "phonecv.benchmarking.run",
    "count_cost": "phonecv.benchmarking.count",
    "count_parameters": "phonecv.benchmarking.count",
}

__all__ = ["BenchResult", "Cost", "bench", "count_cost", "count_parameters"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'phonecv.benchmarking' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
