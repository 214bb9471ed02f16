"""The folder of a classifier's evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phonecv.classify.attention import heated
from phonecv.classify.many_result import LabelsResult
from phonecv.classify.result import ClassificationResult
from phonecv.data.pictures.opening import reopen
from phonecv.plots import COLOURS, INK, save_image_grid
from phonecv.report import ClassTable
from phonecv.rules import COUNT, NUMBER
from phonecv.tables import write_csv
from phonecv.text import counted, printable_name
from phonecv.whole import report
from phonecv.whole.report import WORST

#: Hardest pictures whose maps are drawn, and the room for one beside its map, in inches.
LOOKED, _CELL = 12, (3.6, 1.8)

FIGURES = report.FIGURES | {"map": NUMBER, "f1": NUMBER, "f1_all": NUMBER, "labels": COUNT, "exact": COUNT}
CLASSES = ClassTable(
    {**report.CLASSES.columns}
    | {"ap": "AP %", "f1": "F1 %", "precision": "precision %", "recall": "recall %", "threshold": "told from"},
    (*report.CLASSES.by, "ap"),
)
PICTURES = (
    *report.PICTURES,
    ("looked.png", "Where it looked", "The hardest pictures, and beside each what spoke for the class it got: warm."),
    (
        "labels.png",
        "Hardest pictures",
        "A label of theirs was held for unlikely, or another one for sure.",
    ),
)


def tiles(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Top-1 and top-5, or where pictures have several labels mAP and F1."""
    shown = report.tiles(summary)
    if summary.get("map") is not None:
        shown.append((f"{summary['map']:.2f} %", f"mAP, {summary.get('labels', '?')} labels"))
    if summary.get("f1") is not None:
        together = f", {summary['f1_all']:.2f} % of all together" if summary.get("f1_all") is not None else ""
        shown.append((f"{summary['f1']:.2f} %", f"F1, mean of labels{together}"))
    if "exact" in summary:
        shown.append((f"{summary['exact']} of {summary['count']}", "pictures with every label right"))
    return shown


def write_files(result: ClassificationResult | LabelsResult, out: Path) -> None:
    """See `phonecv.report.ReportRoom`."""
    if isinstance(result, LabelsResult):
        _write_labels(result, out)
    else:
        report.write_files(result, out, show=reopen)
        _save_looked(result, out / "looked.png")


def _save_looked(result: ClassificationResult, png_path: Path) -> None:
    """The hardest pictures and what spoke for the class they got, where a network can be asked."""
    worst = result.worst[:LOOKED]
    if result.look is None or not worst:
        return
    seen = result.look([(image.path, image.predicted) for image in worst])
    save_image_grid(
        [None if one is None else heated(*one) for one in seen],
        [
            f"{image.path.name}\nis {printable_name(result.classes[image.label])}\n"
            f"→ {printable_name(result.classes[image.predicted])} {image.probability:.1%}"
            for image in worst
        ],
        png_path,
        title="Where it looked: warm is what spoke for the class it named",
        colours=[COLOURS[1] if image.rank else INK for image in worst],
        columns=min(3, len(worst)),
        cell=_CELL,
    )


def _write_labels(result: LabelsResult, out: Path) -> None:
    """Write per_class.csv, predictions.csv (labels, and the probability of each class) and labels.png."""
    write_csv(
        out / "per_class.csv",
        ("class", "count", "ap", "f1", "precision", "recall", "threshold"),
        (
            (row.name, row.count, *map(_percent, (row.ap, row.f1, row.precision, row.recall)), f"{row.threshold:.4f}")
            for row in result.per_class
        ),
    )
    write_csv(
        out / "predictions.csv",
        ("path", "true", "predicted", *result.classes),
        (
            (
                path,
                "|".join(result.labels_of(place)),
                "|".join(result.labels_of(place, told=True)),
                *(f"{value:.6f}" for value in result.probabilities[place]),
            )
            for place, path in enumerate(result.paths)
        ),
    )
    worst = result.worst[:WORST]
    wrong = [result.labels_of(place) != result.labels_of(place, told=True) for place in worst]
    save_image_grid(
        [reopen(result.paths[place]) for place in worst],
        [
            f"{result.paths[place].name}\nis {_short(result.labels_of(place))}\n→ "
            + _short(result.labels_of(place, told=True))
            for place in worst
        ],
        out / "labels.png",
        title=f"Labels told worst ({counted(result.count - result.exact, 'pictures')} with a mistake in all)",
        colours=[COLOURS[1] if bad else INK for bad in wrong],
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def _short(names: Sequence[str], most: int = 26) -> str:
    text = ", ".join(printable_name(name, most) for name in names) or "no label"
    return text if len(text) <= most else f"{text[: most - 1]}…"
