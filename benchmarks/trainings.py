"""The trainings whose figures the documentation names, run from the command line as a person would.

    python benchmarks/trainings.py                        the demo, on three seeds
    python benchmarks/trainings.py --signs DIR            and from_scratch_small on photographs of hand signs

DIR is the Sign Language Digits data set (Mavi 2020, arXiv 2011.08927), split by person, as train/<digit>/ and
val/<digit>/. Writes benchmarks/results/trainings.json; run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import phonecv
from phonecv.files import write_json

RESULTS = Path(__file__).parent / "results" / "trainings.json"


def phonecv_command(*arguments: str) -> float:
    """Run the command line; seconds of the whole process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "phonecv", *arguments], check=True)
    return round(time.perf_counter() - start, 1)


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "phonecv": phonecv.__version__,
    }


def demo(seed: int, folder: Path) -> dict[str, Any]:
    """`phonecv demo` with a seed."""
    run = folder / f"demo{seed}"
    seconds = phonecv_command("demo", "--out", str(run), "--seed", str(seed))
    exported, forms = read(run / "export.json"), read(run / "forms.json")
    agreement = exported["agreement"]
    return {
        "command": f"phonecv demo --seed {seed}",
        "seconds": seconds,
        "top1": agreement["reference_top1"],
        "count": agreement["count"],
        "onnx_same_top1": agreement["same"],
        "onnx_difference": exported["difference"],
        "form_difference": forms["difference"],
    }


def signs(data: Path, folder: Path) -> dict[str, Any]:
    """`from_scratch_small` on real photographs."""
    run = folder / "signs"
    seconds = phonecv_command("train", "from_scratch_small", "--data", str(data), "--out", str(run))
    summary = read(run / "summary.json")
    last = read(run / "last.json")["training"]["figures"]
    return {
        "command": "phonecv train from_scratch_small --data DIR --out RUN",
        "seconds": seconds,
        "best_top1_percent": summary["best_score"],
        "best_epoch": summary["best_epoch"],
        "best_weights": summary["best_net"],
        "last_top1_percent": last["top1"],
    }


def main() -> None:
    """Run all, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signs", type=Path, help="folder of the sign digits")
    chosen = parser.parse_args()
    results: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        results["demo"] = [demo(seed, Path(temporary)) for seed in (0, 1, 2)]
        if chosen.signs:
            results["sign_digits"] = signs(chosen.signs, Path(temporary))
    write_json(RESULTS, results)
    print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
