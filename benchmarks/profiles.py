"""Where the time goes: by operator before and after, and by layer in the fastest runtime.

    python benchmarks/profiles.py            about two minutes; writes results/profiles.json

Operators are PyTorch's, one picture on one thread, for what one gets today (the plain description of EMO and EMOv2,
timm's reparameterised MobileOne) and for our deploy form. Layers are those of EMOv2-5M in OpenVINO with 16 pictures,
with the operations each performs and the share of the machine's measured peak that it reaches.
Run it with nothing else on the machine; `python docs/update.py` puts the tables into `docs/performance.md`.
"""

from __future__ import annotations

import argparse
import collections
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn
from torch.profiler import ProfilerActivity, profile

import phonecv
import reference_style
from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.machine import describe_machine, disturbances, measure_peaks
from phonecv.files import write_json
from phonecv.weights.translate import from_phonecv

RESULTS = Path(__file__).parent / "results" / "profiles.json"
RUNS = 20

#: PyTorch's operators as the tables name them; the rest is bookkeeping.
GROUPS = {
    "convolutions, oneDNN": ("mkldnn_convolution",),
    "1x1 convolutions, MKL": ("_slow_conv2d_forward",),
    "attention products": ("bmm",),
    "softmax": ("_softmax",),
    "SiLU, GELU, ReLU": ("silu", "silu_", "gelu", "relu", "relu_", "clamp_min", "clamp_min_"),
    "BatchNorm": ("native_batch_norm",),
    "LayerNorm": ("native_layer_norm",),
    "copies": ("copy_",),
    "sums and products of maps": ("add", "add_", "mul", "div", "div_", "sum", "mean"),
    "classifier": ("addmm",),
}


def operators(network: nn.Module, images: torch.Tensor) -> dict[str, float]:
    """Milliseconds of one pass by group of operators."""
    with torch.inference_mode():
        for _ in range(5):
            network(images)
        with profile(activities=[ProfilerActivity.CPU]) as record:
            for _ in range(RUNS):
                network(images)
    place = {f"aten::{name}": group for group, names in GROUPS.items() for name in names}
    total: collections.Counter[str] = collections.Counter()
    for event in record.key_averages():
        total[place.get(event.key, "everything else")] += event.self_cpu_time_total / 1e3 / RUNS
    return {group: round(total[group], 3) for group in (*GROUPS, "everything else") if total[group]}


def before_and_after(name: str) -> dict[str, Any]:
    """Operator tables of one model."""
    ours = settle(phonecv.create_model(name), size=224)
    if name.startswith("mobileone"):
        theirs: nn.Module = timm.create_model(name)
        theirs.load_state_dict(from_phonecv(ours.state_dict(), "timm"))
        theirs = reparameterize_model(theirs.eval())
        what = "timm, reparameterised"
    else:
        theirs = reference_style.build(name)
        theirs.load_state_dict(ours.state_dict())
        what = "plain description"
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return {
        "before": what,
        "before_ms": operators(theirs.eval(), images),
        "after_ms": operators(phonecv.fuse(ours), images),
    }


def layers(name: str, batch: int, precision: str, folder: Path) -> list[dict[str, Any]]:
    """Milliseconds, operations and kind of every layer that OpenVINO runs."""
    import openvino

    images = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
    path = folder / f"{name}.onnx"
    if not path.exists():
        phonecv.export(settle(phonecv.create_model(name), size=224), path, verify=False)
    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape(list(images.shape))
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERF_COUNT": True}
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision, **options})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(images, shared_memory=True))
    spent: collections.Counter[str] = collections.Counter()
    for count in range(RUNS + 3):
        request.infer()
        if count >= 3:
            for item in request.get_profiling_info():
                spent[item.node_name] += item.real_time.total_seconds() * 1e3 / RUNS
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        kind = info["layerType"].astype(str) if "layerType" in info else node.get_type_name()
        milliseconds = spent[node.friendly_name]
        if milliseconds <= 0:
            continue
        shapes = [[side.get_length() for side in value.get_partial_shape()] for value in node.input_values()]
        output = [side.get_length() for side in node.output(0).get_partial_shape()]
        operations = 0
        if "Convolution" in kind:
            # Weights are O I K K, of depthwise ones C 1 1 K K: multiply-adds of one output, times all outputs.
            operations = 2 * math.prod(output) * math.prod(shapes[1][1:])
        elif kind == "FullyConnected":
            operations = 2 * math.prod(output) * shapes[0][-1]
        elif kind == "Subgraph" and len(shapes) == 3 and len(output) == 4:  # queries, keys, values
            windows, tokens, heads, width = shapes[0]
            operations = 2 * windows * heads * tokens * tokens * (width + shapes[2][-1])
        found.append({
            "layer": node.friendly_name, "kind": layer_kind(kind, shapes, operations), "output": output,
            "ms": round(milliseconds, 4), "gflop": operations / 1e9,
        })  # fmt: skip
    return found


def layer_kind(kind: str, shapes: list[list[int]], operations: int) -> str:
    """What a table calls it."""
    if "Convolution" in kind:
        if len(shapes[1]) == 5:
            return "depthwise convolutions with their activation"
        return "1x1 convolutions with their activation" if shapes[1][-1] == 1 else "stem convolution"
    return {
        "FullyConnected": "classifier",
        "Subgraph": "window attention" if operations else "sums of maps",
        "Transpose": "cutting windows and heads",
        "Reorder": "changes of layout",
        "MVN": "LayerNorm",
    }.get(kind, "everything else")


def share_of_peak(name: str, batch: int, hint: str, precision: str, gflops: float, folder: Path) -> dict[str, Any]:
    """Layers of one run summed by kind."""
    found = layers(name, batch, hint, folder)
    total = sum(item["ms"] for item in found)
    kinds = {}
    for kind in sorted({item["kind"] for item in found}):
        members = [item for item in found if item["kind"] == kind]
        milliseconds, gflop = sum(item["ms"] for item in members), sum(item["gflop"] for item in members)
        kinds[kind] = {
            "layers": len(members),
            "ms": round(milliseconds, 3),
            "share_of_time": round(milliseconds / total, 4),
            "gflop": round(gflop, 4),
            "share_of_peak": round(gflop / milliseconds * 1e3 / gflops, 4),
        }
    reached = sum(item["gflop"] for item in found) / total * 1e3
    return {
        "model": name,
        "batch": batch,
        "precision": precision,
        "ms": round(total, 3),
        "gflops": round(reached, 1),
        "peak_gflops": round(gflops, 1),
        "share_of_peak": round(reached / gflops, 4),
        "kinds": kinds,
        "slowest": sorted(found, key=lambda item: -item["ms"])[:12],
    }


def main() -> None:
    """Measure all and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    warnings = disturbances()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    peaks = measure_peaks(1)
    with tempfile.TemporaryDirectory() as folder:
        results = {
            "date": time.strftime("%Y-%m-%d"),
            "method": "one thread bound to one core; PyTorch's profiler, OpenVINO's own counters",
            "machine": describe_machine(),
            "disturbances": warnings,
            "peak_gflops": {key: round(value, 1) for key, value in peaks.gflops.items()},
            "operators": {name: before_and_after(name) for name in ("emo_5m", "emov2_5m", "mobileone_s0")},
            "layers": [
                share_of_peak("emov2_5m", 16, hint, precision, peaks.gflops[precision], Path(folder))
                for hint, precision in (("f32", "float32"), ("bf16", "bf16"))
                if precision in peaks.gflops
            ],
        }
    write_json(out, results)
    print(f"written: {out}")


if __name__ == "__main__":
    main()
