"""`train` and `distill`: from a configuration to a finished run folder.

Imports little: mistakes in the configuration show before the heavy libraries are loaded, and with several
devices only the processes that train load them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from phonecv.errors import UserError
from phonecv.training.config import TrainConfig

SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a training left.

    Attributes:
        run_dir: the run folder.
        finished: False when it was stopped; the same call goes on.
        best: checkpoint of the best network, live or averaged, or None before the first evaluation.
        last: checkpoint of the live network after the last whole epoch, or None before that.
        best_score: its top-1, AP or mIoU in percent.
        best_epoch: the epoch it is from, counted from 1.
        best_net: "net" (live) or "ema".
        history: rows of metrics.csv, one for each epoch, empty cells left out.
        steps: rows of steps.csv.
    """

    run_dir: Path
    finished: bool
    best: Path | None
    last: Path | None
    best_score: float | None
    best_epoch: int
    best_net: str
    history: list[dict[str, float]] = field(repr=False)
    steps: list[dict[str, float]] = field(repr=False)

    def __str__(self) -> str:
        reached = "nothing was evaluated"
        if self.best is not None and self.best_score is not None:
            net = "averaged weights" if self.best_net == "ema" else "live weights"
            reached = f"best {self.best_score:.2f} ({net}, epoch {self.best_epoch}), {self.best}"
        return f"{self.run_dir}: {'finished' if self.finished else 'stopped, the same call goes on'}; {reached}"


def train(config: TrainConfig, *, devices: int = 1) -> RunResult:
    """Train, or go on with a training that was stopped or killed in the same run folder.

    A script that trains with several devices needs the usual ``if __name__ == "__main__":`` guard, because the
    other processes import it.

    Args:
        config: see `phonecv.training.load_config`; `data.path` and `run.out` must be set.
        devices: processes on this machine, one per GPU where there are any. Under torchrun leave it 1.

    Raises:
        UserError: the configuration, the data or the folder cannot be used, or the loss is not finite.
    """
    from phonecv.training.checks import check_before

    check_before(config, devices)
    from phonecv.training.launch import launch

    launch("phonecv.training.job:work", config, devices, device=config.run.device)
    return read_result(Path(config.run.out))


def distill(config: TrainConfig, *, devices: int = 1) -> RunResult:
    """Train with a teacher beside the labels: `train`, of a configuration that names one (`distill.teacher`).

    Raises:
        UserError: it names none, or as `train` says.
    """
    check_teacher(config)
    return train(config, devices=devices)


def check_teacher(config: TrainConfig, named: str = "the configuration", by: str = "distill.teacher=") -> None:
    """Refuse a configuration without a teacher; `named` says what it is, `by` what to write before the teacher."""
    if config.flat()["distill.teacher"] is None:
        raise UserError(f"{named} names no teacher; pass {by}timm:NAME, a network's name or a checkpoint")


def read_result(folder: Path) -> RunResult:
    """What a run folder holds."""
    summary: Mapping[str, Any] = {}
    if (folder / SUMMARY).is_file():
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    best, last = folder / "best.safetensors", folder / "last.safetensors"
    known = {field.name for field in fields(RunResult)} & summary.keys()
    values: dict[str, Any] = {"finished": False, "best_score": None, "best_epoch": 0, "best_net": ""}
    return RunResult(
        run_dir=folder,
        best=best if best.is_file() else None,
        last=last if last.is_file() else None,
        history=_rows(folder / "metrics.csv"),
        steps=_rows(folder / "steps.csv"),
        **(values | {name: summary[name] for name in known}),
    )


def _rows(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]
