"""ExecuTorch: exported by PyTorch, lowered to XNNPACK, run by ExecuTorch's own runtime."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonecv.errors import UserError
from phonecv.exporting.inputs import check_taken
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.record import read_record
from phonecv.exporting.where.finding import places

#: ExecuTorch's numbers for what inputs hold.
_TYPES = {3: "int32", 6: "float32"}

#: What runs files in this process.
_open: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()


def write(job: Job, folder: Path) -> Written:
    """The program of one picture of one size, lowered to XNNPACK; the record only goes beside it.

    A free batch size would keep window attention out of XNNPACK, which takes no computed shapes.

    As exported, XNNPACK gets EMOv2-1M in 50 pieces. With its norms as convolutions (`for_xnnpack`) there are 38, with
    what `lower` says in another way one, and a picture takes 7.2 ms of processor time instead of 8.5 (one thread).
    """
    from phonecv.exporting.executorch.lowering import delegation, for_xnnpack, lower, norm_names, operators_of

    module = for_xnnpack(job.module)
    report: dict[str, Any] = {}
    if job.precision == "int8":
        from phonecv.exporting.executorch.int8 import quantized_program

        layers = job.settings.get("float_layers", ())
        kept = (layers,) if isinstance(layers, str) else tuple(layers)
        # The convolutions inside a norm are no layers of the network: in eight bits they would ruin it.
        settings = {**job.settings, "float_layers": (*kept, *norm_names(module))}
        program, report["settings"] = quantized_program(replace(job, module=module, settings=settings))
    else:
        with torch.no_grad():
            program = torch.export.export(module, job.row)
    lowered = lower(program)
    graph = lowered.exported_program().graph_module
    report |= delegation(graph) | {"where": places("executorch", operators_of(graph))}
    path = folder / f"{job.stem}.pte"
    with path.open("wb") as file:
        lowered.to_executorch().write_to_file(file)
    return Written(path, sum(report["operators"].values()), report)


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """An ExecuTorch file of ours or another's; all ExecuTorch files of a process share their threads.

    Raises:
        UserError: not an ExecuTorch file, it takes neither what its record says nor RGB pictures, or another one is
            open with other threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its interface may change
        from executorch.extension.pybindings import portable_lib

    with _noise() as said:
        _set_threads(portable_lib, threads)
        try:
            program = portable_lib._load_for_executorch(str(path))
            if "forward" not in program.method_names():
                raise UserError(f"{path} has no method `forward`; it has {', '.join(program.method_names())}")
            method = program.method_meta("forward")
            inputs = [method.input_tensor_meta(number) for number in range(method.num_inputs())]
            shapes = {f"input {place}": taken.sizes() for place, taken in enumerate(inputs)}
        except RuntimeError as error:
            raise UserError(f"{path} cannot be used as an ExecuTorch program: {_reason(said(), error)}") from error
    record = read_record(path)
    batch, size = check_taken(path, shapes, record, [_TYPES.get(taken.dtype(), "another type") for taken in inputs])

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        given = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
        with _noise() as said:
            try:
                found = [value.numpy() for value in program.forward(given)]
            except RuntimeError as error:
                raise UserError(f"{path} fails when ExecuTorch runs it: {_reason(said(), error)}") from error
        return [values.astype(np.float32) if values.dtype.kind == "f" else values for values in found]

    _open.add(run)
    return Session(run, f"ExecuTorch {version('executorch')}", batch, size, record)


def _set_threads(runtime: Any, threads: int) -> None:
    """Whatever torch is told, ExecuTorch takes as many threads as there are cores."""
    now = runtime._threadpool_get_thread_count()
    if now == threads:
        return
    if len(_open):
        # Open programs point at the pool that would go.
        raise UserError(
            f"ExecuTorch computes with {now} threads here while a program is open; close it or open both with the same"
        )
    runtime._unsafe_reset_threadpool(threads)


@contextlib.contextmanager
def _noise() -> Iterator[Callable[[], str]]:
    """Keep from the screen what the native runtime writes to standard error; the function given tells it.

    Some of it takes the way of Python's `sys.stderr`, some that of the process.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file, contextlib.redirect_stderr(StringIO()) as python:

        def said() -> str:
            file.seek(0)
            return python.getvalue() + file.read().decode("utf-8", "replace")

        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _reason(said: str, error: RuntimeError) -> str:
    """What the native runtime complained about; the exception itself holds only a number."""
    lines = [line.strip() for line in said.splitlines()]
    # Each begins with the place in its source; those about processor and threads come with every start.
    told = [line for line in lines if line.startswith("[") and not line.startswith(("[cpuinfo", "[threadpool"))]
    complaint = told[0].partition("] ")[2] if told else ""
    return (complaint or str(error).partition("\n")[0] or type(error).__name__)[:300]
