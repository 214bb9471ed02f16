"""A small data set in COCO's format, and detectors that need no network: their answers are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from phonecv.detect.detections import Detections, encode_masks
from phonecv.detect.opening import DetectRunner

CLASSES = ("ball", "box", "cat")
CATEGORY_IDS = (7, 3, 12)  # with gaps and not in order
COLOURS = ((220, 60, 50), (60, 190, 80), (70, 90, 230))

#: Width and height of the pictures: each of another size.
SIZES = ((96, 64), (64, 96), (80, 80), (120, 72))


def random_truth(pictures: int, seed: int = 0, *, most: int = 6, crowds: bool = True) -> dict[str, Any]:
    """A COCO data set with rectangles as boxes and as masks; some are crowd regions, one picture is empty."""
    generator = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(pictures):
        width, height = SIZES[number % len(SIZES)]
        images.append({"id": 100 + 3 * number, "file_name": f"{number:03}.png", "width": width, "height": height})
        for _ in range(0 if number == 1 else generator.integers(1, most + 1)):
            w, h = generator.integers(6, width // 2), generator.integers(6, height // 2)
            x, y = generator.integers(0, width - w), generator.integers(0, height - h)
            box = [int(side) for side in (x, y, w, h)]
            mask = torch.zeros(1, height, width, dtype=torch.bool)
            mask[:, y : y + h, x : x + w] = True
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": images[-1]["id"],
                    "category_id": int(generator.choice(CATEGORY_IDS)),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(crowds and generator.random() < 0.15),
                    "segmentation": encode_masks(mask)[0],
                }
            )
    categories = [{"id": key, "name": name} for key, name in zip(CATEGORY_IDS, CLASSES, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_scenes(root: Path, pictures: int = 5, seed: int = 0, *, split: str = "val", crowds: bool = True) -> Path:
    """`random_truth` as a data folder, with pictures that show the rectangles."""
    truth = random_truth(pictures, seed, crowds=crowds)
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(truth))
    folder = root / "images" / split
    folder.mkdir(parents=True, exist_ok=True)
    for image in truth["images"]:
        pixels = np.full((image["height"], image["width"], 3), 235, dtype=np.uint8)
        for entry in truth["annotations"]:
            if entry["image_id"] == image["id"]:
                x, y, w, h = entry["bbox"]
                pixels[y : y + h, x : x + w] = COLOURS[CATEGORY_IDS.index(entry["category_id"])]
        Image.fromarray(pixels).save(folder / image["file_name"])
    return root


def jittered(
    truth: Mapping[str, Any], seed: int = 0, *, spread: float = 0.12, wrong: float = 0.15, extra: int = 2
) -> list[dict[str, Any]]:
    """COCO results made from the truth: shifted boxes and masks, some of a wrong class, some missing, some for nothing.

    Scores repeat now and then, so that the order of equals is put to the test.
    """
    generator = np.random.default_rng(seed)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    keys = [category["id"] for category in truth["categories"]]
    results = []

    def add(image: int, category: int, box: Sequence[float]) -> None:
        height, width = sizes[image]
        x0, y0 = max(0.0, box[0]), max(0.0, box[1])
        x1, y1 = min(float(width), box[0] + box[2]), min(float(height), box[1] + box[3])
        if x1 - x0 < 1 or y1 - y0 < 1:
            return
        mask = torch.zeros(1, height, width, dtype=torch.bool)
        mask[:, int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
        score = round(float(generator.uniform(0.05, 1)), 2)
        results.append(
            {
                "image_id": image,
                "category_id": category,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": score,
                "segmentation": encode_masks(mask)[0],
            }
        )

    for entry in truth["annotations"]:
        for _ in range(int(generator.choice([0, 1, 1, 1, 2]))):
            x, y, w, h = entry["bbox"]
            dx, dy, dw, dh = generator.normal(0, spread, 4)
            category = int(generator.choice(keys)) if generator.random() < wrong else entry["category_id"]
            add(entry["image_id"], category, (x + dx * w, y + dy * h, w * np.exp(dw), h * np.exp(dh)))
    for image, (height, width) in sizes.items():
        for _ in range(extra):
            w, h = generator.uniform(4, width / 2), generator.uniform(4, height / 2)
            box = (generator.uniform(0, width - w), generator.uniform(0, height - h), w, h)
            add(image, int(generator.choice(keys)), box)
    return results


def to_detections(
    results: Sequence[Mapping[str, Any]], image_ids: Sequence[int], category_ids: Sequence[int]
) -> Detections:
    """COCO results as columns, in float32."""
    predictions, places = [], range(len(image_ids))
    for image in image_ids:
        own = sorted((entry for entry in results if entry["image_id"] == image), key=lambda entry: -entry["score"])
        boxes = torch.tensor([entry["bbox"] for entry in own], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        predictions.append(
            {
                "boxes": boxes.float(),
                "scores": torch.tensor([entry["score"] for entry in own], dtype=torch.float32),
                "labels": torch.tensor([category_ids.index(entry["category_id"]) for entry in own], dtype=torch.int64),
            }
        )
    found = Detections.of(predictions, places)
    ordered = [
        entry
        for image in image_ids
        for entry in sorted((e for e in results if e["image_id"] == image), key=lambda entry: -entry["score"])
    ]
    masks = tuple(entry["segmentation"] for entry in ordered) if all("segmentation" in e for e in results) else None
    return Detections(found.pictures, found.boxes, found.scores, found.labels, masks)


def by_colour(picture: Tensor) -> dict[str, Tensor]:
    """Finds the rectangles of `write_scenes` by their colours: one box around each colour, best first."""
    boxes, labels, masks = [], [], []
    for label, colour in enumerate(COLOURS):
        inside = ((picture.int() - torch.tensor(colour)[:, None, None]).abs() < 30).all(0)  # JPEG shifts colours
        if inside.any():
            rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
            boxes.append([int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1])
            labels.append(label)
            masks.append(inside)
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.linspace(0.9, 0.5, len(boxes)) if boxes else torch.zeros(0),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": torch.stack(masks)[:, None].float() if masks else torch.zeros(0, 1, *picture.shape[1:]),
    }


def colour_runner(*, masks: bool = False, classes: tuple[str, ...] = CLASSES, named: bool = True) -> DetectRunner:
    """A detector that goes by colour."""

    def run(pictures: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        found = [by_colour(picture) for picture in pictures]
        return found if masks else [{k: v for k, v in one.items() if k != "masks"} for one in found]

    return DetectRunner("by colour", run, classes, named=named, masks=masks, batch=2)
