"""`phonecv quantize`: 8-bit files that keep a network's accuracy."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from phonecv.cli.options import Ema, Force, Model, Source, check_there, load, loading
from phonecv.cli.output import printable, say, say_found
from phonecv.cli.task_options import with_options
from phonecv.errors import UserError
from phonecv.quantization.options import QuantizeOptions

if TYPE_CHECKING:
    from phonecv.quantization.result import Trial


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
    lines = [
        f"{name}: {figures['milliseconds']:.2f} ms, float32 {figures['float32_milliseconds']:.2f} ms: "
        f"{figures['ratio']:.2f} of it"
        for name, figures in times.items()
    ]
    say_found(lambda: result.to_dict() | {"latency": times}, result, *lines, json=json)
    return int(bool(result.missed))
