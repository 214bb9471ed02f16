"""AP of a detector over an evaluation: collects detections batch by batch, in any number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from phonecv.data.coco.loading import DetectionBatch
from phonecv.data.coco.reader import CocoSplit
from phonecv.data.pictures.ahead import Pictures
from phonecv.detect.average_precision import average_precision
from phonecv.detect.detections import Detections, Kind
from phonecv.training.world import World
from phonecv.verbs import ALONE, Together


class DetectMeter:
    """COCO's figures in percent: ap, ap50, ap75, ap_small, ap_medium, ap_large, and mask_ap, ... of masks.

    Only pictures that were seen count, each once, however many processes saw it. A figure is NaN where it is not
    defined: without any true object (of that size). `outputs` has the data's label for every output of the model, -1
    for none; None if they are the same.
    """

    def __init__(self, split: CocoSplit, *, masks: bool, outputs: np.ndarray | None = None) -> None:
        self.split, self.masks, self.outputs = split, masks, outputs
        self.parts: list[Detections] = []
        self.seen: dict[int, None] = {}
        self.broken = 0

    @torch.no_grad()
    def update(self, predictions: Sequence[Mapping[str, Tensor]], batch: DetectionBatch | Pictures) -> None:
        """Take in a batch's predictions; those of unreadable pictures are left out."""
        places = batch.indices.tolist()
        good = [number for number, error in enumerate(batch.errors) if not error and places[number] not in self.seen]
        self.seen |= dict.fromkeys(places[number] for number in good)
        found = Detections.of([predictions[number] for number in good], [places[number] for number in good])
        sound = found.finite()
        self.broken += int((~sound).sum())
        if self.outputs is not None:
            labels = self.outputs[found.labels]
            sound &= labels >= 0
            found = Detections(found.pictures, found.boxes, found.scores, labels, found.masks)
        self.parts.append(found if sound.all() else found[sound])

    def collected(self, world: Together | None = None) -> tuple[list[int], Detections]:
        """Places of the pictures seen, rising, and everything found in them, by all processes."""
        own = Detections.joined(self.parts)
        shares = (world or ALONE).gather((list(self.seen), own))
        seen: set[int] = set()
        parts = []
        for places, found in shares:
            fresh = np.setdiff1d(places, list(seen))
            parts.append(found[np.isin(found.pictures, fresh)])
            seen.update(fresh.tolist())
        return sorted(seen), Detections.joined(parts)

    def result(self, world: World) -> dict[str, float]:
        """The figures, and `images`: how many pictures counted."""
        seen, found = self.collected(world)
        # One process computes: the others would only compete for the processor.
        figures = self._measured(seen, found) if world.first else None
        return world.gather(figures)[0]

    def _measured(self, seen: Sequence[int], found: Detections) -> dict[str, float]:
        part, found = restricted(self.split, seen, found)
        truth = part.to_ground_truth()
        figures: dict[str, float] = {}
        for prefix, kind in kinds(masks=self.masks).items():
            figures |= average_precision(truth, found, part.category_ids, kind).figures(prefix)
        return figures | {"images": len(seen)}


def kinds(*, masks: bool) -> dict[str, Kind]:
    """What is evaluated, by the prefix of its figures."""
    return {"": "bbox", "mask_": "segm"} if masks else {"": "bbox"}


def restricted(split: CocoSplit, seen: Sequence[int], found: Detections) -> tuple[CocoSplit, Detections]:
    """The split with the pictures at the places `seen` alone, which rise and hold all detections; places follow."""
    if len(seen) == len(split):
        return split, found
    pictures = np.searchsorted(seen, found.pictures)
    return split.select(seen), Detections(pictures, found.boxes, found.scores, found.labels, found.masks)
