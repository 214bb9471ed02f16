"""The folder of a generator's evaluation: tables for programs, samples for people, and how the page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phonecv.generation.pictures import save_grid
from phonecv.generation.result import GenerationResult
from phonecv.report import ClassTable
from phonecv.rules import COUNT, NUMBER
from phonecv.tables import write_csv
from phonecv.text import counted, printable_name

FIGURES = {"samples": COUNT, "frechet_distance": NUMBER, "agreement_percent": NUMBER}
CLASSES = ClassTable(
    {"class": "class", "count": "samples", "agreeing": "read as asked for", "agreement_percent": "%"},
    ("agreement_percent",),
)
PICTURES = (
    ("samples.png", "Samples", "Of an evaluation with the class asked for; of a training all classes in turn."),
)


def tiles(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The distance, and the agreement where there is one."""
    shown = []
    if summary.get("frechet_distance") is not None:
        on = f"{counted(summary['samples'], 'samples')}, {counted(summary['count'], 'pictures')}"
        shown.append((f"{summary['frechet_distance']:.2f}", f"Frechet distance, {on}"))
    if summary.get("agreement_percent") is not None:
        shown.append((f"{summary['agreement_percent']:.1f} %", "samples read as the class asked for"))
    return shown


def write_files(result: GenerationResult, out: Path) -> None:
    """Write per_class.csv and samples.png."""
    rows = [
        (name, count, agreeing, f"{100 * agreeing / count:.2f}") for name, count, agreeing in result.per_class
    ] if result.read else []  # fmt: skip
    write_csv(out / "per_class.csv", ("class", "count", "agreeing", "agreement_percent"), rows)
    captions = [printable_name(result.classes[label]) for label in result.asked]
    save_grid(result.shown, out / "samples.png", captions=captions)
