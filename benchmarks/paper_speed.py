"""The speeds of the EMOv2 paper's table XVI beside ours, as ratios, which machines have more in common than times.

    python benchmarks/paper_speed.py

EMO and EMOv2 in deploy form and EdgeNeXt of timm take turns in one process, one picture at a time, one thread: eager,
and in OpenVINO. EdgeNeXt sees 256 px but for S, as in the paper. Random weights.
The paper's processor and batch are not named; its phone is an iPhone 15.

Writes benchmarks/results/paper_speed.json: the part of this kind of processor, those of others stay. About two minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import timm
import torch

import phonecv
from kinds import write_kind
from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.machine import disturbances
from phonecv.benchmarking.plan import Entry
from phonecv.benchmarking.run import measure
from phonecv.benchmarking.subject import Subject, network_subject

RESULTS = Path(__file__).parent / "results" / "paper_speed.json"

#: Images/s of the processor and of the GPU, milliseconds of the phone, as published.
PAPER = {
    "edgenext_xx_small": (73.1, 2860.6, 10.2),
    "emo_1m": (158.4, 3414.6, 3.0),
    "emov2_1m": (147.1, 3182.2, 3.6),
    "edgenext_x_small": (69.1, 1855.2, 17.6),
    "emo_2m": (126.6, 2509.8, 3.7),
    "emov2_2m": (118.2, 3312.4, 4.3),
    "edgenext_small": (54.2, 1622.5, 22.5),
    "emo_5m": (106.5, 1731.7, 4.9),
    "emov2_5m": (93.9, 1607.8, 5.9),
}
SIZES = {"edgenext_xx_small": 256, "edgenext_x_small": 256}
RUNTIMES = ("eager", "openvino")


def subject(name: str) -> Subject:
    """A network as it would be deployed, with weights worth timing."""
    torch.manual_seed(0)
    size = SIZES.get(name, 224)
    if name.startswith("edgenext"):
        return network_subject(settle(timm.create_model(name), size=size).eval(), name=name, form="deploy", size=size)
    return network_subject(phonecv.fuse(settle(phonecv.create_model(name), size=size).eval()), name=name, form="deploy")


def main() -> None:
    """Time, and write the part of this processor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40, help="of rounds (default 40)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file")
    chosen = parser.parse_args()
    warnings = disturbances()
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    entries = [Entry(one, runtime, "float32") for one in map(subject, PAPER) for runtime in RUNTIMES]
    rows, _ = measure(
        entries, baseline=entries[0].label, batches=(1,), threads=(1,), rounds=60, seconds=chosen.seconds, peaks=False
    )
    found: dict[str, dict[str, Any]] = {name: {} for name in PAPER}
    for row in rows:
        found[row.network][row.runtime] = round(row.median_ms, 3)
        print(f"{row.network:20} {row.runtime:12} {row.median_ms:8.2f} ms")
    common = {"command": "python benchmarks/paper_speed.py", "paper": PAPER}
    write_kind(chosen.out, common, {"warnings": warnings, "milliseconds": found})


if __name__ == "__main__":
    main()
