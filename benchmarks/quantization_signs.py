"""int8 of networks trained by `phonecv train`, in every runtime: as `phonecv quantize` gives it, and fine-tuned.

    python benchmarks/quantization_signs.py --data DIR --folder F [--only emo_1m] [--threads 1] train
    python benchmarks/quantization_signs.py --data DIR --folder F [--only emo_1m] judge
    python benchmarks/quantization_signs.py --data DIR --folder F [--only emo_1m] time

DIR is the Sign Language Digits data set (Mavi 2020, arXiv 2011.08927), split by person, as train/<digit>/ and
val/<digit>/. The first TRAINED training pictures train a network from random weights and calibrate, the validation
pictures choose between the methods, and the training pictures of all other people have the last word, once. The second
step runs `phonecv quantize` with its budget of one point, then fine-tunes in 8 bits (150 steps on the calibration
pictures) whether that is needed or not, and scores those files, too. The third one times the files that were chosen;
the machine should be quiet for it. F keeps what the steps make, and what is there is not made anew. Writes
benchmarks/results/quantization_signs.json, network by network; about half an hour each on two cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kinds import kind_here
from phonecv.benchmarking.against_float32 import against_float32
from phonecv.benchmarking.machine import describe_machine, disturbances
from phonecv.classify.quantizing import ClassifyWorkshop
from phonecv.classify.quantizing_data import split_data
from phonecv.create import load_network
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS
from phonecv.exporting.run import in_form
from phonecv.files import write_json
from phonecv.quantization.methods import methods_for

RESULTS = Path(__file__).parent / "results" / "quantization_signs.json"
FORMATS = ("onnx", "openvino", "executorch", "litert")

#: Of the training pictures, in the order of their numbers, and so person after person; the others are never seen.
TRAINED = 950

#: Network -> what is added to the recipe from_scratch_small, whose own widths and depths are left out.
NETWORKS: dict[str, tuple[str, ...]] = {
    "emo_1m": ("model.name=emo_1m", "model.overrides={drop_path: 0.0}", "data.size=96", "schedule.epochs=20"),
    # A layer scale of 1e-6, as published, would keep every block silent for most of so short a training.
    "emov2_1m": (
        "model.name=emov2_1m", "model.overrides={layer_scale: 0.5, drop_path: 0.0}", "data.size=96",
        "schedule.epochs=20",
    ),
}  # fmt: skip


def main() -> None:
    """Take a step for one network, or for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "judge", "time"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for what is made")
    parser.add_argument("--threads", type=int, default=None, help="of the training")
    parser.add_argument("--only", choices=tuple(NETWORKS), default=None)
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file")
    chosen = parser.parse_args()
    for name in NETWORKS if chosen.only is None else (chosen.only,):
        place = chosen.folder / name
        if chosen.step == "train":
            train(place, chosen.data, NETWORKS[name], chosen.threads)
            continue
        found = judged(place, NETWORKS[name]) if chosen.step == "judge" else timed(place)
        results = json.loads(chosen.out.read_text(encoding="utf-8"))
        results["networks"].setdefault(name, {}).update(found)
        write_json(chosen.out, results)


def train(place: Path, data: Path, settings: tuple[str, ...], threads: int | None) -> None:
    """Train one network."""
    divide(data, place)
    more = () if threads is None else (f"run.threads={threads}",)
    command = ("train", "from_scratch_small", "--data", str(place / "data"), *settings, *more)
    subprocess.run([sys.executable, "-m", "phonecv", *command, "--out", str(place / "run")], check=True)


def judged(place: Path, settings: tuple[str, ...]) -> dict[str, Any]:
    """Quantize it for every runtime that has int8: by the command, and fine-tuned."""
    checkpoint = place / "run" / "best.safetensors"
    command = (
        "quantize", str(checkpoint), str(place / "phone"), "--to", ",".join(FORMATS), "--data", str(place / "data"),
        "--eval", str(place / "last"),
    )  # fmt: skip
    report = place / "phone" / "best-int8.quantize.json"
    if not report.is_file():
        done = subprocess.run([sys.executable, "-m", "phonecv", *command], check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(done.returncode)
    found = json.loads(report.read_text(encoding="utf-8"))
    summary = json.loads((place / "run" / "summary.json").read_text(encoding="utf-8"))
    return {
        "training": {
            "command": " ".join(["phonecv train from_scratch_small --data DIR", *settings]),
            "pictures": sum(1 for _ in (place / "data" / "train").glob("*/*")),
            "best_top1": summary["best_score"],
        },
        "formats": {name: {key: entry[key] for key in ("chosen", "final")} for name, entry in found["formats"].items()},
        "fine_tuned": fine_tuned(checkpoint, place),
        "kind": kind_here(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
    }


def fine_tuned(checkpoint: Path, place: Path) -> dict[str, Any]:
    """By format: the score of its fine-tuned file on the pictures of the last word."""
    network = in_form(load_network(checkpoint, task=None), "deploy")
    workshop = ClassifyWorkshop(network, *split_data(place / "data", network), say=print)
    last = workshop.last_pictures(place / "last")
    reference = workshop.float_outputs(last)
    found = {}
    for name in FORMATS:
        (method,) = (method for method in methods_for(name, "int8", network) if method.fine_tunes)
        file = place / "tuned" / f"tuned{EXPORTERS[name].suffix}"
        file.parent.mkdir(exist_ok=True)
        try:
            prepared, _ = workshop.prepared(method)
        except UserError as error:  # it gained nothing
            found[name] = {"method": method.name, "error": str(error)}
            continue
        workshop.write(method, name, file)
        score = workshop.judge(file, last, reference).to_dict()
        found[name] = {"method": method.name, "final": score, "training": prepared.quantization["qat"]}
        print(name, found[name], flush=True)
    return found


def timed(place: Path) -> dict[str, Any]:
    """What the command's files take of float32's time, one thread on one core, in turns."""
    network = in_form(load_network(place / "run" / "best.safetensors", task=None), "deploy")
    files = {name: place / "phone" / f"best-int8{EXPORTERS[name].suffix}" for name in FORMATS}
    found = against_float32(network, {name: path for name, path in files.items() if path.is_file()})
    return {"latency": found | {"disturbances": disturbances()}}


def divide(data: Path, place: Path) -> None:
    """``data/{train,val}``, and ``last``: all of the training split's people after the first TRAINED pictures."""
    shutil.copytree(data / "val", place / "data" / "val")
    pictures = sorted((data / "train").glob("*/*"), key=lambda path: path.name)
    # A person's pictures run from digit 0 to 9.
    cut = next(number for number in range(TRAINED, len(pictures)) if pictures[number].parent.name == "0")
    for number, picture in enumerate(pictures):
        target = (place / "data" / "train" if number < cut else place / "last") / picture.parent.name / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)


if __name__ == "__main__":
    main()
