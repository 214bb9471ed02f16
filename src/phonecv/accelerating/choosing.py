"""The fastest runtime for a network: every candidate is made, compared with PyTorch, and timed in turns."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from phonecv.accelerating.engine import Engine, Ready
from phonecv.accelerating.inner import Inner
from phonecv.accelerating.known import Measured, key_of, recall, remember
from phonecv.benchmarking.calls import tiled
from phonecv.benchmarking.runtimes import RUNTIMES, choose, refusal
from phonecv.benchmarking.timing import best_of, interleave
from phonecv.devices import computes_bf16
from phonecv.errors import UserError
from phonecv.exporting.inputs import Arrays, Input
from phonecv.exporting.pictures import probe_rows

#: What all others are compared with, and what runs where none is faster.
EAGER = "eager"
#: Those installed that are ready within seconds; where there is none, all that are installed.
AUTO = "auto"
#: All that are installed.
ALL = "all"

#: Of timing the candidates.
_ROUNDS, _SECONDS = 7, 1.5

_log = logging.getLogger("phonecv")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person says of how a network is to run.

    Attributes:
        runtimes: keys of `RUNTIMES` to choose from.
        precision: "float32" or "bf16".
        threads: of the runtime.
        max_diff: largest difference from PyTorch in float32, as a share of the largest output.
        rows: that come at once; several are timed by a few calls, since there the start itself has to pay.
    """

    runtimes: tuple[str, ...]
    precision: str
    threads: int
    max_diff: float
    rows: int = 1


def candidates(runtime: str, precision: str) -> tuple[str, ...]:
    """The runtimes to choose from; one alone where it was named.

    Raises:
        UserError: there is no such runtime, it is not installed, or it has not this precision.
    """
    if precision == "bf16" and not computes_bf16():
        raise UserError(
            "this processor does not compute in bfloat16, which would be imitated, slower than float32; leave the"
            " precision out"
        )
    if runtime not in (AUTO, ALL):
        (name,) = choose("runtime", [runtime], [*RUNTIMES, AUTO, ALL])
        why = refusal(RUNTIMES[name], precision, "cpu")
        if why:
            raise UserError(why)
        return (name,)
    able = [name for name, record in RUNTIMES.items() if not refusal(record, precision, "cpu")]
    quick = [name for name in able if RUNTIMES[name].by_default]
    return tuple(quick if runtime == AUTO and any(RUNTIMES[name].exported for name in quick) else able)


def chosen(inner: Inner, inputs: tuple[Input, ...], asked: Asked) -> tuple[Engine, Measured]:
    """The engine of the fastest candidate, ready for these inputs, and what was measured.

    Raises:
        UserError: the one asked for cannot run the network, or differs from PyTorch; or none can in this precision.
    """
    names = asked.runtimes
    key = key_of(inner.network, inputs, asked.threads, asked.precision, asked.rows)
    known = recall(key)
    if known is not None and known.tried >= {*names, EAGER}:
        for name in sorted((name for name in names if name in known.seconds), key=known.seconds.__getitem__):
            try:
                return _engine(inner, inputs, asked, name)[0], known
            except UserError as error:
                _log.warning("%s", error)
    return _measured(inner, inputs, asked, key)


def _engine(inner: Inner, inputs: tuple[Input, ...], asked: Asked, name: str) -> tuple[Engine, Ready]:
    engine = Engine(
        inner, inputs, runtime=name, precision=asked.precision, threads=asked.threads, max_diff=asked.max_diff
    )
    return engine, engine.made(inputs)


def _measured(inner: Inner, inputs: tuple[Input, ...], asked: Asked, key: str) -> tuple[Engine, Measured]:
    names = asked.runtimes
    engines: dict[str, tuple[Engine, Ready]] = {}
    refused: dict[str, str] = {}
    for name in names:
        if not RUNTIMES[name].by_default:
            _log.info("preparing %s, which may take minutes", RUNTIMES[name].title)
        try:
            engines[name] = _engine(inner, inputs, asked, name)
        except UserError as error:
            if len(names) == 1:
                raise
            refused[name] = str(error)
    if not engines:
        raise UserError("; ".join(refused.values()))
    given = tuple(tiled(one, asked.rows) for one in probe_rows(inputs))
    plain = Engine(inner, inputs, runtime=EAGER, precision="float32", threads=asked.threads, max_diff=1).made(inputs)
    ready = {name: one for name, (_, one) in engines.items()}
    seconds = _timed({EAGER: plain} | ready, given, quick=asked.rows > 1)
    start = {name: round(one.seconds, 3) for name, one in ready.items()}
    found = Measured(seconds, start, refused)
    remember(key, found)
    return engines[found.best(list(engines))][0], found


def _timed(ready: Mapping[str, Ready], given: Arrays, *, quick: bool) -> dict[str, float]:
    """Seconds of a row: in turns, or quickly, of each alone."""
    calls = {name: functools.partial(one.session, *given) for name, one in ready.items()}
    if quick:
        return {name: best_of(call) / len(given[0]) for name, call in calls.items()}
    timings = interleave(calls, rounds=_ROUNDS, seconds=_SECONDS, warmup=3)
    return {name: timing.median / len(given[0]) for name, timing in timings.items()}
