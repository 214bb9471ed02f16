"""From a network to int8 files that keep its accuracy: methods are tried in order until the budget holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonecv.create import load_network
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, get_exporter
from phonecv.exporting.run import in_form, move
from phonecv.files import check_writable, scratch_folder, write_json
from phonecv.models.quantized import state_of
from phonecv.options import Count, checked
from phonecv.quantization.data import CALIBRATE, refuse_shared
from phonecv.quantization.methods import Method, methods_for
from phonecv.quantization.result import FormatResult, QuantizeResult
from phonecv.quantization.room import WorkshopOptions, quantizing_of
from phonecv.quantization.workshop import Trial, Workshop
from phonecv.task import done_by

if TYPE_CHECKING:
    from phonecv.models.headed import Network

#: What this makes; float32 is `phonecv.export`.
PRECISIONS = ("int8", "int8-weights", "fp16")


@checked
def quantize(
    model: Network | Path | str,
    folder: Path | str,
    *,
    formats: Sequence[str],
    data: Path | str,
    evaluation: Path | str | None = None,
    max_drop: float | None = None,
    precision: str = "int8",
    size: Count | tuple[Count, Count] | None = None,
    calibrate: Count = CALIBRATE,
    choose: Count | None = None,
    fine_tune: bool = True,
    steps: Count | None = None,
    stem: str | None = None,
    methods: Sequence[Method] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> QuantizeResult:
    """Write a network with 8-bit numbers, losing no more than `max_drop`.

    For every format, methods are tried in a fixed order (`phonecv.quantization.methods`), each judged by running
    its file, and the first within the budget is kept. No file appears for a format without one.

    Args:
        model: a network, the path of a checkpoint, or a catalog name; it is fused first.
        folder: for the files, ``<stem>-<precision><suffix>``.
        formats: keys of `phonecv.exporting.EXPORTERS`.
        data: pictures like those the app will see. One half finds ranges, the other half chooses; a data folder with
            ``train`` and ``val`` gives training pictures to the former and validation pictures to the latter. Labels
            are used where the class folders are a classifier's classes; detectors and segmenters need none.
        evaluation: other pictures, on which the chosen files are scored, once.
        max_drop: what may be lost; None for what is usual: points of top-1 (1.0); without labels percent of pictures
            whose best class may change (5.0), of pixels that may (2.0), or of confident detections that may come or go
            (5.0).
        precision: of `PRECISIONS`.
        size: input height and width of a detector or segmenter; None for its own.
        calibrate: pictures to find ranges on, and to fine-tune on, at most.
        choose: pictures to choose by, at most; None for 1000, for detectors and segmenters 100.
        fine_tune: try quantization-aware fine-tuning where nothing else meets the budget.
        steps: of that training; None for the usual number.
        stem: of the files; None for the model's name.
        methods: to try instead of the usual ones.
        on_trial: called after every trial.
        say: called with lines about what takes long.

    Raises:
        UserError: bad arguments or data, a package is missing, or pictures of the evaluation are among the data.
    """
    exporters = [get_exporter(name) for name in dict.fromkeys(formats)]
    _check(exporters, precision, max_drop)
    check_writable(Path(folder) / "file")
    network = in_form(load_network(model, task=None), "deploy")
    if state_of(network):
        raise UserError(f"{network.name} is prepared for int8 already; start from the network it was made from")
    room = quantizing_of(done_by(network))
    if precision == "int8":
        room.check_int8(network, [exporter.format for exporter in exporters])
    workshop = room.open_workshop(network, WorkshopOptions(data, calibrate, choose, size))
    last = None
    if evaluation is not None:
        last = workshop.last_pictures(evaluation)
        refuse_shared(last, workshop.calibration, workshop.choosing)
    _ = workshop.reference  # what is unreadable, or shows nothing, is told now
    workshop.precision, workshop.say = precision, say
    if steps is not None:
        workshop.tuning = replace(workshop.tuning, steps=steps)
    network, measure = workshop.network, workshop.measure
    budget = measure.budget if max_drop is None else max_drop
    name = stem or (Path(model).stem if isinstance(model, Path | str) else network.name.replace(" ", "_") or "model")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    found: dict[str, FormatResult] = {}
    for exporter in exporters:
        target = place / f"{name}-{precision}{exporter.suffix}"
        chosen_methods = list(methods or methods_for(exporter.format, precision, network, fine_tune=fine_tune))
        found[exporter.format] = _search(workshop, exporter.format, chosen_methods, target, budget, last, on_trial)
    result = QuantizeResult(
        model=network.name,
        precision=precision,
        max_drop=budget,
        measure=measure,
        parameters_bytes=sum(value.numel() * value.element_size() for value in network.state_dict().values()),
        calibration=workshop.calibration.source,
        choosing=workshop.choosing.source,
        final="" if last is None else last.source,
        layers=tuple(workshop.layers()) if precision == "int8" else (),
        formats=found,
        notes=workshop.notes(last),
    )
    write_json(place / f"{name}-{precision}.quantize.json", result.to_dict())
    return result


def _search(
    workshop: Workshop[Any],
    format: str,
    methods: Sequence[Method],
    target: Path,
    budget: float,
    last: Any,
    on_trial: Callable[[Trial], None] | None,
) -> FormatResult:
    trials: list[Trial] = []
    for method in methods:
        with scratch_folder(target) as folder:
            path = folder / target.name
            trial = workshop.attempt(method, format, path)
            trials.append(trial)
            if on_trial is not None:
                on_trial(trial)
            if trial.score is not None and trial.score.drop <= budget:
                move(path, folder, target)
                final = None
                if last is not None:
                    final = workshop.final(target, last)
                return FormatResult(format, target, tuple(trials), trial, final)
    scored = [trial for trial in trials if trial.score is not None]
    best = min(scored, key=_lost, default=None)
    return FormatResult(format, None, tuple(trials), best)


def _lost(trial: Trial) -> tuple[float, float]:
    assert trial.score is not None
    return trial.score.drop, -trial.score.decibels


def _check(exporters: Sequence[Any], precision: str, max_drop: float | None) -> None:
    if not exporters:
        raise UserError(f"no format was given (known: {', '.join(EXPORTERS)})")
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if max_drop is not None and not 0 <= max_drop < 100:
        raise UserError(f"max_drop {max_drop!r} is not a number of points between 0 and 100; the usual value is 1.0")
    for exporter in exporters:
        exporter.check_precision(precision)
        exporter.require()


__all__ = ["PRECISIONS", "FormatResult", "QuantizeResult", "quantize"]
