"""Evaluating and predicting on a CPU: from how many pictures on a faster runtime pays for its start."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from phonecv.accelerating.choosing import AUTO, EAGER, candidates
from phonecv.accelerating.inner import Inner, varied
from phonecv.accelerating.known import Measured, key_of, recall
from phonecv.accelerating.network import Accelerated, accelerated, inputs_of
from phonecv.benchmarking.calls import tiled
from phonecv.benchmarking.runtimes import RUNTIMES
from phonecv.benchmarking.timing import best_of
from phonecv.errors import UserError
from phonecv.exporting.formats import EXPORTERS, exporter_for
from phonecv.exporting.pictures import probe_rows
from phonecv.models.fusing import fuse
from phonecv.models.quantized import state_of
from phonecv.opening import AnyRunner, Placed, Runner, opening_room

#: Fewer pictures are over before anything pays.
FEW = 100

#: Rows that runtimes are timed on: a number that threads share evenly.
_ROWS = 4

#: Until something was measured here: seconds of a runtime's own start, and for each layer straight from a network or by
#: way of a file; and the share of PyTorch's time that a picture then takes.
_START, _LAYER, _LAYER_BY_FILE, _SHARE = 0.7, 0.01, 0.04, 0.6

#: Autocast -> precision of runtimes.
_PRECISIONS = {"none": "float32", "bf16": "bf16"}


def check_runtime(runtime: str, model: Any, amp: str) -> None:
    """Refuse, before any work, a runtime that is not there or cannot run what was given.

    Raises:
        UserError: as said.
    """
    if runtime == AUTO:
        return
    named = isinstance(model, Path | str)
    if isinstance(model, Runner) or (named and exporter_for(model) is not None):
        what = f"{str(model)!r} is an exported file" if named else f"this {type(model).__name__} is open already"
        raise UserError(f"runtime {runtime!r} is for networks; {what}, with a runtime of its own")
    if runtime != EAGER and amp not in _PRECISIONS:
        raise UserError(f"runtime {runtime!r} has no {amp}; leave amp out, or give bf16")
    candidates(runtime, _PRECISIONS.get(amp, "float32"))


def sped_up(runner: AnyRunner, options: Any, runtime: str, count: int) -> tuple[AnyRunner, str]:
    """A runner of the same network in a faster runtime, where that pays, and what to say of it.

    Args:
        runner: that was opened for this purpose alone.
        options: that it was opened with.
        runtime: a key of `RUNTIMES`, or `AUTO`, which keeps PyTorch for few pictures, on other devices, and where
            nothing faster is installed.
        count: pictures to come.

    Raises:
        UserError: the runtime that was named cannot run the network.
    """
    placed = runner.placed
    if placed is None or runtime == EAGER or isinstance(placed.network, Accelerated):
        return runner, ""
    if runtime != AUTO:
        if placed.device.type != "cpu":
            raise UserError(f"runtime {runtime!r} is for the CPU; leave the device {str(placed.device)!r} out")
        names = candidates(runtime, _PRECISIONS[placed.amp])
        return _swapped(runner, options, accelerated(placed.network, names, _PRECISIONS[placed.amp], rows=_ROWS)), ""
    if placed.device.type != "cpu" or placed.amp not in _PRECISIONS or count < FEW or state_of(placed.network):
        return runner, ""
    return _where_it_pays(runner, placed, options, count)


def _where_it_pays(runner: AnyRunner, placed: Placed, options: Any, count: int) -> tuple[AnyRunner, str]:
    precision, network = _PRECISIONS[placed.amp], placed.network
    fused = fuse(network, frozen=True)
    known = recall(key_of(fused, inputs_of(fused), torch.get_num_threads(), precision, _ROWS))
    name = _candidate(known, precision)
    before = _seconds(placed)
    start, after = _expected(known, name, network, before)
    pays_from = math.ceil(start / (before - after)) if name and before > after else None
    if pays_from is None:
        return runner, ""
    title = RUNTIMES[name].title
    figures = f"{1000 * before:.1f} ms a picture in PyTorch, about {1000 * after:.1f} in {title}"
    if count < pays_from:
        said = f"PyTorch runs it; {title} pays for its start from about {pays_from} pictures on ({figures})"
        return runner, said
    try:
        made = accelerated(fused, (name, EAGER), precision, rows=_ROWS)
    except UserError as error:
        return runner, f"PyTorch runs it: {error}"
    measured = made.measured
    after, start = measured.seconds[made.engine.runtime], measured.start[made.engine.runtime]
    said = f"{made.runtime} runs it, {1000 * after:.1f} ms a picture instead of {1000 * before:.1f}"
    if before > after:
        said += f"; it starts in {start:.1f} s, which pays from {math.ceil(start / (before - after))} pictures on"
    return _swapped(runner, options, made), said


def _candidate(known: Measured | None, precision: str) -> str:
    """The runtime to try: the fastest known, or else the one that starts soonest; empty where none is installed."""
    able = [name for name in candidates(AUTO, precision) if RUNTIMES[name].exported and RUNTIMES[name].by_default]
    if known is not None and (best := [name for name in known.seconds if name in able]):
        return min(best, key=known.seconds.__getitem__)
    return min(able, key=lambda name: not EXPORTERS[RUNTIMES[name].formats[-1]].direct, default="")


def _seconds(placed: Placed) -> float:
    """What a picture takes in PyTorch as it is."""
    inner = Inner(placed.network)
    rows = [torch.from_numpy(tiled(array, _ROWS)) for array in probe_rows(inputs_of(placed.network))]
    with torch.inference_mode(), placed.computing():
        return best_of(lambda: inner(*rows)) / _ROWS


def _expected(known: Measured | None, name: str, network: Any, before: float) -> tuple[float, float]:
    """Seconds until the runtime is ready, and that it takes for a picture."""
    if known is not None and name in known.seconds and name in known.start:
        return known.start[name], known.seconds[name]
    layers = sum(not list(module.children()) for module in network.modules())
    direct = name and EXPORTERS[RUNTIMES[name].formats[-1]].direct and not varied(network)
    return _START + layers * (_LAYER if direct else _LAYER_BY_FILE), _SHARE * before


def _swapped(runner: AnyRunner, options: Any, made: Accelerated) -> AnyRunner:
    """The runner of an accelerated network in the place of its own."""
    assert runner.placed is not None
    return cast(AnyRunner, opening_room(runner.task).network_runner(replace(runner.placed, network=made), options))
