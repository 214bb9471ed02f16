"""What runs in the place of a network's own code: sessions of one runtime, made when an input of a new shape comes."""

from __future__ import annotations

import copy
import logging
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.accelerating.inner import Inner, Shape, job_of, tensors_of, varied
from phonecv.benchmarking.calls import difference
from phonecv.benchmarking.runtimes import RUNTIMES
from phonecv.benchmarking.torch_calls import DTYPES, lowered
from phonecv.errors import UserError
from phonecv.exporting.checks import check_inputs
from phonecv.exporting.comparing import MAX_DIFF
from phonecv.exporting.formats import EXPORTERS, get_exporter
from phonecv.exporting.inputs import Input
from phonecv.exporting.job import Job, Session
from phonecv.exporting.perform import captured, perform, reason
from phonecv.exporting.pictures import probe_rows
from phonecv.models.compiling import compile_for_inference

#: Shapes of a row that a session is made for; further ones run in PyTorch.
MOST_SHAPES = 4

#: Largest difference from PyTorch in float32 by precision, as a share of the largest output. In bfloat16 Apple's
#: MobileOne-S0 differs by 0.17, in OpenVINO as in PyTorch, and is right about 168 of 200 pictures instead of 171.
LIMITS: dict[str, float] = {"float32": MAX_DIFF["float32"] or 0.0, "bf16": 0.25}

_log = logging.getLogger("phonecv")


@dataclass(frozen=True, slots=True)
class Ready:
    """A network in a runtime, compared with PyTorch.

    Attributes:
        session: runs it.
        difference: of its outputs from PyTorch's, as a share of the largest.
        seconds: until it gave its first outputs.
    """

    session: Session
    difference: float
    seconds: float


class Engine:
    """A network in one runtime, for inputs of any number of rows, in several threads.

    Args:
        inner: the network, fused, on the CPU, in evaluation mode.
        inputs: what it takes.
        runtime: a key of `RUNTIMES`.
        precision: of `LIMITS`.
        threads: of the runtime.
        max_diff: largest difference from PyTorch; see `LIMITS`.

    Attributes:
        varied: whether one session serves all sizes, which costs speed and a longer start.
    """

    def __init__(
        self, inner: Inner, inputs: tuple[Input, ...], *, runtime: str, precision: str, threads: int, max_diff: float
    ) -> None:
        self.inner, self.inputs, self.runtime = inner, inputs, runtime
        self.precision, self.threads, self.max_diff = precision, threads, max_diff
        self.varied = varied(inner.network) and self._any_size
        self.shape: Shape | None = None
        self._ready: dict[tuple[tuple[int, ...], ...], Ready | None] = {}
        self._lock = threading.RLock()

    def made(self, inputs: tuple[Input, ...]) -> Ready:
        """The network in the runtime for these inputs.

        Raises:
            UserError: the runtime cannot run it, or gives something else than PyTorch.
        """
        start = time.perf_counter()
        job = job_of(self.inner, inputs, dynamic_size=self.varied)
        session = session_in(self.runtime, job, threads=self.threads, precision=self.precision)
        seconds, worst, whole = 0.0, 0.0, None
        for rows in check_inputs(job, probe_rows(inputs), dynamic_batch=False, dynamic_size=True):
            found = session(*rows)
            seconds = seconds or time.perf_counter() - start
            with torch.inference_mode():
                whole = self.inner.whole(*map(torch.from_numpy, rows))
            worst = max(worst, difference(found, [one.numpy() for one in tensors_of(whole)]))
        if not worst <= self.max_diff:
            title = RUNTIMES[self.runtime].title
            raise UserError(
                f"{title} differs from PyTorch by {worst:.1e} of the largest output in {self.precision},"
                f" {self.max_diff:.2g} is allowed (max_diff)"
            )
        self.shape, ready = Shape(whole), Ready(session, worst, seconds)
        self._ready[self._key(one.shape for one in inputs)] = ready
        return ready

    def _key(self, shapes: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        """What a session is made for: shapes of rows, or where height and width are free what is in front of them."""
        return tuple(shape[:-2] if self.varied else shape for shape in shapes)

    def _could_take(self, shapes: Iterable[tuple[int, ...]]) -> bool:
        """Whether nothing but height and width is another than the network's own; PyTorch says what is wrong."""
        pairs = zip(shapes, self.inputs, strict=True)
        return all(
            shape == one.shape or (one.free and len(shape) == 3 and shape[0] == one.shape[0]) for shape, one in pairs
        )

    @property
    def _any_size(self) -> bool:
        formats = RUNTIMES[self.runtime].formats
        return not formats or EXPORTERS[formats[-1]].dynamic_size

    @property
    def exact(self) -> bool:
        """Whether it is what PyTorch does anyway."""
        return (self.runtime, self.precision) == ("eager", "float32")

    @property
    def title(self) -> str:
        """What runs the network, for people: with its version, where a session has told it."""
        told = [ready.session.runtime for ready in self._ready.values() if ready is not None]
        return told[0] if told else RUNTIMES[self.runtime].title

    def made_for(self, inputs: tuple[Input, ...]) -> Ready:
        """What `made` made for these inputs."""
        ready = self._ready[self._key(one.shape for one in inputs)]
        assert ready is not None
        return ready

    def __call__(self, given: Sequence[Tensor]) -> Any:
        """What the network gives; None where it has to run in PyTorch: no rows, or shapes beyond `MOST_SHAPES`."""
        if len(given) != len(self.inputs) or any(one.ndim < 1 or len(one) != len(given[0]) for one in given):
            return None  # PyTorch will say what is wrong
        ready = self._for(tuple(tuple(one.shape[1:]) for one in given)) if len(given[0]) else None
        if ready is None or self.shape is None:
            return None
        pairs = zip(given, self.inputs, strict=True)
        arrays = [one.detach().numpy().astype(asked.type, copy=False) for one, asked in pairs]
        with self._lock:
            found = ready.session(*arrays)
        return self.shape.restored([torch.from_numpy(one) for one in found])

    def _for(self, shapes: tuple[tuple[int, ...], ...]) -> Ready | None:
        key = self._key(shapes)
        with self._lock:
            if key not in self._ready and len(self._ready) < MOST_SHAPES and self._could_take(shapes):
                inputs = tuple(replace(one, shape=shape) for one, shape in zip(self.inputs, shapes, strict=True))
                try:
                    self.made(inputs)
                except (UserError, RuntimeError) as error:
                    _log.warning("inputs of %s run in PyTorch: %s", " and ".join(map(str, shapes)), error)
                    self._ready[key] = None
            return self._ready.get(key)


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
