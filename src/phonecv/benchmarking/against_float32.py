"""How long quantized files take against float32 ones of the same runtime: one thread, one core, in turns."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from phonecv.benchmarking.timing import interleave, ratios
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.inputs import inputs_in, made_up, picture_input
from phonecv.exporting.opening import open_session
from phonecv.exporting.record import read_record
from phonecv.models.headed import Network

#: Rounds of turns; a round has a turn for each file.
ROUNDS = 40


def against_float32(network: Network, files: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """Time quantized files of a network, by format; the float32 file takes pictures of the same size."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            plain = Path(folder) / f"float32{EXPORTERS[name].suffix}"
            height, width = read_record(path)["input_size"]
            export(network, plain, format=name, size=(height, width), verify=False)
            found[name] = compare({"float32": plain, "quantized": path})
    return found


def compare(files: Mapping[str, Path], *, rounds: int = ROUNDS, seconds: float | None = None) -> dict[str, float]:
    """Time a "float32" and a "quantized" file of one format.

    Returns:
        Median milliseconds of both, the ratio (below 1 is faster than float32), and its 10th and 90th percentile
        over the rounds.
    """
    with one_core():
        calls = {}
        for name, path in files.items():
            session = open_session(path, threads=1)
            side = session.size or session.record.get("input_size") or (224, 224)
            inputs = inputs_in(session.record) or (picture_input(*side),)
            rows = made_up(inputs, session.batch or 1)
            calls[name] = partial(session.run, *(row.numpy() for row in rows))
        timings = interleave(calls, rounds=rounds, seconds=seconds)
    ratio = ratios(timings, "float32")["quantized"]  # how many times faster
    milliseconds = {name: 1000 * timing.median for name, timing in timings.items()}
    return {
        "milliseconds": milliseconds["quantized"],
        "float32_milliseconds": milliseconds["float32"],
        "ratio": 1 / ratio.median,
        "ratio_p10": 1 / ratio.high,
        "ratio_p90": 1 / ratio.low,
    }


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Stay on one core of the machine, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
