"""`phonecv bench`: latency and throughput, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from phonecv.cli.options import listed, pixels
from phonecv.cli.output import say, say_json, text_table
from phonecv.errors import UserError


def bench(
    *models: Annotated[str, Parameter(name="NAME|FILE")],
    batch: str = "1,16",
    threads: str | None = None,
    precision: str | None = None,
    runtime: str | None = None,
    device: str = "cpu",
    size: str | None = None,
    form: Literal["deploy", "training"] = "deploy",
    layout: Literal["auto", "nchw", "nhwc"] = "auto",
    baseline: str | None = None,
    rounds: int = 30,
    seconds: float = 15.0,
    memory: Annotated[bool, Parameter(negative="--no-memory")] = True,
    out: Path | None = None,
    serve: Annotated[bool, Parameter(negative="")] = False,
    host: str = "0.0.0.0",
    port: int | None = None,
    https: Annotated[bool, Parameter(negative="")] = False,
    json: bool = False,
) -> None:
    """Time networks in every runtime that is installed.

    The candidates take turns, round by round, so that a slow moment hits them all: trust the ratios more than the
    times. The deploy form is timed, and outputs are compared with PyTorch's float32 before.

    For example:

    - `phonecv bench emov2_5m`
    - `phonecv bench mobileone_s0 emo_1m --batch 1 --threads 1 --runtime eager,openvino --out runs/bench`
    - `phonecv bench signs.onnx signs.safetensors --baseline signs.safetensors/eager/float32`
    - `phonecv bench --serve signs.onnx signs.tflite --https --out runs/signs` and open the address on a phone

    Args:
        models: Names that `phonecv models` lists (timed with fresh weights; NAME:TAG takes public ones), checkpoints
            of any layout, or exported files (.onnx, .xml, .pte, .tflite, .param).
        batch: Pictures at once; several with commas. 1 is latency, more is throughput.
        threads: CPU threads; by default 1 and all usable cores.
        precision: Of float32, bf16, fp16 and int8; by default those that run here.
        runtime: Of eager, compiled, onnxruntime, openvino, executorch, litert and ncnn; by default the installed ones
            among eager, onnxruntime and openvino, as the others take up to minutes to prepare a network.
        device: Cpu or cuda.
        size: Input side in pixels, or HEIGHTxWIDTH; by default each network's own.
        form: Deploy fuses networks in training form; training times them as they are, and says so in every row.
        layout: How PyTorch's input lies in memory; auto takes the faster one.
        baseline: What ratios refer to, as NETWORK/RUNTIME/PRECISION or a part that only one has; by default the first.
        rounds: At most so many rounds.
        seconds: About so many seconds of rounds for each batch size and number of threads.
        memory: Measure peak memory, too.
        out: Folder for bench.csv, bench.json and bench.png; with --serve for what phones send, runs/phones by default.
        serve: Time nothing here, but offer a page on which a phone times exported .onnx and .tflite files and tries
            them with its camera; until Ctrl-C.
        host: With --serve, the address to listen on; 127.0.0.1 for this computer alone.
        port: With --serve; by default 8420, 0 takes a free one.
        https: With --serve, encrypt with a certificate made for this run. Phones give threads and camera only then.
        json: Print JSON.
    """
    if serve:
        from phonecv.benchmarking.serve import PORT
        from phonecv.benchmarking.serve import serve as offer

        port = PORT if port is None else port
        place = out or Path("runs/phones")
        offer(models, out=place, host=host, port=port, https=https, rounds=rounds, seconds=seconds, say=say_at_once)
        return
    if https or port is not None or host != "0.0.0.0":
        raise UserError(
            "--host, --port and --https belong to --serve, as in `phonecv bench --serve signs.onnx --https`"
        )
    if not models:
        raise UserError("name at least one network or file, as in `phonecv bench emov2_5m`")
    batches, counts = numbers("--batch", batch), None if threads is None else numbers("--threads", threads)
    from phonecv.benchmarking.report import table
    from phonecv.benchmarking.run import bench as run

    result = run(
        models,
        batches=batches,
        threads=counts,
        precisions=None if precision is None else listed(precision),
        runtimes=None if runtime is None else listed(runtime),
        device=device,
        size=pixels(size),
        form=form,
        layout=layout,
        baseline=baseline,
        rounds=rounds,
        seconds=seconds,
        memory=memory,
        out=out,
    )
    if json:
        say_json(result.to_dict())
        return
    for rows in result.groups().values():
        header, lines, right = table(rows)
        say(text_table(header, lines, right=right))
        say()
    say(f"ratio: times as fast as {result.baseline}; of peak: share of a large matrix product of that precision")
    for remark in result.remarks():
        say(remark)
    if out is not None:
        say(f"table, figures and picture are in {out}")


def say_at_once(line: str) -> None:
    """Addresses must be seen at once, also through a pipe."""
    say(line)
    sys.stdout.flush()


def numbers(option: str, text: str) -> list[int]:
    """``"1,16"`` -> ``[1, 16]``.

    Raises:
        UserError: not whole numbers.
    """
    found = listed(text)
    if not found or not all(word.isdecimal() for word in found):
        raise UserError(f"{option} {text!r} is not a whole number, or several with commas such as 1,16")
    return [int(word) for word in found]
