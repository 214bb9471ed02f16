"""Timing that compares: the candidates take turns, round by round, so that a slow moment of the machine hits them all.

Figures of one run compare with each other; figures of two runs need not, on a machine that others use too.
"""

from __future__ import annotations

import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from phonecv.errors import UserError, did_you_mean

#: A turn calls its candidate again and again for about so long: far above the clock's own error, far below what lets
#: a slow moment of the machine fall on one candidate alone.
TURN_SECONDS = 0.02

#: Fewer rounds give neither a median nor a spread worth printing, whatever the time limit says.
LEAST_ROUNDS = 5

#: Warmed up: that many calls in a row within this share of the fastest call so far, or so many seconds of calls.
_STEADY_CALLS, _STEADY_SHARE, _WARM_SECONDS = 3, 0.1, 2.0

#: Seconds between looks whether thread pools sleep, and for how long to wait for them at most.
_NAP, _LONGEST_SPIN = 0.002, 0.1


@dataclass(frozen=True, slots=True)
class Timing:
    """What one candidate took.

    Attributes:
        times: seconds of one call, one value per round (the mean of that round's calls).
        calls: calls per round.
    """

    times: tuple[float, ...]
    calls: int = 1

    @property
    def median(self) -> float:
        """Seconds per call in the middle round."""
        return statistics.median(self.times)

    @property
    def p10(self) -> float:
        """Seconds per call that one round in ten stayed below."""
        return float(np.quantile(self.times, 0.1))

    @property
    def p90(self) -> float:
        """Seconds per call that one round in ten went above."""
        return float(np.quantile(self.times, 0.9))

    @property
    def spread(self) -> float:
        """How far the rounds lie apart: p90 - p10, as a share of the median."""
        return (self.p90 - self.p10) / self.median


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times faster than the baseline; above 1 is faster.

    Attributes:
        median: of the rounds' own ratios, each of two turns close in time.
        low: the ratio that one round in ten stayed below.
        high: the ratio that one round in ten went above.
        of_medians: median time of the baseline divided by that of the candidate.
    """

    median: float
    low: float
    high: float
    of_medians: float


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 20,
    seconds: float | None = None,
    turn: float = TURN_SECONDS,
) -> dict[str, Timing]:
    """Time candidates in turns.

    Each is warmed up first. In every round each gets one turn of several calls; the first turn goes to another one
    each round, and every second round runs backwards, so nobody always follows the same neighbour. A turn begins when
    the neighbour's threads have stopped spinning. Where a CUDA device is in use, a call ends when the device has
    finished. Garbage is collected before, not during, the rounds.

    Args:
        candidates: what to time, by name; called without arguments.
        rounds: how many rounds, at most.
        warmup: calls per candidate before the first round, at most; fewer when its time is steady earlier, or when they
            take seconds.
        seconds: stop after the round in which the rounds have taken so long, but not before `LEAST_ROUNDS`.
        turn: seconds a turn should last at least.

    Raises:
        UserError: no candidates, or no rounds.
    """
    if not candidates:
        raise UserError("there is nothing to time: no candidate was given")
    if rounds < 1 or warmup < 0:
        raise UserError(f"rounds {rounds} must be at least 1 and warmup {warmup} at least 0")
    names = list(candidates)
    calls = {}
    for name, call in candidates.items():
        with _named(name):
            calls[name] = max(1, math.ceil(turn / _warm_up(call, warmup)))
    times: dict[str, list[float]] = {name: [] for name in names}
    with _without_garbage_collection():
        start = time.perf_counter()
        for number in range(rounds):
            for name in _order(names, number):
                with _named(name):
                    times[name].append(_turn(candidates[name], calls[name]))
            if seconds is not None and number + 1 >= LEAST_ROUNDS and time.perf_counter() - start >= seconds:
                break
    return {name: Timing(tuple(times[name]), calls[name]) for name in names}


def ratios(timings: Mapping[str, Timing], baseline: str) -> dict[str, Ratio]:
    """Every candidate of one `interleave` against the one called `baseline`."""
    if baseline not in timings:
        known = ", ".join(timings)
        raise UserError(
            f"the baseline {baseline!r} is not among the candidates{did_you_mean(baseline, timings)} ({known})"
        )
    base = timings[baseline]
    found = {}
    for name, timing in timings.items():
        each = [one / other for one, other in zip(base.times, timing.times, strict=True)]
        low, high = np.quantile(each, (0.1, 0.9)).tolist()
        found[name] = Ratio(statistics.median(each), low, high, base.median / timing.median)
    return found


def best_of(call: Callable[[], object], tries: int = 3) -> float:
    """Seconds of the fastest of a few calls, one right after the other: quick, where little hangs on it."""
    finish = _device_wait()
    taken = []
    for _ in range(tries):
        start = time.perf_counter()
        call()
        finish()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _order(names: Sequence[str], number: int) -> list[str]:
    first = number // 2 % len(names)
    order = [*names[first:], *names[:first]]
    return order[::-1] if number % 2 else order


def _turn(call: Callable[[], object], calls: int) -> float:
    _let_threads_sleep()
    finish = _device_wait()
    if calls > 2:
        # The neighbour left its own weights in the caches. Where one call is short, the candidate's return first.
        call()
        finish()
    start = time.perf_counter()
    for _ in range(calls):
        call()
        finish()
    return (time.perf_counter() - start) / calls


def _let_threads_sleep() -> None:
    """Wait until this process uses no processor time.

    Thread pools spin after their last task, to be quick with the next: torch's for 10 ms, ONNX Runtime's for more than
    30. Until they sleep they take the cores from the next candidate.
    """
    for _ in range(round(_LONGEST_SPIN / _NAP)):
        before = time.process_time()
        time.sleep(_NAP)
        if time.process_time() - before < _NAP / 10:
            return


def _warm_up(call: Callable[[], object], most: int) -> float:
    """Call until its time is steady; the fastest time seen, which says how many calls make a turn."""
    finish = _device_wait()
    taken: list[float] = []
    for _ in range(max(1, most)):
        start = time.perf_counter()
        call()
        finish()
        taken.append(time.perf_counter() - start)
        last = taken[-_STEADY_CALLS:]
        # The first call is left out: it compiles, allocates and packs weights.
        steady = len(taken) > _STEADY_CALLS and max(last) <= min(taken) * (1 + _STEADY_SHARE)
        if steady or sum(taken[1:]) > _WARM_SECONDS:
            break
    return max(min(taken), 1e-9)


def _device_wait() -> Callable[[], object]:
    """What waits for the CUDA device, where this process uses one; asking must not start one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return torch.cuda.synchronize
    return lambda: None


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say whose call failed."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while timing {name!r}")
        raise
