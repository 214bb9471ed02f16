"""COCO's average precision, computed by faster-coco-eval, as arrays and as the figures of the tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phonecv.detect.detections import Detections, Kind

#: IoU thresholds, and where .5 and .75 are among them.
IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
AT_50, AT_75 = 0, 5

#: Detections of a class in a picture that COCO's published figures count, the best ones.
COUNTED = 100

#: Ranges of area in COCO's order, by the names of the figures.
RANGES = ("", "_small", "_medium", "_large")


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """Precision of one kind (boxes or masks) over everything it depends on.

    Attributes:
        precision: T R K A: 10 IoU thresholds, 101 recalls from 0 to 1, classes, ranges of area (all, small, medium,
            large); NaN where there is no true object.
    """

    precision: np.ndarray

    def figures(self, prefix: str = "") -> dict[str, float]:
        """ap, ap50, ap75, ap_small, ap_medium, ap_large in percent; NaN where not defined."""
        values = {"ap": _percent(self.precision[..., 0])}
        values["ap50"] = _percent(self.precision[AT_50, ..., 0])
        values["ap75"] = _percent(self.precision[AT_75, ..., 0])
        for area, name in enumerate(RANGES[1:], start=1):
            values[f"ap{name}"] = _percent(self.precision[..., area])
        return {prefix + name: value for name, value in values.items()}

    def of_class(self, label: int) -> tuple[float, float]:
        """AP and AP50 of a class in percent; NaN without true objects."""
        return _percent(self.precision[:, :, label, 0]), _percent(self.precision[AT_50, :, label, 0])


def average_precision(
    truth: Mapping[str, Any], found: Detections, category_ids: Sequence[int], kind: Kind, *, most: int = COUNTED
) -> AveragePrecision:
    """Evaluate as COCO does.

    Args:
        truth: a clean COCO data set, for instance from `CocoSplit.to_ground_truth`; all its pictures count. It is left
            as it was.
        found: what was detected; `Detections.pictures` are places in ``truth["images"]``.
        category_ids: of the classes, by label. They become the axis of classes, in this order.
        kind: "bbox" or "segm".
        most: detections of a class in a picture that count, the best ones.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    # The evaluator writes into the records it is given, so it gets its own.
    reference = COCO({name: [dict(entry) for entry in truth[name]] for name in ("images", "annotations", "categories")})
    image_ids = [entry["id"] for entry in truth["images"]]
    results = reference.loadRes(found.records(image_ids, category_ids, kind))
    evaluation = COCOeval_faster(reference, results, iouType=kind)
    evaluation.params.imgIds, evaluation.params.catIds = sorted(image_ids), sorted(category_ids)
    evaluation.params.maxDets = [1, 10, most]
    evaluation.evaluate()
    evaluation.accumulate()
    # The evaluator goes by rising category id.
    labels = np.argsort(np.argsort(category_ids))
    precision = np.asarray(evaluation.eval["precision"], dtype=np.float64)
    # COCO marks with -1 what is not defined.
    return AveragePrecision(np.where(precision > -1, precision, np.nan)[..., -1][:, :, labels])


def shown(value: float | None) -> str:
    """``34.1234`` -> ``34.1``; "-" where a figure is not defined."""
    return "-" if value is None or math.isnan(value) else f"{value:.1f}"


def plain(figures: Mapping[str, float] | Iterable[tuple[str, float]]) -> dict[str, float | None]:
    """Figures for JSON, which has no NaN: None instead."""
    return {name: None if math.isnan(value) else round(value, 6) for name, value in dict(figures).items()}


def _percent(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return 100 * float(values.mean()) if values.size else math.nan
