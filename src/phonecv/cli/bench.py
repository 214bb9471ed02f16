"""`phonecv bench`: latency and throughput, side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from phonecv.benchmarking.options import BenchOptions
from phonecv.cli.completing import models_like
from phonecv.cli.options import Formats, check_there, listed
from phonecv.cli.output import say, say_found
from phonecv.cli.task_options import with_options
from phonecv.errors import UserError
from phonecv.models.names import check_named


@with_options
def bench(
    *models: Annotated[str, Parameter(name="NAME|FILE", completer=models_like)],
    serve: Annotated[bool, Parameter(negative="")] = False,
    host: str = "0.0.0.0",
    port: int | None = None,
    https: Annotated[bool, Parameter(negative="")] = False,
    variants: Annotated[bool, Parameter(negative="")] = False,
    data: Path | None = None,
    to: Formats = None,
    json: bool = False,
    options: BenchOptions,
) -> None:
    """Time networks in every runtime that is installed.

    The candidates take turns, round by round, so that a slow moment hits them all: trust the ratios more than the
    times. The deploy form is timed, and outputs are compared with PyTorch's float32 before.

    For example:

    - `phonecv bench emov2_5m`
    - `phonecv bench mobileone_s0 emo_1m --batch 1 --threads 1 --runtime eager,openvino --out runs/bench`
    - `phonecv bench signs.onnx signs.safetensors --baseline signs.safetensors/eager/float32`
    - `phonecv bench runs/signs/best.safetensors --variants --data signs --out runs/variants`
    - `phonecv bench --serve signs.onnx signs.tflite --https --out runs/signs` and open the address on a phone

    Args:
        models: Names that `phonecv models` lists (timed with fresh weights; NAME:TAG takes public ones), checkpoints
            of any layout, or exported files (.onnx, .xml, .pte, .tflite, .param).
        serve: Time nothing here, but offer a page on which a phone times exported .onnx and .tflite files and tries
            them with its camera; until Ctrl-C.
        host: With --serve, the address to listen on; 127.0.0.1 for this computer alone.
        port: With --serve; by default 8420, 0 takes a free one.
        https: With --serve, encrypt with a certificate made for this run. Phones give threads and camera only then.
        variants: Write one network in every format and precision, judge each file on pictures, and put size, load
            time, memory, latency and what was lost into one table (variants.csv, report.html) with the best marked.
        data: With --variants, the pictures: ranges are found on some, files are judged on others.
        to: With --variants, formats, separated by commas; by default all that are installed.
        json: Print JSON.
    """
    if variants:
        _variants(models, data, to, json=json, options=options)
        return
    if data is not None or to is not None:
        raise UserError("--data and --to belong to --variants, as in `phonecv bench signs.pth --variants --data signs`")
    if serve:
        from phonecv.benchmarking.serve import PORT
        from phonecv.benchmarking.serve import serve as offer

        offer(
            models, out=options.out or "runs/phones", host=host, port=PORT if port is None else port, https=https,
            rounds=options.rounds, seconds=options.seconds, say=say_at_once,
        )  # fmt: skip
        return
    if https or port is not None or host != "0.0.0.0":
        raise UserError(
            "--host, --port and --https belong to --serve, as in `phonecv bench --serve signs.onnx --https`"
        )
    if not models:
        raise UserError("name at least one network or file, as in `phonecv bench emov2_5m`")
    for each in models:
        check_named(each)
    from phonecv.benchmarking.run import bench_with

    result = bench_with(models, options)
    where = None if options.out is None else f"table, figures and picture are in {options.out}"
    say_found(result.to_dict, result, where, json=json)


def _variants(models: Sequence[str], data: Path | None, to: str | None, *, json: bool, options: BenchOptions) -> None:
    if len(models) != 1 or data is None:
        raise UserError(
            "--variants takes one network and pictures to judge its files by, as in `phonecv bench signs.safetensors"
            " --variants --data signs`"
        )
    check_there(data)
    from phonecv.benchmarking.variants import VariantsOptions, variants_with

    given: dict[str, Any] = {"formats": None if to is None else listed(to), "out": options.out or "runs/variants"}
    given |= {} if options.precisions is None else {"precisions": options.precisions}
    given |= {} if options.threads is None else {"threads": options.threads[0]}
    own = VariantsOptions(data=data, rounds=options.rounds, seconds=options.seconds, **given)
    result = variants_with(models[0], own)
    say_found(result.to_dict, result, f"files, variants.csv and report.html are in {own.out}", json=json)


def say_at_once(line: str) -> None:
    """Addresses must be seen at once, also through a pipe."""
    say(line)
    sys.stdout.flush()
