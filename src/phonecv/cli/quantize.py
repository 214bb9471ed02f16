"""`phonecv quantize`: 8-bit files that keep a network's accuracy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from phonecv.cli.options import Ema, Force, Model, Source, load, pixels
from phonecv.cli.output import printable, say, say_json, text_table
from phonecv.errors import UserError

if TYPE_CHECKING:
    from phonecv.quantization.result import QuantizeResult
    from phonecv.quantization.workshop import Trial

#: Layers in the printed table.
_WORST = 8


def quantize(
    source: Source,
    folder: Path,
    /,
    *,
    to: str,
    data: Path,
    evaluation: Annotated[Path | None, Parameter(name="--eval")] = None,
    max_drop: float | None = None,
    precision: Literal["int8", "int8-weights", "fp16"] = "int8",
    size: str | None = None,
    calibrate: int = 128,
    choose: int | None = None,
    fine_tune: Annotated[bool, Parameter(negative="--no-fine-tune")] = True,
    fine_tune_steps: int = 150,
    latency: bool = False,
    model: Model = None,
    ema: Ema = None,
    force: Force = False,
    json: bool = False,
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
        to: Formats, separated by commas: onnx, openvino, executorch, litert; weights alone also coreml.
        data: Pictures like those the app will see, 200 or more. One half finds ranges, the other one chooses; of a data
            folder, train/ and val/. With class folders right answers are counted, otherwise changed ones.
        evaluation: Other pictures, on which the chosen files are scored, once; with labels in mIoU or AP.
        max_drop: Points of top-1 that may be lost (1.0). Without labels percent of answers that may change (5.0), of
            pixels (2.0), or of a detector's confident boxes that may come or go (5.0).
        precision: 8-bit weights and activations, 8-bit weights alone, or half precision.
        size: Input side in pixels, or HEIGHTxWIDTH, of a detector or segmenter; by default its own.
        calibrate: Pictures to find ranges on, and to fine-tune on, at most.
        choose: Pictures to choose by, at most (1000; detectors and segmenters 100).
        fine_tune: Where nothing else meets the budget, train the fused network in 8 bits for a few minutes, taught by
            the float one on the calibration pictures.
        fine_tune_steps: Batches of that training.
        latency: Time the files against the same runtime's float32, one thread on one core.
        json: Print JSON.
    """
    from phonecv.exporting import get_exporter

    exporters = [get_exporter(name) for name in dict.fromkeys(part.strip() for part in to.split(",") if part.strip())]
    if not exporters:
        raise UserError(f"--to {to!r} names no format; `phonecv doctor` lists them")
    stem = Path(source.partition(":")[0]).stem
    for exporter in exporters:
        path = folder / f"{stem}-{precision}{exporter.suffix}"
        if path.exists() and not force:
            raise UserError(f"{str(path)!r} exists already; --force replaces it")
        exporter.require()
    if fine_tune_steps < 1:
        raise UserError(f"--fine-tune-steps {fine_tune_steps} is not positive; --no-fine-tune leaves it out")
    network = load(source, model, ema)
    from phonecv.benchmarking.against_float32 import against_float32
    from phonecv.quantization.search import quantize as run

    def tell(trial: Trial) -> None:
        if not json:
            say(f"{trial.format}: {trial.method}: {trial.error or trial.score} [{trial.seconds:.0f} s]")

    def tell_meanwhile(line: str) -> None:
        print(printable(line), file=sys.stderr, flush=True)

    result = run(
        network, folder, formats=[exporter.format for exporter in exporters], data=data, evaluation=evaluation,
        max_drop=max_drop, precision=precision, size=pixels(size), calibrate=calibrate, choose=choose,
        fine_tune=fine_tune, steps=fine_tune_steps, stem=stem, on_trial=tell, say=tell_meanwhile,
    )  # fmt: skip
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
