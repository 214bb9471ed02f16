"""What a network costs: counted (parameters, multiply-adds) and measured (time, memory, share of the peak)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonecv.late import late_names

# Late, because the processes that measure the memory of ONNX Runtime and OpenVINO must not hold torch.
if TYPE_CHECKING:
    from phonecv.benchmarking.count import Cost, count_cost, count_parameters
    from phonecv.benchmarking.run import BenchResult, bench

__all__ = ["BenchResult", "Cost", "bench", "count_cost", "count_parameters"]


if not TYPE_CHECKING:
    __getattr__ = late_names(__name__)
