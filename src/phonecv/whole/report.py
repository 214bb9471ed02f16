"""The folder of an evaluation: tables for programs, pictures for people, and how the page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phonecv.plots import COLOURS, INK, save_confusion, save_image_grid
from phonecv.report import ClassTable
from phonecv.rules import COUNT, NUMBER
from phonecv.tables import write_csv
from phonecv.text import counted, printable_name
from phonecv.whole.predict import Show
from phonecv.whole.result import WholeResult

#: Pictures in the grid of the worst.
WORST = 24

FIGURES = {"top1": COUNT, "top5": COUNT, "top1_percent": NUMBER, "top5_percent": NUMBER}
CLASSES = ClassTable(
    {"class": "class", "count": "pictures", "top1": "top-1", "top5": "top-5", "top1_percent": "top-1 %"},
    ("top1_percent",),
)
PICTURES = (
    ("confusion.png", "Confusion matrix", "True classes in rows, predicted ones in columns."),
    ("worst.png", "Hardest pictures", "Those whose true class got the least probability."),
)


def tiles(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Top-1, and top-5 where it says something."""
    return [
        (f"{summary[f'{name}_percent']:.2f} %", f"{name[:-1]}-{name[-1]}, {summary[name]} of {summary['count']}")
        for name in ("top1", "top5")
        if name in summary and f"{name}_percent" in summary
    ]


def write_files(result: WholeResult, out: Path, *, show: Show) -> None:
    """Write per_class.csv, predictions.csv, confusion.png and worst.png into the folder; `show` draws a file."""
    write_csv(
        out / "per_class.csv",
        ("class", "count", "top1", "top5", "top1_percent"),
        ((row.name, row.count, row.top1, row.top5, f"{100 * row.top1 / row.count:.2f}") for row in result.per_class),
    )
    names = result.classes
    write_csv(
        out / "predictions.csv",
        ("path", "true", "predicted", "probability", "true_probability", "rank"),
        (
            (
                i.path,
                names[i.label],
                names[i.predicted],
                f"{i.probability:.6f}",
                f"{i.true_probability:.6f}",
                i.rank + 1,
            )
            for i in result.images
        ),
    )
    save_confusion(result.confusion, names, out / "confusion.png", title=str(result.accuracy))
    save_worst(result, out / "worst.png", show=show)


def save_worst(result: WholeResult, png_path: Path, *, show: Show) -> None:
    """Draw the pictures whose true class got the least probability."""
    names = result.classes
    worst = result.worst[:WORST]
    mistakes = sum(image.rank > 0 for image in result.images)
    save_image_grid(
        [show(image.path) for image in worst],
        [
            f"{image.path.name}\nis {printable_name(names[image.label])} {image.true_probability:.1%}\n"
            + (f"→ {printable_name(names[image.predicted])} {image.probability:.1%}" if image.rank else "right")
            for image in worst
        ],
        png_path,
        title=f"Least probable true class ({counted(mistakes, 'mistakes')} in all)",
        colours=[COLOURS[1] if image.rank else INK for image in worst],
    )
