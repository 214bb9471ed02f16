"""`phonecv quantize`: 8-bit files that keep a network's accuracy."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from phonecv.cli.options import Ema, Force, Model, Source, check_there, load, loading
from phonecv.cli.output import printable, say, say_json
from phonecv.cli.task_options import with_options
from phonecv.errors import UserError
from phonecv.quantization.options import QuantizeOptions
from phonecv.tables import text_table

if TYPE_CHECKING:
    from phonecv.quantization.result import QuantizeResult, Trial

#: Layers in the printed table.
_WORST = 8


@with_options
def quantize(
    source: Source,
    folder: Path,
    /,
    *,
    latency: bool = False,
    model: Model = None,
    ema: Ema = None,
    force: Force = False,
    json: bool = False,
    options: QuantizeOptions,
) -> int:
    """Write a network with 8-bit numbers, and measure what that costs on your pictures.

    For each format the known remedies are tried in order (ranges, bias correction, equalisation, ReLU6 rescaling,
    sensitive layers in floating point, quantization-aware fine-tuning), every file is run, and the first one within
    --max-drop is kept. Where none is, no file is written, the best that was found is named, and the exit status is 1.

    For example:

    - `phonecv quantize runs/signs/best.safetensors phone --to onnx,litert --data signs`
    - `phonecv quantize mobileone_s0.pth.tar phone --to openvino --data photos --max-drop 2`
    - `phonecv quantize runs/signs/best.safetensors phone --to onnx --data signs --eval signs-test --latency`
    - `phonecv quantize runs/cells/best.safetensors phone --to onnx,openvino --data cells --size 320`

    Args:
        folder: Where the files go.
        latency: Time the files against the same runtime's float32, one thread on one core.
        json: Print JSON.
    """
    loading(source, model, ema)
    check_there(options.data)
    from phonecv.exporting import get_exporter

    exporters = [get_exporter(name) for name in options.formats]
    if not exporters:
        raise UserError("--to names no format; `phonecv doctor` lists them")
    stem = Path(source.partition(":")[0]).stem
    for exporter in exporters:
        path = folder / f"{stem}-{options.precision}{exporter.suffix}"
        if path.exists() and not force:
            raise UserError(f"{str(path)!r} exists already; --force replaces it")
        exporter.require()
    network = load(source, model, ema)
    from phonecv.benchmarking.against_float32 import against_float32
    from phonecv.quantization.search import quantize_with

    def tell(trial: Trial) -> None:
        if not json:
            say(f"{trial.format}: {trial.method}: {trial.error or trial.score} [{trial.seconds:.0f} s]")

    def tell_meanwhile(line: str) -> None:
        print(printable(line), file=sys.stderr, flush=True)

    own = replace(options, stem=stem, on_trial=tell, say=tell_meanwhile)
    result = quantize_with(network, folder, own)
    times = against_float32(network, result.files) if latency else {}
    if json:
        say_json(result.to_dict() | {"latency": times})
    else:
        _report(result)
        for name, figures in times.items():
            say(f"{name}: {figures['milliseconds']:.2f} ms, float32 {figures['float32_milliseconds']:.2f} ms: "
                f"{figures['ratio']:.2f} of it")  # fmt: skip
    return int(bool(result.missed))


def _report(result: QuantizeResult) -> None:
    for note in result.notes:
        say(f"note: {note}")
    if result.layers:
        worst = sorted(result.layers, key=lambda noise: noise.own if noise.alone is None else noise.alone)[:_WORST]
        rows = [
            (noise.name, noise.kind, noise.parameters, *map(_decibels, (noise.own, noise.total, noise.alone)))
            for noise in worst
        ]
        say()
        say("signal-to-noise in dB of the layers that cost most, before remedies: own output, behind all the others,")
        say("and the network's output when only this layer is rounded")
        say(text_table(("layer", "kind", "values", "own", "behind", "alone"), rows, right=(2, 3, 4, 5)))
    say()
    for found in result.formats.values():
        chosen = found.chosen
        if found.path is not None and chosen is not None:
            smaller = result.parameters_bytes / chosen.bytes
            size = f"{chosen.bytes / 1e6:.2f} MB, {smaller:.1f} times smaller than the float32 weights"
            say(f"wrote {found.path} ({size})")
            say(f"  method: {chosen.method}; to choose by, {result.choosing}: {chosen.score}")
            if found.final is not None:
                say(f"  last word, {result.final}: {found.final}")
        elif chosen is not None:
            say(f"{found.format}: no file. At most {result.max_drop:g} {result.measure.name} are allowed; the best was "
                f"{chosen.method!r}: {chosen.score}")  # fmt: skip
            say("  what can help: pictures closer to the app's (--data), a larger --max-drop,")
            trained = any(trial.fine_tuning for trial in found.trials)
            more = "more --fine-tune-steps" if trained else "quantization-aware fine-tuning (without --no-fine-tune)"
            say(f"  --precision int8-weights{f', or {more}' if result.precision == 'int8' else ''}")
        else:
            say(f"{found.format}: no file. Every method failed; the last one: {found.trials[-1].error}")


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
