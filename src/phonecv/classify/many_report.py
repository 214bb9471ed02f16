"""The folder of an evaluation where a picture may have several labels or none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phonecv.classify.many_result import LabelsResult
from phonecv.data.pictures.opening import reopen
from phonecv.plots import COLOURS, INK, save_image_grid
from phonecv.tables import write_csv
from phonecv.text import counted, printable_name
from phonecv.whole.report import WORST

COLUMNS = ("class", "count", "ap", "f1", "precision", "recall", "threshold")


def write_files(result: LabelsResult, out: Path) -> None:
    """Write per_class.csv, predictions.csv (labels, and the probability of each class) and labels.png."""
    write_csv(
        out / "per_class.csv",
        COLUMNS,
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
