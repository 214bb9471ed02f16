"""Peak memory of one candidate, and how long it takes to open and to run once, in a process that holds nothing else."""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
import time
from pathlib import Path
from typing import Any

from phonecv.benchmarking.candidates import Job, make_call, probe

#: What a runtime needs before it opens a model. That is not counted: an application holds it anyway.
_IMPORTS = {
    "eager": ("torch", "phonecv.benchmarking.torch_calls", "phonecv.models"),
    "compiled": ("torch", "phonecv.benchmarking.torch_calls", "phonecv.models"),
    "onnxruntime": ("onnx", "onnxruntime", "phonecv.benchmarking.onnx_calls"),
    "openvino": ("openvino", "openvino.preprocess", "phonecv.benchmarking.onnx_calls"),
    # ExecuTorch's Python runtime works on torch's tensors; on a phone there is no torch.
    "executorch": ("torch", "executorch.extension.pybindings.portable_lib", "phonecv.exporting.executorch.exporter"),
    "litert": ("ai_edge_litert.interpreter", "phonecv.benchmarking.native_calls", "phonecv.exporting.litert.opening"),
    "ncnn": ("ncnn", "phonecv.benchmarking.native_calls", "phonecv.exporting.ncnn.opening"),
    "mnn": ("MNN", "torch", "phonecv.exporting.mnn.exporter"),
}


def measure_memory(job: Job) -> dict[str, Any]:
    """By how much the only candidate of `job` raises the peak of this process's resident memory.

    Counted from right after the runtime's import: weights, packed weights, buffers, and the code that running loads.
    Where the system allows, what only opening the model took and gave back is left out. None on Windows.
    """
    if sys.platform == "win32":
        return {"memory_mb": None, "opening_left_out": False, "load_ms": None, "first_ms": None}
    (candidate,), (batch,) = job.candidates, job.batches
    for name in _IMPORTS[candidate.runtime]:
        importlib.import_module(name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(job.threads)
    given, _ = probe(candidate, batch)
    before, start = _status("VmRSS:") or _greatest(), time.perf_counter()
    call = make_call(candidate, job, given)
    loaded = time.perf_counter()
    call.run()
    first = time.perf_counter()
    gc.collect()
    reset = _reset_peak()
    for _ in range(3):
        call.run()
    return {
        "memory_mb": max(0.0, ((_status("VmHWM:") or _greatest()) - before) / 1e6),
        "opening_left_out": reset,
        "load_ms": (loaded - start) * 1e3,
        "first_ms": (first - loaded) * 1e3,
    }


def _status(key: str) -> int | None:
    path = Path("/proc/self/status")
    if not path.is_file():
        return None
    for line in path.read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return None


def _greatest() -> int:
    """The greatest size ever, where the present one is not to be had: bytes on macOS, kilobytes elsewhere."""
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _reset_peak() -> bool:
    """Start the peak anew from what is held now (Linux)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)  # what was freed while the model was opened goes back to the system
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
