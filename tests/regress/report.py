from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phonecv.rules import NUMBER
from phonecv.tables import write_csv
from regress.result import RegressionResult

FIGURES = {"mean_error": NUMBER}
CLASSES = None
PICTURES: tuple[tuple[str, str, str], ...] = ()


def tiles(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(f"{summary['mean_error']:.3f}", "mean error")]


def write_files(result: RegressionResult, out: Path) -> None:
    write_csv(out / "numbers.csv", ("wanted", "found"), zip(result.wanted, result.found, strict=True))
