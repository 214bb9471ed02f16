"""The folder of a segmenter's evaluation: tables for programs, pictures for people, and how the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from phonecv.data.pictures.opening import ImageError, fitted, printable
from phonecv.plots import save_bars, save_confusion, save_image_grid
from phonecv.report import ClassTable
from phonecv.rules import NUMBER
from phonecv.segment.overlay import overlay, shares, with_legend
from phonecv.segment.result import PictureScore, SegmentationResult
from phonecv.tables import figure, write_csv

#: Bars of the per-class picture; of more classes the best and the worst are drawn.
BARS = 50
#: Longer side of each of the three pictures that stand side by side, in pixels.
SIDE = 400
#: Room for them, in inches.
_CELL = (6.3, 2.0)

FIGURES = {"miou": NUMBER, "aacc": NUMBER, "macc": NUMBER}
CLASSES = ClassTable(
    {"class": "class", "pixels": "pixels", "iou_percent": "IoU %", "accuracy_percent": "accuracy %"}, ("iou_percent",)
)
PICTURES = (
    ("per_class.png", "IoU by class", "Overlap of what is there and what was found, over all pictures."),
    ("confusion.png", "Confusion matrix", "Pixels, true classes in rows, found ones in columns."),
    ("worst.png", "Worst pictures", "Picture, truth and what was found."),
    ("best.png", "Best pictures", "Picture, truth and what was found."),
)


def tiles(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """mIoU and accuracies."""
    names = {"miou": "mIoU", "aacc": "pixel accuracy", "macc": "mean class accuracy"}
    shown = [(f"{summary[name]:.2f} %", label) for name, label in names.items() if name in summary]
    return [*shown, (str(summary["count"]), "pictures")]


def write_files(result: SegmentationResult, out: Path) -> None:
    """Write per_class.csv, per_image.csv, per_class.png, confusion.png, best.png and worst.png."""
    scores = result.scores
    columns = (result.classes, scores.labelled, scores.predicted, scores.intersect, scores.iou, scores.accuracy)
    write_csv(
        out / "per_class.csv",
        ("class", "pixels", "predicted_pixels", "right_pixels", "iou_percent", "accuracy_percent"),
        ((*row[:4], *(figure(100 * share, 2) for share in row[4:])) for row in zip(*columns, strict=True)),
    )
    write_csv(
        out / "per_image.csv",
        ("path", "label_path", "pixels", "miou_percent", "pixel_accuracy_percent"),
        (
            (one.path, one.label_path, one.pixels, *(figure(100 * value if one.pixels else None, 2) for value in shown))
            for one in result.pictures
            for shown in [(one.miou, one.aacc)]
        ),
    )
    save_class_bars(result, out / "per_class.png")
    save_confusion(
        result.matrix[:, : len(result.classes)],
        result.classes,
        out / "confusion.png",
        title="Pixels, % of each true class",
        percent=True,
    )
    for name, chosen in (("best", result.best), ("worst", result.worst)):
        if chosen:
            save_grid(result, chosen, out / f"{name}.png", title=name.capitalize())


def save_class_bars(result: SegmentationResult, png_path: Path) -> None:
    """IoU of every class that is or was found somewhere, the best first."""
    iou = result.scores.iou
    order = sorted(np.flatnonzero(~np.isnan(iou)).tolist(), key=lambda label: -iou[label])
    title = f"IoU per class, mean {100 * result.scores.miou:.2f} %"
    if len(order) > BARS:
        title += f" (the best and the worst {BARS // 2} of {len(order)})"
        order = [*order[: BARS // 2], *order[-(BARS // 2) :]]
    save_bars(
        {_unique(result.classes, label): 100 * float(iou[label]) for label in order},
        png_path,
        title=title,
        unit="IoU, %",
        form="{:.1f}".format,
    )


def _unique(classes: Sequence[str], label: int) -> str:
    name = classes[label]
    return name if classes.count(name) == 1 else f"{name} ({label})"


def save_grid(result: SegmentationResult, chosen: Sequence[PictureScore], png_path: Path, *, title: str) -> None:
    """Picture, truth and what was found, side by side, with the names of their colours below."""
    save_image_grid(
        [_triple(result, score) for score in chosen],
        [
            f"{printable(score.path.name)}\nmIoU {100 * score.miou:.1f} %, {100 * score.aacc:.1f} % of the pixels right"
            for score in chosen
        ],
        png_path,
        title=f"{title} by mIoU: picture, truth, found",
        columns=min(2, len(chosen)),
        cell=_CELL,
    )


def _triple(result: SegmentationResult, score: PictureScore) -> Image.Image | None:
    """Three pictures side by side and a legend; None if the files cannot be read (any more)."""
    try:
        picture, labels = result.split.read(result.split.images.index(score.path))
    except ImageError:
        return None
    truth = result.outputs[labels]
    found = score.found
    assert found is not None
    small, classes = fitted(picture, SIDE), len(result.classes)
    resized = (Image.fromarray(labels).resize(small.size, Image.Resampling.NEAREST) for labels in (truth, found))
    shown = [small, *(overlay(small, np.asarray(labels), result.palette) for labels in resized)]
    weight = shares(truth, classes) + shares(found, classes)
    order = [int(label) for label in np.argsort(-weight, kind="stable") if weight[label]]
    return with_legend(shown, order, result.classes, result.palette, gap=max(4, SIDE // 60))
