"""int8 of networks that `phonecv train` made, in every runtime: `phonecv quantize` as a person would run it.

    python benchmarks/quantization_signs.py --data DIR [--threads 1] [--only emov2_1m]

DIR is the Sign Language Digits data set (Mavi 2020, arXiv 2011.08927), split by person, as train/<digit>/ and
val/<digit>/. MobileOne-S0, EMOv2-1M and EMO-1M in their full sizes are trained on it; training pictures calibrate,
every second validation picture chooses between the methods, and the others have the last word, once. Where no method
meets the budget of one point there is no file; the latency is then that of the first method. Writes
benchmarks/results/quantization_signs.json, network by network; about ten minutes each. The machine should be quiet, for
the latencies.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinds import kind_here
from phonecv.benchmarking.machine import describe_machine
from phonecv.files import write_json

RESULTS = Path(__file__).parent / "results" / "quantization_signs.json"
FORMATS = ("onnx", "openvino", "executorch", "litert")

#: Network -> what is added to the recipe from_scratch_small, whose own widths and depths are left out. Fewer epochs do:
#: what matters here is what int8 costs.
NETWORKS: dict[str, tuple[str, ...]] = {
    "mobileone_s0": ("model.overrides={}", "schedule.epochs=20"),
    # A layer scale of 1e-6, as published, would keep every block silent for most of so short a training.
    "emov2_1m": ("model.name=emov2_1m", "model.overrides={layer_scale: 0.5, drop_path: 0.0}", "schedule.epochs=20"),
    "emo_1m": ("model.name=emo_1m", "model.overrides={drop_path: 0.0}", "schedule.epochs=20"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=None, help="of the training")
    parser.add_argument("--only", choices=tuple(NETWORKS), default=None)
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file")
    chosen = parser.parse_args()
    results: dict[str, Any] = {"networks": {}}
    if chosen.out.is_file():
        results = json.loads(chosen.out.read_text(encoding="utf-8"))
    for name, settings in NETWORKS.items():
        if chosen.only in (None, name):
            with tempfile.TemporaryDirectory() as place:
                found = measured(Path(place), chosen.data, settings, chosen.threads)
            results["networks"][name] = found | {
                "kind": kind_here(),
                "date": time.strftime("%Y-%m-%d"),
                "machine": describe_machine(),
            }
            write_json(chosen.out, results)


def measured(place: Path, data: Path, settings: tuple[str, ...], threads: int | None) -> dict[str, Any]:
    """Train one network, then quantize it for every runtime that has int8."""
    split(data, place)
    more = () if threads is None else (f"run.threads={threads}",)
    train = ("train", "from_scratch_small", "--data", str(place / "data"), *settings, *more)
    subprocess.run([sys.executable, "-m", "phonecv", *train, "--out", str(place / "run")], check=True)
    summary = json.loads((place / "run" / "summary.json").read_text(encoding="utf-8"))
    checkpoint = shutil.copyfile(place / "run" / "best.safetensors", place / "best.safetensors")
    shutil.copyfile(place / "run" / "best.json", place / "best.json")
    found = quantized(checkpoint, place, FORMATS)
    missed = [name for name, entry in found["formats"].items() if entry["path"] is None]
    if missed:
        found["latency"] |= quantized(checkpoint, place, missed, "--max-drop", "100")["latency"]
    command = " ".join(["phonecv", *train[:2], "--data DIR", *settings])
    return {"training": {"command": command, "best_top1": summary["best_score"]}, **found}


def quantized(checkpoint: Path, place: Path, formats: Sequence[str], *more: str) -> dict[str, Any]:
    """What `phonecv quantize --json` says; it ends with 1 where a format missed the budget."""
    command = (
        "quantize", str(checkpoint), str(place / f"phone{len(more)}"), "--to", ",".join(formats), "--data",
        str(place / "data"), "--eval", str(place / "last"), "--latency", "--json", *more,
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "phonecv", *command], stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)
    return json.loads(done.stdout)


def split(data: Path, place: Path) -> None:
    """``data/{train,val}`` and ``last``: of the validation pictures every second one goes to the latter."""
    shutil.copytree(data / "train", place / "data" / "train")
    for folder in sorted((data / "val").iterdir()):
        for number, picture in enumerate(sorted(folder.iterdir())):
            target = (place / "data" / "val" if number % 2 == 0 else place / "last") / folder.name / picture.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, target)


if __name__ == "__main__":
    main()
