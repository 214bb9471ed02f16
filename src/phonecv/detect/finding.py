"""What a detector finds in pictures from a score on, and the same as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from phonecv.detect.detections import Detections
from phonecv.detect.opening import DetectRunner
from phonecv.detect.postprocess import Found


def find(runner: DetectRunner, pictures: Sequence[torch.Tensor], threshold: float) -> Iterator[tuple[Detections, str]]:
    """What is in each of the pictures (``3 H W`` bytes), from the threshold on.

    Each with what to say of objects that were left out because a picture may not have more.
    """
    if not pictures:
        return
    strong, said = [], []
    for found in runner(pictures):
        # What is dropped here needs no mask to be encoded.
        enough = found["scores"] >= threshold
        strong.append({name: column[enough] for name, column in found.items()})
        said.append(_left_out(found, enough, threshold))
    every = Detections.of(strong, range(len(strong)))
    every = every[every.finite()]
    for place, text in enumerate(said):
        yield every.of_picture(place), text


def _left_out(found: Mapping[str, Any], enough: torch.Tensor, threshold: float) -> str:
    if not isinstance(found, Found):
        return ""
    kept, more = int(enough.sum()), int((found.beyond >= threshold).sum())
    if more:
        return f"{kept} of at least {kept + more} kept; --max-objects"
    return found.full if found.surest >= threshold else ""


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
