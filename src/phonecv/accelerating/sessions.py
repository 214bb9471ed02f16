"""A network in any runtime of `phonecv.benchmarking.runtimes`, without a file that stays."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import torch

from phonecv.benchmarking.runtimes import RUNTIMES
from phonecv.benchmarking.torch_calls import DTYPES, lowered
from phonecv.errors import UserError
from phonecv.exporting.formats import get_exporter
from phonecv.exporting.job import Job, Session
from phonecv.exporting.perform import captured, perform, reason
from phonecv.models.compiling import compile_for_inference


def session_in(runtime: str, job: Job, *, threads: int, precision: str) -> Session:
    """A job's module in a runtime, a key of `RUNTIMES`.

    Raises:
        UserError: it is not installed, or cannot run this network.
    """
    if not RUNTIMES[runtime].exported:
        return _in_torch(job, precision, compiled=runtime == "compiled")
    exporter = get_exporter(RUNTIMES[runtime].formats[-1])
    exporter.require()
    if exporter.direct and not job.dynamic_size:
        with captured():
            return resolve_name(exporter.direct)(job, threads=threads, precision=precision)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place) / "files"
        folder.mkdir()
        path = perform(exporter, job, folder, []).written.path
        return resolve_name(exporter.session)(path, threads=threads, precision=precision)


def _in_torch(job: Job, precision: str, *, compiled: bool) -> Session:
    call, low = job.module, DTYPES[precision]
    if low != torch.float32:
        call = copy.deepcopy(call).to(low)
    if compiled:
        try:
            with captured():
                call = compile_for_inference(call, *lowered(job.row, low))
        except Exception as error:  # the compiler, or the C++ compiler that it calls, fails in ways of its own
            raise UserError(f"torch.compile failed on {job.stem}: {reason(error)}") from error

    @torch.inference_mode()
    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        found = call(*lowered(map(torch.from_numpy, arrays), low))
        return [one.float().numpy() if one.is_floating_point() else one.numpy() for one in found]

    return Session(run=run, runtime=RUNTIMES["compiled" if compiled else "eager"].title, batch=1 if compiled else None)
