"""How cost grows with resolution and batch: latency and memory of the deploy form, eager, one thread.

    python benchmarks/growth.py
    python benchmarks/growth.py --models emo_5m --rounds 9

All networks here are linear in pixels: convolutions are, and so is attention within windows of a fixed side (7 in the
catalog). An exponent fitted to the measurements says how far that holds: 1 is linear, 2 what attention over the whole
map would cost in the end. All sizes of a network take turns in one process; memory is measured in a process for each.
Writes benchmarks/results/growth.json; `python docs/update.py` draws docs/images/growth.png from it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "growth.json"
MODELS = ("emo_5m", "emov2_5m", "mobileone_s1")
SIZES = (160, 224, 320, 448, 640, 1024)
BATCHES = (1, 2, 4, 8, 16)


def exponent(costs: Mapping[int, float]) -> float:
    """Slope of the line through the points in double logarithm: cost grows as amount to this power."""
    points = [(math.log(amount), math.log(cost)) for amount, cost in costs.items()]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return above / sum((x - mean_x) ** 2 for x, _ in points)


def make_call(model: str, batch: int, size: int) -> Callable[[], Any]:
    """One forward pass of the deploy form."""
    import torch

    from phonecv.benchmarking.fresh import settle
    from phonecv.models import build_model
    from phonecv.models.fusing import fuse

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = fuse(settle(build_model(model), size=64))
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def call() -> Any:
        return network(images)

    return call


def resident(key: str) -> int:
    """A size of this process in bytes, as Linux counts it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def measure_memory(model: str, batch: int, size: int) -> float:
    """MiB by which running raises the resident memory of this process; for a process that does nothing else."""
    call = make_call(model, batch, size)
    # What building the network needed for a moment goes back to the system, and Linux starts the peak anew; else the
    # first pictures would find that memory and seem to need none.
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(2):
        call()
    return (resident("VmHWM:") - before) / 2**20


def memory_of(model: str, batch: int, size: int) -> float:
    """`measure_memory` in a process of its own."""
    command = [sys.executable, __file__, "--child", model, str(batch), str(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def grow(model: str, rounds: int) -> dict[str, Any]:
    """Latency and memory of a network against size (batch 1) and against batch (224 px)."""
    from phonecv.benchmarking.count import count_cost
    from phonecv.benchmarking.timing import interleave
    from phonecv.models import build_model
    from phonecv.training.threads import keep_freed_memory

    keep_freed_memory()  # else large maps pay for page faults that small ones do not

    cases = {("size", size): (1, size) for size in SIZES} | {("batch", batch): (batch, 224) for batch in BATCHES}
    calls = {f"{kind} {amount}": make_call(model, *case) for (kind, amount), case in cases.items()}
    timings = interleave(calls, rounds=rounds, warmup=3)
    rows: dict[str, list[dict[str, float]]] = {"size": [], "batch": []}
    network = build_model(model)
    for (kind, amount), (batch, size) in cases.items():
        timing = timings[f"{kind} {amount}"]
        row = {
            kind: amount,
            "milliseconds": round(timing.median * 1e3, 2),
            "spread": round(timing.spread, 3),
            "memory_mib": round(memory_of(model, batch, size), 1),
        }
        if kind == "size":
            row["macs"] = count_cost(network, size).executed_macs
        rows[kind].append(row)
    fitted = {}
    for name in ("milliseconds", "memory_mib", "macs"):
        by_pixels = {int(row["size"]) ** 2: row[name] for row in rows["size"]}
        fitted[f"{name}_by_pixels"] = exponent(by_pixels)
        # What a call costs at any size bends the line at its small end; growth shows at the other.
        fitted[f"{name}_by_pixels_from_{SIZES[2]}"] = exponent(
            {n: cost for n, cost in by_pixels.items() if n >= SIZES[2] ** 2}
        )
    for name in ("milliseconds", "memory_mib"):
        fitted[f"{name}_by_batch"] = exponent({int(row["batch"]): row[name] for row in rows["batch"]})
    return {
        "by_size": rows["size"],
        "by_batch": rows["batch"],
        "exponents": {k: round(v, 3) for k, v in fitted.items()},
    }


def main() -> None:
    """Measure, fit, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dry", action="store_true", help="write no results")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        model, batch, size = chosen.child
        print(measure_memory(model, int(batch), int(size)))
        return
    if not sys.platform.startswith("linux"):
        parser.error("resident memory is read as Linux gives it; run this on Linux")
    from phonecv.benchmarking.machine import describe_machine, disturbances
    from phonecv.files import write_json

    tables = {}
    for model in chosen.models:
        tables[model] = grow(model, chosen.rounds)
        print(model, json.dumps(tables[model]["exponents"]), flush=True)
    if not chosen.dry:
        about = {"date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), "disturbances": disturbances()}
        write_json(RESULTS, about | {"method": __doc__, "tables": tables})
        print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
