"""`compare`: what several trainings differ in, what came of it, and whether that can be told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv import plots
from phonecv.data.json_file import read_json_file
from phonecv.errors import UserError
from phonecv.files import write_text
from phonecv.report import page, picture, table
from phonecv.settings import written
from phonecv.tables import FIGURES, text_table
from phonecv.text import counted, lasting, printable, unique_names
from phonecv.training.config import FREE, TrainConfig
from phonecv.training.folder import CONFIG
from phonecv.training.recipe import load_config
from phonecv.training.run import SUMMARY

#: Settings that no comparison is about.
_APART = FREE - {"run.recipe"} | {"data.path"}


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A training that is compared.

    Attributes:
        name: of its folder; made different where two are alike.
        folder: the run folder.
        config: what was set.
        summary: what summary.json says.
    """

    name: str
    folder: Path
    config: TrainConfig
    summary: Mapping[str, Any]

    @property
    def last(self) -> tuple[float, float | None]:
        """The score after the last epoch, of the better of live and averaged weights, and its standard error."""
        scores, errors = self.summary["last_scores"], self.summary.get("last_errors", {})
        net = max(scores, key=lambda name: scores[name])
        return scores[net], errors.get(net)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Trainings beside each other; prints itself as tables.

    Attributes:
        runs: in the order given.
        score: the figure that they are judged by.
        settings: those that differ, by name, a value for each run.
        figures: what came of it, by what it is, a text for each run.
        notes: what to know of the difference.
    """

    runs: tuple[ComparedRun, ...]
    score: str
    settings: Mapping[str, tuple[Any, ...]]
    figures: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        names = [run.name for run in self.runs]
        parts = [text_table(("", *names), self._setting_rows())] if self.settings else ["no setting differs"]
        parts.append(text_table(("", *names), self._figure_rows()))
        return "\n\n".join([*parts, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain values: runs, settings, scores after the last epoch with standard errors, notes."""
        return {
            "runs": [str(run.folder) for run in self.runs],
            "score": self.score,
            "settings": {name: [written(value) for value in values] for name, values in self.settings.items()},
            "last": [{"score": score, "error": error} for score, error in (run.last for run in self.runs)],
            "best": [run.summary.get("best_score") for run in self.runs],
            "notes": list(self.notes),
        }

    def write(self, folder: Path) -> Path:
        """Write compare.html, a page with tables and curves, and curves.png; returns the page."""
        folder.mkdir(parents=True, exist_ok=True)
        tables = {run.name: run.folder / "metrics.csv" for run in self.runs}
        curves = plots.save_compared(tables, folder / "curves.png", score=self.score)
        names = [run.name for run in self.runs]
        title = f"{' and '.join(names)} compared"
        parts = [
            f"<h1>{printable(title)}</h1>",
            "<h2>Figures</h2>",
            table(("", *names), self._figure_rows()),
            *(f'<p class="soft">{note}</p>' for note in self.notes),
            "<h2>Settings that differ</h2>" if self.settings else "<h2>No setting differs</h2>",
            table(("", *names), self._setting_rows()) if self.settings else "",
            picture(curves, "Curves", "Of each run the better of live and averaged weights."),
        ]
        path = folder / "compare.html"
        write_text(path, page(title, parts))
        return path

    def _setting_rows(self) -> list[tuple[str, ...]]:
        return [(name, *map(written, values)) for name, values in self.settings.items()]

    def _figure_rows(self) -> list[tuple[str, ...]]:
        return [(name, *values) for name, values in self.figures.items()]


def compare(*runs: Path | str, out: Path | str | None = None) -> Comparison:
    """Put trainings beside each other: settings that differ, figures with standard errors, curves over each other.

    Args:
        runs: run folders of trainings, two or more.
        out: folder for compare.html and curves.png; None writes nothing.

    Raises:
        UserError: fewer than two; one that is no run or has no figures yet; figures of other tasks or other validation
            pictures, which say nothing about each other.
    """
    if len(runs) < 2:
        raise UserError(f"{counted(len(runs), 'runs')} cannot be compared; give two run folders or more")
    names = unique_names([Path(run).resolve().name for run in runs])
    read = tuple(_read(name, Path(run)) for name, run in zip(names, runs, strict=True))
    for other in read[1:]:
        _check_comparable(read[0], other)
    flats = [run.config.flat() for run in read]
    differing = {
        name: tuple(flat[name] for flat in flats)
        for name in flats[0]
        if name not in _APART and any(flat[name] != flats[0][name] for flat in flats)
    }
    found = Comparison(read, read[0].summary["score"], differing, _figures(read), _notes(read, differing))
    if out is not None:
        found.write(Path(out))
    return found


def _read(name: str, folder: Path) -> ComparedRun:
    if not (folder / CONFIG).is_file():
        what = "no run folder of a training" if folder.is_dir() else "not there"
        raise UserError(f"{printable(folder)} is {what}; give folders that `phonecv train --out` has made")
    summary = read_json_file(folder / SUMMARY) if (folder / SUMMARY).is_file() else {}
    if not (isinstance(summary, dict) and isinstance(summary.get("last_scores"), dict) and summary["last_scores"]):
        raise UserError(f"{printable(folder)} has no figures yet; train on: phonecv train {folder / CONFIG}")
    return ComparedRun(name, folder, load_config(folder / CONFIG), summary)


def _check_comparable(one: ComparedRun, other: ComparedRun) -> None:
    """Refuse figures that say nothing about each other."""
    start = f"{one.folder} and {other.folder} cannot be compared:"
    for what in ("task", "score"):
        if one.summary[what] != other.summary[what]:
            raise UserError(f"{start} the {what} of one is {one.summary[what]}, of the other {other.summary[what]}")
    mine, theirs = one.summary.get("data"), other.summary.get("data")
    if mine and theirs:
        if mine["names"] != theirs["names"]:
            counts = f"{mine['classes']} and {theirs['classes']}"
            raise UserError(f"{start} they learned other classes ({counts})")
        same = mine["val"] == theirs["val"]
    else:
        same = one.summary["images"] == other.summary["images"] and one.config.data.path == other.config.data.path
    if not same:
        judged = " and ".join(
            f"{counted(run.summary['images'], 'pictures')} of {run.config.data.path}" for run in (one, other)
        )
        raise UserError(f"{start} they were judged by other pictures ({judged}); `phonecv eval` both on the same")


def _figures(runs: Sequence[ComparedRun]) -> dict[str, tuple[str, ...]]:
    score = FIGURES.get(runs[0].summary["score"], runs[0].summary["score"])
    rows: dict[str, list[str]] = {}
    for run in runs:
        summary = run.summary
        value, error = run.last
        best = summary.get("best_score")
        texts = {
            f"{score}, last epoch": f"{value:.2f}" + (f" ± {error:.2f}" if error is not None else ""),
            "best epoch": "" if best is None else f"{best:.2f} (epoch {summary['best_epoch']})",
            "epochs": f"{summary['epoch']}" + ("" if summary["finished"] else ", not finished"),
            "time": lasting(summary["seconds"]),
        }
        for name, text in texts.items():
            rows.setdefault(name, []).append(text)
    return {name: tuple(texts) for name, texts in rows.items()}


def _notes(runs: Sequence[ComparedRun], differing: Mapping[str, object]) -> tuple[str, ...]:
    """Whether the first and the second by score can be told apart, and what else keeps from concluding."""
    first, second = sorted(runs, key=lambda run: run.last[0], reverse=True)[:2]
    notes = []
    ahead = first.last[0] - second.last[0]
    errors = [run.last[1] for run in (first, second)]
    if errors[0] is not None and errors[1] is not None:
        noise = math.hypot(errors[0], errors[1])
        verdict = "that may well be chance" if ahead < 2 * noise else "that is more than chance of the pictures"
        notes.append(f"{first.name} is ahead of {second.name} by {ahead:.2f} ± {noise:.2f}: {verdict}")
    else:
        notes.append(f"{first.name} is ahead of {second.name} by {ahead:.2f}; no standard error is known of it")
    if "run.seed" not in differing or len(differing) > 1:
        notes.append("another seed moves a score too: train each with several (--seed) before you decide by little")
    return tuple(notes)
