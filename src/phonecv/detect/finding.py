"""What a detector finds in pictures from a score on, and the same as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from phonecv.detect.detections import Detections
from phonecv.detect.opening import DetectRunner


def find(runner: DetectRunner, pictures: Sequence[torch.Tensor], threshold: float) -> Iterator[Detections]:
    """What is in each of the pictures (``3 H W`` bytes), from the threshold on."""
    if not pictures:
        return
    strong = []
    for found in runner(pictures):
        # What is dropped here needs no mask to be encoded.
        enough = found["scores"] >= threshold
        strong.append({name: column[enough] for name, column in found.items()})
    every = Detections.of(strong, range(len(strong)))
    every = every[every.finite()]
    for place in range(len(strong)):
        yield every.of_picture(place)


def plain_detections(found: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    """Detections of one picture for JSON: bbox as left, top, width, height; masks as COCO's run lengths."""
    boxes = found.boxes_xywh().round(2).tolist()
    rows = zip(found.labels.tolist(), boxes, found.scores.astype(float).round(5).tolist(), strict=True)
    entries: list[dict[str, Any]] = [
        {"label": label, "category": names[label], "bbox": box, "score": score} for label, box, score in rows
    ]
    for entry, mask in zip(entries, found.masks or (), strict=False):
        entry["segmentation"] = mask
    return entries
