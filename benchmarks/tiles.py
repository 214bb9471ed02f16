"""Large pictures with and without tiles: a small detector of blood cells on canvases of nine microscope pictures.

    python benchmarks/tiles.py --data DIR           trains for minutes and writes results/tiles.json
    python benchmarks/tiles.py --data DIR --model FILE --dry        a detector that is trained already; writes nothing

DIR is BCCD (repository Shenggan/BCCD_Dataset, 640 x 480 pixels each) with COCO annotations of its official split. The
72 test pictures become eight canvases of 1440 x 1440 pixels, three by three, each stretched to 480 x 480 as the
detector stretches it, so that tiles without overlap cut no object. The detector learns from single pictures, by the
recipe `detect_scratch` at 192 pixels for 20 epochs: what matters is the difference, not how good it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

import phonecv
from phonecv.benchmarking.machine import processor_name
from phonecv.files import write_json
from phonecv.training import load_config, train

RESULTS = Path(__file__).parent / "results" / "tiles.json"
ACROSS, SIDE = 3, 480
SIZE, EPOCHS = 192, 20
#: Objects of a picture: no way is to be held back by it.
MOST = 2000

#: Anchors for cells of 20 to 200 of 640 pixels, at the side that the detector sees.
OPTIONS = "{min_sizes: [14, 36, 66, 96, 126, 156], max_sizes: [36, 66, 96, 126, 156, 192]}"

#: What is asked of `phonecv.evaluate`.
WAYS: dict[str, dict[str, Any]] = {
    "whole": {"tile": 0},
    "tiles": {"tile": SIDE, "overlap": 0.2},
    "tiles_only": {"tile": SIDE, "overlap": 0.2, "tiles_only": True},
    "tiles_without_overlap": {"tile": SIDE, "overlap": 0.0, "tiles_only": True},
}

MEMORY = """
import resource, sys, phonecv
from phonecv.opening import open_runner
open_runner(sys.argv[1], "detect")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
phonecv.predict(sys.argv[1], sys.argv[2], tile=640, workers=0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def write_canvases(data: Path, folder: Path) -> Path:
    """The test pictures side by side, with their annotations moved along."""
    content = json.loads((data / "annotations" / "instances_test.json").read_text())
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    boxes: dict[int, list[dict[str, Any]]] = {}
    for entry in content["annotations"]:
        boxes.setdefault(entry["image_id"], []).append(entry)
    pictures, images, annotations = content["images"], [], []
    each = ACROSS**2
    for start in range(0, len(pictures) - each + 1, each):
        canvas = Image.new("RGB", (ACROSS * SIDE, ACROSS * SIDE))
        key, name = len(images) + 1, f"canvas{len(images):02}.png"
        for place, picture in enumerate(pictures[start : start + each]):
            left, top = place % ACROSS * SIDE, place // ACROSS * SIDE
            with Image.open(data / "images" / picture["file_name"]) as image:
                canvas.paste(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, top))
            for entry in boxes.get(picture["id"], []):
                wide, tall = SIDE / picture["width"], SIDE / picture["height"]
                x, y, width, height = entry["bbox"]
                box = [x * wide + left, y * tall + top, width * wide, height * tall]
                moved = {"id": len(annotations) + 1, "image_id": key, "bbox": box}
                annotations.append({name: entry[name] for name in ("category_id", "area", "iscrowd")} | moved)
        canvas.save(folder / "images" / name)
        images.append({"id": key, "file_name": name, "width": canvas.width, "height": canvas.height})
    truth = {"images": images, "annotations": annotations, "categories": content["categories"]}
    (folder / "annotations" / "instances_test.json").write_text(json.dumps(truth))
    return folder


def trained(data: Path, folder: Path) -> Path:
    """A small detector of single pictures."""
    settings = [
        f"data.path={data}", f"run.out={folder}", f"data.size={SIZE}", f"schedule.epochs={EPOCHS}",
        "schedule.warmup_epochs=2", f"run.eval_every={EPOCHS}", f"detect.options={OPTIONS}", "run.audit=false",
    ]  # fmt: skip
    result = train(load_config("detect_scratch", settings))
    assert result.best is not None
    return result.best


def figures(model: Path, data: Path, **options: Any) -> dict[str, Any]:
    """AP and the time of a picture."""
    start = time.perf_counter()
    result = phonecv.evaluate(model, data, split="test", max_objects=MOST, **options)
    seconds = (time.perf_counter() - start) / result.count
    shown = {name: round(result.figures[name], 1) for name in ("ap", "ap50", "ap75")}
    return shown | {"pictures": result.count, "found": len(result.found), "seconds_a_picture": round(seconds, 2)}


def memory(model: Path, folder: Path) -> dict[str, Any]:
    """Memory of a process that goes over a picture of 104 megapixels in tiles, and before it reads the picture."""
    picture = folder / "large.jpg"
    Image.effect_noise((104, 100), 80).convert("RGB").resize((10400, 10000)).save(picture, quality=80)
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, str(model), str(picture)],
        env=os.environ | {"PHONECV_MAX_PIXELS": "120e6"},
        check=True,
        capture_output=True,
        text=True,
    )
    before, after = (float(line) for line in result.stdout.splitlines()[-2:])
    return {"megapixels": 104, "gigabytes_before": round(before, 2), "gigabytes_at_most": round(after, 2)}


def main() -> None:
    """Train, evaluate in every way, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dry", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = chosen.model or trained(chosen.data, folder / "run")
        canvases = write_canvases(chosen.data, folder / "canvases")
        found = {"single_pictures": figures(model, chosen.data)}
        found |= {name: figures(model, canvases, **options) for name, options in WAYS.items()}
        found["memory"] = memory(model, folder)
    print(json.dumps(found, indent=2))
    if not chosen.dry:
        about = {"processor": processor_name(), "canvas": f"{ACROSS * SIDE} x {ACROSS * SIDE}"}
        write_json(RESULTS, about | {"detector_px": SIZE, "epochs": EPOCHS} | found)


if __name__ == "__main__":
    main()
