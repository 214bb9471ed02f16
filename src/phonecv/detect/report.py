"""The folder of a detector's evaluation: tables for programs, pictures for people, and how the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from phonecv.data.pictures.opening import fitted, printable, reopen
from phonecv.data.pictures.reading import planes
from phonecv.detect.average_precision import IOUS, shown
from phonecv.detect.detections import decode_masks
from phonecv.detect.draw import Drawn, draw, to_image
from phonecv.detect.result import DetectionResult
from phonecv.files import write_lines
from phonecv.plots import COLOURS, save_confusion, save_image_grid, save_precision_recall
from phonecv.report import ClassTable
from phonecv.rules import NUMBER
from phonecv.tables import figure, write_csv

#: Pictures in each of the two grids, and their longer side in pixels when they are drawn on.
GRID, SIDE = 12, 560

#: A picture of the truth and one of the detections, side by side: room for the pair, in inches.
_CELL = (5.6, 2.1)

#: Height of letters on them: the grid shows them at about half their size.
_LETTERS = 19

#: With more objects their names would hide the picture.
_MOST_NAMES = 40

_BACKGROUND = "background"

FIGURES = dict.fromkeys(("ap", "ap50", "ap75", "mask_ap", "mask_ap50"), NUMBER)
CLASSES = ClassTable(
    {
        "class": "class",
        "objects": "objects",
        "ap": "AP",
        "ap50": "AP50",
        "mask_ap": "mask AP",
        "mask_ap50": "mask AP50",
        "precision": "precision %",
        "recall": "recall %",
    },
    ("ap",),
)
PICTURES = (
    ("precision_recall.png", "Precision over recall", "A line for each overlap (IoU) that counts as right."),
    ("confusion.png", "Confusion matrix", "True classes in rows, found ones in columns; the last are the background."),
    ("worst.png", "Worst pictures", "Truth left, found right; blue: right, orange: missed or wrong, grey: crowd."),
    ("best.png", "Best pictures", "The same for those where most was right."),
)


def tiles(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Average precision of boxes, and of masks."""
    names = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "mask_ap": "mask AP", "mask_ap50": "mask AP50"}
    shown = [(f"{summary[name]:.1f}", label) for name, label in names.items() if name in summary]
    return [*shown, (str(summary["count"]), "pictures")]


def write_files(result: DetectionResult, out: Path) -> None:
    """Write per_class.csv, per_image.csv, detections.json, precision_recall.png, confusion.png, best.png and worst.png.

    What cannot be drawn (no true object, no picture) is left out.
    """
    write_csv(out / "per_class.csv", *_per_class(result))
    write_csv(
        out / "per_image.csv",
        ("path", "objects", "found", "right", "quality"),
        ((row.path, row.objects, row.found, row.right, figure(row.quality, 4)) for row in result.pictures),
    )
    write_results(result, out / "detections.json")
    _plot(result, out)
    save_grids(result, out)


def write_results(result: DetectionResult, path: Path) -> None:
    """All detections as COCO results, a line for each."""
    entries = result.found.records(result.split.images.ids.tolist(), result.split.category_ids, "bbox")
    if result.found.masks is not None:
        for entry, mask in zip(entries, result.found.masks, strict=True):
            entry["segmentation"] = mask
    write_lines(path, entries)


def _per_class(result: DetectionResult) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
    masks = "mask_" in result.curves
    header = ["class", "objects", "ap", "ap50", *(("mask_ap", "mask_ap50") if masks else ()), "precision", "recall"]
    rows = []
    for row in result.per_class:
        figures = [row.ap, row.ap50, *((row.mask_ap, row.mask_ap50) if masks else ()), row.precision, row.recall]
        rows.append((row.name, row.objects, *(figure(value, 2) for value in figures)))
    return header, rows


def _plot(result: DetectionResult, out: Path) -> None:
    rows = {"masks" if prefix else "boxes": part.precision[..., 0] for prefix, part in result.curves.items()}
    ap, ap50 = shown(result.figures["ap"]), shown(result.figures["ap50"])
    if any((~np.isnan(values)).any() for values in rows.values()):
        save_precision_recall(
            rows,
            IOUS,
            result.classes,
            out / "precision_recall.png",
            title=f"{result.split.source.name}: AP {ap}, AP50 {ap50}",
        )
    if result.confusion.any():
        size = len(result.classes)
        save_confusion(
            result.confusion,
            (*result.classes, _BACKGROUND),
            out / "confusion.png",
            title=f"Score ≥ {result.threshold:g}, IoU ≥ 0.5",
            keep=(size,),
        )


# -------------------------------------------------------------------------------------- best and worst


def save_grids(result: DetectionResult, out: Path) -> None:
    """best.png and worst.png: the truth on the left, what was found on the right of each pair."""
    counts = result.judged.pictures
    quality, weight = counts.quality, counts.objects + counts.found
    places = [place for place in np.flatnonzero(~np.isnan(quality)).tolist() if result.split.path(place).is_file()]
    # Among equals the pictures with the most in them tell the most.
    best = sorted(places, key=lambda place: (-quality[place], -weight[place]))[:GRID]
    worst = sorted(places, key=lambda place: (quality[place], -weight[place]))[:GRID]
    for name, chosen in (("best", best), ("worst", worst)):
        if not chosen:
            continue
        pictures = [_pair(result, place) for place in chosen]
        captions = [_caption(result, place) for place in chosen]
        title = (
            f"{name.capitalize()} from score {result.threshold:g}: truth left, found right;"
            " blue: right, orange: missed or wrong, grey: crowd"
        )
        columns = min(2, len(chosen))
        save_image_grid(pictures, captions, out / f"{name}.png", title=title, columns=columns, cell=_CELL)


def _caption(result: DetectionResult, place: int) -> str:
    counts, name = result.judged.pictures, printable(result.split.path(place).name)
    right, wrong = counts.right[place], counts.found[place] - counts.right[place]
    return f"{name}\n{right} of {counts.objects[place]} found, {wrong} wrong, quality {counts.quality[place]:.2f}"


def _pair(result: DetectionResult, place: int) -> Image.Image | None:
    """Truth and detections drawn on two copies of a picture; None if it cannot be read (any more)."""
    image = reopen(result.split.path(place))
    if image is None:
        return None
    picture = planes(fitted(image, SIDE))
    truth, found = (_scaled(things, SIDE / max(image.size), picture) for things in _things(result, place))
    gap = torch.full((3, picture.shape[1], SIDE // 60), 255, dtype=torch.uint8)
    return to_image(torch.cat([draw(picture, truth, _LETTERS), gap, draw(picture, found, _LETTERS)], dim=2))


def _things(result: DetectionResult, place: int) -> tuple[Drawn, Drawn]:
    """What there is on a picture, and what was found there, in the colours of right and wrong."""
    right, wrong, neither = np.array(COLOURS)[[0, 1, 6]]
    matching = result.judged.matching
    first, last = np.searchsorted(result.found.pictures, (place, place + 1))
    rows = np.arange(first, last)
    rows = rows[result.found.scores[rows] >= result.threshold]
    found, matched = result.found[rows], matching.objects[rows]
    first, last = np.searchsorted(result.objects.pictures, (place, place + 1))
    objects = result.objects[first:last]
    hit = np.isin(np.arange(first, last), matched)
    many = len(result.classes) > 1
    names = [result.classes[label] if many else "" for label in objects.labels]
    truth_masks = result.split.targets(place)["masks"] if result.split.masks and len(objects) else None
    truth = Drawn(
        objects.boxes,
        names if len(objects) <= _MOST_NAMES else [""] * len(objects),
        np.where(objects.crowd, neither, np.where(hit, right, wrong)).tolist(),
        truth_masks,
    )
    texts = [
        f"{result.classes[label]} {100 * score:.0f}" if many else f"{100 * score:.0f}"
        for label, score in zip(found.labels, found.scores, strict=True)
    ]
    return truth, Drawn(
        found.boxes,
        texts if len(found) <= _MOST_NAMES else [""] * len(found),
        np.where(matched >= 0, right, np.where(matching.excused[rows], neither, wrong)).tolist(),
        decode_masks(found.masks) if found.masks else None,
    )


def _scaled(things: Drawn, scale: float, picture: Tensor) -> Drawn:
    """The same things on a picture of another size."""
    masks = things.masks
    if masks is not None:
        masks = F.interpolate(masks[:, None].float(), size=picture.shape[1:], mode="nearest")[:, 0].bool()
    return replace(things, boxes=np.asarray(things.boxes) * scale, masks=masks)
