"""Memory of a training step per picture: what the backward pass keeps, and the peak of a real process.

    python benchmarks/memory.py
    python benchmarks/memory.py --models emov2_5m --batch 16

Each way to train runs in a process of its own. "Kept" is counted by PyTorch's saved-tensor hooks, every storage once,
parameters left out; "peak" is by how much a training step raises the process's resident memory over what it holds
before the first step, its gradients and the optimizer's state included. The baseline is as in `training.py`. Writes
benchmarks/results/memory.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from training import BASELINE, Candidate

RESULTS = Path(__file__).parent / "results" / "memory.json"
OURS = Candidate(keep_memory=True, channels_last=True, fused=True)
WAYS = {
    BASELINE: Candidate("reference"),
    "ours": OURS,
    "ours, checkpointed": replace(OURS, checkpoint=True),
    "ours, bf16": replace(OURS, amp="bf16"),
    "ours, bf16, checkpointed": replace(OURS, amp="bf16", checkpoint=True),
}


def status(key: str) -> int:
    """A size of this process in bytes, as Linux counts it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def measure(job: dict[str, Any]) -> dict[str, float]:
    """Bytes per picture, and seconds per step; for a process that does nothing else."""
    import torch

    from training import make_step

    torch.set_num_threads(job["threads"])
    step = make_step(job["model"], Candidate(**job["candidate"]), "cpu", job["batch"], job["size"])
    before = status("VmRSS:")
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        # What is packed stays alive until the backward pass, so no address comes twice in between.
        if not tensor.is_leaf or not tensor.requires_grad:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    times = []
    for _ in range(4):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = status("VmHWM:") - before
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return {
        "kept_mib_per_picture": sum(sizes.values()) / job["batch"] / 2**20,
        "peak_mib_per_picture": peak / job["batch"] / 2**20,
        "seconds": min(times[1:]),
    }


def main() -> None:
    """Measure every way, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["emov2_5m", "mobileone_s0"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="write no results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(measure(json.loads(chosen.child))))
        return
    if not sys.platform.startswith("linux"):
        parser.error("resident memory is read as Linux gives it; run this on Linux")
    from phonecv.benchmarking.machine import describe_machine
    from phonecv.files import write_json

    tables: dict[str, Any] = {}
    for model in chosen.models:
        print(f"{model}, batch {chosen.batch}, {chosen.size} px")
        for name, way in WAYS.items():
            job = {"model": model, "candidate": asdict(way), "batch": chosen.batch, "size": chosen.size}
            job["threads"] = chosen.threads
            command = [sys.executable, __file__, "--child", json.dumps(job)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            tables.setdefault(model, {})[name] = {key: round(value, 2) for key, value in found.items()}
            print(f"  {name:28}" + "  ".join(f"{key} {value:8.2f}" for key, value in found.items()), flush=True)
    if not chosen.dry:
        about = {"batch": chosen.batch, "size": chosen.size, "threads": chosen.threads, "method": __doc__}
        write_json(
            RESULTS, {"date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), **about, "tables": tables}
        )
        print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
