"""`phonecv.accelerate` against the rivals' own networks, and `phonecv eval` with and without it.

    python benchmarks/accelerated.py modules NETWORK [NETWORK ...]
    python benchmarks/accelerated.py eval NETWORK [NETWORK ...] --data DIR [DIR ...]

modules: EMO and EMOv2 against `reference_style.py`, MobileOne against timm's reparameterised network, with the same
weights, one picture of 224 px on one thread; all are torch modules called with a tensor, in one process, in turns.
eval: whole processes of `phonecv eval` on a checkpoint in training form, as `phonecv train` leaves it, over pictures
linked into a folder until there are enough; `--runtime eager`, and as it chooses, in turns. The first of its runs finds
an empty cache.

Writes its figures into benchmarks/results/accelerated.json, under this kind of processor; those of other networks and
processors stay. Weights are random with settled statistics.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import timm
import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn

import phonecv
import reference_style
from evaluation import link
from inference import fresh, same_outputs
from kinds import kind_here, kinds_of, write_kind
from phonecv.benchmarking.timing import interleave, ratios
from phonecv.weights.translate import from_phonecv

RESULTS = Path(__file__).parent / "results" / "accelerated.json"
BASELINE = "rival, eager"


def main() -> None:
    """Run a part and put its figures beside the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["modules", "eval"])
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--data", type=Path, nargs="+", help="folders with val/<WordNet id>/, one with classes.txt")
    parser.add_argument("--images", type=int, default=1000, help="pictures, at least (default 1000)")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each way to evaluate (default 2)")
    chosen = parser.parse_args()
    common = {
        "what": "networks accelerated, as modules and in `phonecv eval`",
        "commands": [
            "python benchmarks/accelerated.py modules NETWORK",
            "python benchmarks/accelerated.py eval NETWORK",
        ],
        "method": "modules: one row, one thread, turns in one process, median of the rounds' own ratios; eval: seconds"
        " of whole processes, turns, medians",
    }
    for name in chosen.networks:
        if chosen.part == "modules":
            made = modules(name)
        else:
            made = evaluations(name, chosen.data, chosen.images, chosen.rounds)
        before = kinds_of(RESULTS).get(kind_here(), {})
        parts = {part: before.get(part, {}) for part in ("modules", "eval")}
        parts[chosen.part] = parts[chosen.part] | {name: made}
        write_kind(RESULTS, common, parts)


def rival_of(name: str, ours: nn.Module) -> nn.Module:
    """The network that one would use without this package, with the same weights."""
    if not name.startswith("mobileone"):
        plain = reference_style.build(name)
        plain.load_state_dict(ours.state_dict())
        same_outputs(ours, plain.eval())
        return plain
    theirs = timm.create_model(name)
    theirs.load_state_dict(from_phonecv(ours.state_dict(), "timm"))
    same_outputs(ours, theirs.eval())
    return reparameterize_model(theirs).eval()


def modules(name: str) -> dict[str, Any]:
    """Milliseconds of a picture, and how many times as fast as the rival."""
    torch.set_num_threads(1)
    ours = fresh(name).eval()
    rival = rival_of(name, ours)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    candidates: dict[str, nn.Module] = {BASELINE: rival, "fused, eager": phonecv.fuse(ours)}
    chosen = {}
    for precision, most in (("float32", None), ("bf16", 0.5)):  # random weights differ more in bf16 than trained ones
        try:
            fast: Any = phonecv.accelerate(ours, precision=precision, max_diff=most)
        except phonecv.UserError as error:
            print(error)
            continue
        label = f"accelerated, {precision}"
        candidates[label] = fast
        chosen[label] = {"runtime": fast.runtime, "difference": fast.difference}
        print(fast)

    def call(module: nn.Module, x: Tensor = x) -> None:
        with torch.inference_mode():
            module(x)

    timings = interleave(
        {label: lambda m=module: call(m) for label, module in candidates.items()}, rounds=30, seconds=12
    )
    found = ratios(timings, BASELINE)
    return {
        label: {
            "ms": round(1000 * timing.median, 3),
            "ratio": round(found[label].median, 3),
            "p10": round(found[label].low, 3),
            "p90": round(found[label].high, 3),
            **chosen.get(label, {}),
        }
        for label, timing in timings.items()
    }


def evaluations(name: str, folders: list[Path], images: int, rounds: int) -> dict[str, Any]:
    """Seconds of whole processes in PyTorch, and as `phonecv eval` chooses: with an empty cache, and later."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        count = link(folders, place / "data", images)
        checkpoint = phonecv.save_checkpoint(fresh(name).eval(), place / f"{name}.safetensors")
        environment["PHONECV_CACHE"] = str(place / "cache")
        seconds: dict[str, list[float]] = {"eager": [], "auto": []}
        said: dict[str, str] = {}
        for number in range(rounds):
            for runtime in list(seconds)[:: -1 if number % 2 else 1]:
                command = [sys.executable, "-m", "phonecv", "eval", str(checkpoint), "--data", str(place / "data")]
                start = time.perf_counter()
                done = subprocess.run(
                    [*command, "--runtime", runtime], env=environment, capture_output=True, text=True, check=True
                )
                seconds[runtime].append(time.perf_counter() - start)
                said[runtime] = done.stdout
                print(f"{name} {runtime} {seconds[runtime][-1]:.1f} s\n{done.stdout}", flush=True)
        counts = {runtime: text.partition(": ")[2].split()[0] for runtime, text in said.items()}
        if counts["eager"] != counts["auto"]:
            raise SystemExit(f"other numbers of right answers: {counts}")
    notes = [line.removeprefix("note: ") for line in said["auto"].splitlines() if "runs it" in line]
    eager = statistics.median(seconds["eager"])
    return {
        "images": count,
        "eager": round(eager, 2),
        "auto, first": round(seconds["auto"][0], 2),
        "auto": round(min(seconds["auto"][1:], default=seconds["auto"][0]), 2),
        "ratio, first": round(eager / seconds["auto"][0], 3),
        "ratio": round(eager / min(seconds["auto"][1:], default=seconds["auto"][0]), 3),
        "said": notes,
    }


if __name__ == "__main__":
    main()
