"""From a network to int8 files that keep its accuracy: methods are tried in order until the budget holds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonecv.errors import UserError
from phonecv.export import EXPORTERS, get_exporter
from phonecv.export.run import prepared
from phonecv.files import write_json
from phonecv.models import VisionModel
from phonecv.quantize.data import CALIBRATE, CHOOSE, SCORE, Pictures, find, refuse_shared, split_data
from phonecv.quantize.methods import Method, methods_for
from phonecv.quantize.scoring import Score
from phonecv.quantize.sensitivity import LayerNoise
from phonecv.quantize.trials import Trial, Workshop

#: Points of top-1 that may be lost; without labels, percent of pictures whose best class may change. An answer changes
#: more often than it becomes wrong: right ones turn wrong and wrong ones right.
MAX_DROP, MAX_CHANGED = 1.0, 5.0

#: What this makes; float32 is `phonecv.export`.
PRECISIONS = ("int8", "int8-weights", "fp16")


@dataclass(frozen=True, slots=True)
class FormatResult:
    """What came of one format.

    Attributes:
        format: its name.
        path: the file; None where no method met the budget.
        trials: all methods that were tried, in order.
        chosen: the trial that met the budget, or the best one where none did; None where every one failed.
        final: the file's score on the pictures of the last word; None without such pictures or without a file.
    """

    format: str
    path: Path | None
    trials: tuple[Trial, ...]
    chosen: Trial | None
    final: Score | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": self.format,
            "path": None if self.path is None else str(self.path),
            "chosen": None if self.chosen is None else self.chosen.to_dict(),
            "final": None if self.final is None else self.final.to_dict(),
            "trials": [trial.to_dict() for trial in self.trials],
        }


@dataclass(frozen=True, slots=True)
class QuantizeResult:
    """What came of quantizing a network.

    Attributes:
        model: its name.
        precision: of the files.
        max_drop: the budget.
        labelled: whether the budget is points of top-1, rather than percent of changed answers.
        parameters_bytes: of the network in float32.
        calibration: the pictures that ranges were found on.
        choosing: the pictures that methods were chosen by.
        final: the pictures of the last word, or an empty string.
        layers: noise by layer; empty where no activations are quantized.
        formats: by name.
        notes: what a person should know.
    """

    model: str
    precision: str
    max_drop: float
    labelled: bool
    parameters_bytes: int
    calibration: str
    choosing: str
    final: str
    layers: tuple[LayerNoise, ...]
    formats: dict[str, FormatResult]
    notes: tuple[str, ...] = ()

    @property
    def missed(self) -> list[FormatResult]:
        """Formats for which no method met the budget."""
        return [found for found in self.formats.values() if found.path is None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = ("model", "precision", "max_drop", "labelled", "parameters_bytes", "calibration", "choosing", "final")
        return {
            **{name: getattr(self, name) for name in plain},
            "notes": list(self.notes),
            "layers": [noise.to_dict() for noise in self.layers],
            "formats": {name: found.to_dict() for name, found in self.formats.items()},
        }


def quantize(
    model: VisionModel | Path | str,
    folder: Path | str,
    *,
    formats: Sequence[str],
    data: Path | str,
    evaluation: Path | str | None = None,
    max_drop: float | None = None,
    precision: str = "int8",
    calibrate: int = CALIBRATE,
    choose: int = CHOOSE,
    stem: str | None = None,
    methods: Sequence[Method] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> QuantizeResult:
    """Write a classifier with 8-bit numbers, losing no more than `max_drop`.

    For every format, methods are tried in a fixed order (`phonecv.quantize.methods`), each judged by running its file,
    and the first within the budget is kept. No file appears for a format without one.

    Args:
        model: a network, the path of a checkpoint, or a catalog name; it is fused first.
        folder: for the files, ``<stem>-<precision><suffix>``.
        formats: keys of `phonecv.export.EXPORTERS`.
        data: pictures like those the app will see. One half finds ranges, the other half chooses; a data folder with
            ``train`` and ``val`` gives training pictures to the former and validation pictures to the latter. Labels
            are used where the class folders are the network's classes.
        evaluation: other pictures, on which the chosen files are scored, once.
        max_drop: points of top-1 that may be lost (1.0), or without labels percent of pictures whose best class may
            change (5.0).
        precision: of `PRECISIONS`.
        calibrate: pictures to find ranges on, at most.
        choose: pictures to choose by, at most.
        stem: of the files; None for the model's name.
        methods: to try instead of the usual ones.
        on_trial: called after every trial.

    Raises:
        UserError: bad arguments or data, a package is missing, or pictures of the evaluation are among the data.
    """
    exporters = [get_exporter(name) for name in dict.fromkeys(formats)]
    _check(exporters, precision, max_drop)
    from phonecv.create import load_network
    from phonecv.quantize.state import state_of

    network = prepared(load_network(model), "deploy")
    if not isinstance(network, VisionModel) or not network.num_classes:
        raise UserError("only classifiers can be judged by their answers, and so be quantized, so far")
    if state_of(network):
        raise UserError(f"{network.name} is prepared for int8 already; start from the network it was made from")
    calibration, choosing = split_data(data, network, calibrate=calibrate, choose=choose)
    last = None
    if evaluation is not None:
        last = find(evaluation, network).read(network, SCORE)
        refuse_shared(last, calibration, choosing)
    labelled = choosing.labels is not None
    budget = max_drop if max_drop is not None else MAX_DROP if labelled else MAX_CHANGED
    workshop = Workshop(network, calibration, choosing, precision)
    name = stem or (Path(model).stem if isinstance(model, Path | str) else network.name or "model")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    found: dict[str, FormatResult] = {}
    for exporter in exporters:
        target = place / f"{name}-{precision}{exporter.suffix}"
        chosen_methods = list(methods or methods_for(exporter.format, precision, network))
        found[exporter.format] = _search(workshop, exporter.format, chosen_methods, target, budget, last, on_trial)
    result = QuantizeResult(
        model=network.name,
        precision=precision,
        max_drop=budget,
        labelled=labelled,
        parameters_bytes=sum(value.numel() * value.element_size() for value in network.state_dict().values()),
        calibration=calibration.source,
        choosing=choosing.source,
        final="" if last is None else last.source,
        layers=tuple(workshop.noise()) if precision == "int8" else (),
        formats=found,
        notes=_notes(calibration, choosing, last),
    )
    write_json(place / f"{name}-{precision}.quantize.json", result.to_dict())
    return result


def _search(
    workshop: Workshop,
    format: str,
    methods: Sequence[Method],
    target: Path,
    budget: float,
    last: Pictures | None,
    on_trial: Callable[[Trial], None] | None,
) -> FormatResult:
    trials: list[Trial] = []
    for method in methods:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem[:40]}-") as folder:
            path = Path(folder) / target.name
            trial = workshop.attempt(method, format, path)
            trials.append(trial)
            if on_trial is not None:
                on_trial(trial)
            if trial.score is not None and trial.score.drop <= budget:
                move_all(path, target)
                final = None
                if last is not None:
                    final = workshop.judge(target, last, workshop.float_logits(last))
                return FormatResult(format, target, tuple(trials), trial, final)
    scored = [trial for trial in trials if trial.score is not None]
    best = min(scored, key=_lost, default=None)
    return FormatResult(format, None, tuple(trials), best)


def _lost(trial: Trial) -> tuple[float, float]:
    assert trial.score is not None
    return trial.score.drop, -trial.score.decibels


def move_all(path: Path, target: Path) -> None:
    """Move all files beside `path` to where `target` is, the main file last, so that it is never alone."""
    for file in [*(file for file in sorted(path.parent.iterdir()) if file != path), path]:
        place = target.with_name(file.name)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)  # a Core ML package is a folder
        file.replace(place)


def _check(exporters: Sequence[Any], precision: str, max_drop: float | None) -> None:
    if not exporters:
        raise UserError(f"no format was given (known: {', '.join(EXPORTERS)})")
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if max_drop is not None and not 0 <= max_drop < 100:
        raise UserError(f"max_drop {max_drop!r} is not a number of points between 0 and 100; the usual value is 1.0")
    for exporter in exporters:
        if precision not in exporter.precisions:
            can = [name for name, other in EXPORTERS.items() if precision in other.precisions]
            raise UserError(
                f"{exporter.title} files are written as {', '.join(exporter.precisions)}, not as {precision} "
                f"(formats with {precision}: {', '.join(can)})"
            )
        exporter.require()


def _notes(*sets: Pictures | None) -> tuple[str, ...]:
    notes = []
    for pictures in sets[1:]:
        if pictures is not None and pictures.labels is None:
            notes.append(f"{pictures.source} is used without labels: {pictures.note}")
    choosing = sets[1]
    if choosing is not None and len(choosing) < 300:
        one = 100 / len(choosing)
        notes.append(
            f"{len(choosing)} pictures choose the method, and one of them is {one:.1f} points: give more if you can"
        )
    return tuple(notes)


__all__ = ["MAX_CHANGED", "MAX_DROP", "PRECISIONS", "FormatResult", "QuantizeResult", "quantize"]
