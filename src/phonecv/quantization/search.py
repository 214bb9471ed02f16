"""From a network to int8 files that keep its accuracy: methods are tried in order until the budget holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonecv.create import load_network
from phonecv.data.splitting.lists import own_lists
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, get_exporter
from phonecv.exporting.run import in_form, move
from phonecv.exporting.targets import stem_of
from phonecv.files import check_writable, scratch_folder, write_json
from phonecv.models.quantized import state_of
from phonecv.options import by_keywords
from phonecv.quantization.data import refuse_shared
from phonecv.quantization.methods import Method, methods_for
from phonecv.quantization.options import QuantizeOptions
from phonecv.quantization.result import FormatResult, QuantizeResult, Trial
from phonecv.quantization.room import quantizing_of
from phonecv.quantization.workshop import Workshop
from phonecv.task import done_by

if TYPE_CHECKING:
    from phonecv.models.headed import Network


def quantize_with(model: Network | Path | str, folder: Path | str, options: QuantizeOptions) -> QuantizeResult:
    """Write a network with 8-bit numbers, losing no more than `max_drop`.

    For every format, methods are tried in a fixed order (`phonecv.quantization.methods`), each judged by running
    its file, and the first within the budget is kept. No file appears for a format without one.

    Args:
        model: a network, the path of a checkpoint, or a catalog name; it is fused first.
        folder: for the files, ``<stem>-<precision><suffix>``.
        options: to what, on which pictures, and how far it may go.

    Raises:
        UserError: bad arguments or data, a package is missing, or pictures of the evaluation are among the data.
    """
    exporters = [get_exporter(name) for name in dict.fromkeys(options.formats)]
    precision = options.precision
    if not exporters:
        raise UserError(f"no format was given (known: {', '.join(EXPORTERS)})")
    for exporter in exporters:
        exporter.check_precision(precision)
        exporter.require()
    check_writable(Path(folder) / "file")
    network = in_form(load_network(model, task=None), "deploy")
    if state_of(network):
        raise UserError(f"{network.name} is prepared for int8 already; start from the network it was made from")
    room = quantizing_of(done_by(network))
    if precision == "int8":
        room.check_int8(network, [exporter.format for exporter in exporters])
    if options.lists is None:
        options = replace(options, lists=own_lists(model, options.data))
    workshop = room.open_workshop(network, options)
    last = None
    if options.evaluation is not None:
        last = workshop.last_pictures(options.evaluation)
        refuse_shared(last, workshop.calibration, workshop.choosing)
    _ = workshop.reference  # what is unreadable, or shows nothing, is told now
    workshop.precision, workshop.say = precision, options.say
    workshop.tuning = replace(workshop.tuning, steps=options.fine_tune_steps)
    network, measure = workshop.network, workshop.measure
    budget = measure.budget if options.max_drop is None else options.max_drop
    name = options.stem or stem_of(model)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    found: dict[str, FormatResult] = {}
    for exporter in exporters:
        target = place / f"{name}-{precision}{exporter.suffix}"
        methods = options.methods or methods_for(exporter.format, precision, network, fine_tune=options.fine_tune)
        found[exporter.format] = _search(workshop, exporter.format, methods, target, budget, last, options.on_trial)
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


quantize = by_keywords(quantize_with, QuantizeOptions)


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
