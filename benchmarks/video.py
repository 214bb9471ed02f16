"""A tiny V-EMO on clips of moving digits: their direction, which no single frame tells; and the same on one frame.

    python benchmarks/video.py            both; each may take ten minutes; writes results/video.json
    python benchmarks/video.py --dry      writes nothing

Both are trained by the recipe `clips_digits` on 2,400 clips, and judged on 400 others, of digits and photographs that
training never saw. The second sees the frame in the middle of a clip (video.frames=1).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

import phonecv
from phonecv.benchmarking.count import count_cost_on, count_parameters
from phonecv.benchmarking.machine import processor_name
from phonecv.training import load_config, train

RESULTS = Path(__file__).parent / "results" / "video.json"
FRAMES = {"four frames": 4, "one frame": 1}


def measured(data: Path, folder: Path, frames: int, more: list[str]) -> dict[str, Any]:
    """Train and evaluate with so many frames."""
    out = folder / f"frames{frames}"
    settings = [f"data.path={data}", f"run.out={out}", f"video.frames={frames}", "run.audit=false", *more]
    result = train(load_config("clips_digits", settings))
    assert result.finished
    assert result.last is not None
    found = phonecv.evaluate(result.last, data, out=folder / f"eval{frames}")
    network = phonecv.load_checkpoint(None, result.last)
    cost = count_cost_on(network, torch.zeros(1, 3, frames, 64, 64))
    return {
        "parameters": count_parameters(network),
        "macs": cost.macs,
        "executed_macs": cost.executed_macs,
        "seconds": json.loads((out / "summary.json").read_text())["seconds"],
        "right": found.top1,
        "of": found.count,
        "top1_percent": round(found.top1_percent, 2),
        "top1_error": round(found.accuracy.error, 2),
    }


def main() -> None:
    """Measure both and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("settings", nargs="*")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        data = phonecv.samples("clips", folder / "clips")
        rows = {name: measured(data, folder, frames, chosen.settings) for name, frames in FRAMES.items()}
    for name, row in rows.items():
        print(f"{name}: {row['right']}/{row['of']} in {row['seconds']:.0f} s")
    if not chosen.dry:
        about = {
            "command": "python benchmarks/video.py",
            "method": "last epoch of the recipe clips_digits, three crops, seed 42",
            "machine": {"processor": processor_name(), "cores": len(os.sched_getaffinity(0))},
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        RESULTS.write_text(json.dumps(about | {"results": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
