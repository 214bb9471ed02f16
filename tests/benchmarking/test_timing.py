"""The timing of candidates in turns, on a clock that the test moves: no test depends on the machine's speed."""

from __future__ import annotations

import gc
import itertools
import statistics
from collections.abc import Callable

import numpy as np
import pytest

from phonecv.benchmarking import timing
from phonecv.benchmarking.timing import Ratio, Timing, interleave, ratios
from phonecv.errors import UserError


class Clock:
    """`time.perf_counter` that moves only when a candidate is called."""

    def __init__(self) -> None:
        self.now = 100.0
        self.log: list[str] = []

    def candidate(self, name: str, *seconds: float) -> Callable[[], None]:
        """Takes the given times one after the other, then the last one for ever."""
        left = list(seconds)

        def call() -> None:
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: made.now)
    return made


def test_a_turn_is_long_enough_and_gives_the_time_of_one_call(clock: Clock) -> None:
    found = interleave(
        {"fast": clock.candidate("fast", 0.004), "slow": clock.candidate("slow", 0.3)}, rounds=7, warmup=3, turn=0.02
    )
    assert (found["fast"].calls, found["slow"].calls) == (5, 1)
    assert len(found["fast"].times) == len(found["slow"].times) == 7
    assert found["fast"].times == pytest.approx([0.004] * 7)
    assert found["slow"].times == pytest.approx([0.3] * 7)


def test_warm_up_takes_the_slow_first_calls_and_ends_when_steady(clock: Clock) -> None:
    found = interleave({"a": clock.candidate("a", 9.0, 0.2, 0.1, 0.1, 0.1)}, rounds=5, warmup=100)
    assert found["a"].times == pytest.approx([0.1] * 5)
    assert clock.log.count("a") == 5 + 5


def test_warm_up_never_takes_more_calls_than_asked_for(clock: Clock) -> None:
    growing = clock.candidate("a", *[0.1 * 1.2**i for i in range(50)])
    interleave({"a": growing}, rounds=1, warmup=6)
    assert clock.log.count("a") == 6 + 1


def test_warm_up_of_slow_calls_ends_after_some_seconds(clock: Clock) -> None:
    slow = clock.candidate("a", 60.0, *[1.5 + i for i in range(50)])
    interleave({"a": slow}, rounds=1, warmup=20)
    assert clock.log.count("a") == 3 + 1


def test_everybody_starts_ends_and_follows_everybody(clock: Clock) -> None:
    names = ["a", "b", "c"]
    interleave({name: clock.candidate(name, 1.0) for name in names}, rounds=6, warmup=0)
    rounds = [clock.log[3 + 3 * i : 6 + 3 * i] for i in range(6)]  # after one call each to learn the time
    assert all(sorted(turns) == names for turns in rounds)
    assert {turns[0] for turns in rounds} == {turns[-1] for turns in rounds} == set(names)
    followed = {pair for turns in rounds for pair in itertools.pairwise(turns)}
    assert followed == {(one, other) for one in names for other in names if one != other}


def test_the_time_limit_ends_the_rounds_but_not_before_the_least(clock: Clock) -> None:
    assert len(interleave({"a": clock.candidate("a", 1.0)}, rounds=100, warmup=1, seconds=12)["a"].times) == 12
    short = interleave({"a": clock.candidate("a", 1.0)}, rounds=100, warmup=1, seconds=0.1)
    assert len(short["a"].times) == timing.LEAST_ROUNDS
    assert len(interleave({"a": clock.candidate("a", 1.0)}, rounds=3, warmup=1, seconds=0.1)["a"].times) == 3


def test_garbage_is_not_collected_while_timing_and_is_afterwards(clock: Clock) -> None:
    seen = []
    tick = clock.candidate("a", 1.0)

    def call() -> None:
        seen.append(gc.isenabled())
        tick()

    interleave({"a": call}, rounds=3, warmup=0)
    assert seen == [True, False, False, False]
    assert gc.isenabled()


def test_a_failure_names_its_candidate_and_leaves_collection_on() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        if len(calls) > 3:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as caught:
        interleave({"good": lambda: None, "bad": fail}, rounds=50, warmup=1, turn=0)
    assert "while timing 'bad'" in caught.value.__notes__
    assert gc.isenabled()


def test_statistics_agree_with_numpy() -> None:
    values = np.random.default_rng(0).lognormal(size=37).tolist()
    measured = Timing(tuple(values))
    assert measured.median == pytest.approx(np.median(values))
    assert measured.p10 == pytest.approx(np.quantile(values, 0.1))
    assert measured.p90 == pytest.approx(np.quantile(values, 0.9))
    assert measured.spread == pytest.approx((np.quantile(values, 0.9) - np.quantile(values, 0.1)) / np.median(values))
    assert Timing((3.0,)).p90 == 3.0


def test_ratios_are_taken_round_by_round() -> None:
    # The machine is three times slower in two of five rounds; the candidate is twice as fast in each of them.
    machine = (1.0, 3.0, 1.0, 3.0, 1.0)
    timings = {"base": Timing(machine), "twice": Timing(tuple(t / 2 for t in machine)), "odd": Timing((1, 1, 1, 1, 1))}
    found = ratios(timings, "base")
    assert found["twice"] == Ratio(2.0, 2.0, 2.0, 2.0)
    assert found["base"].median == 1.0
    assert found["odd"].median == statistics.median(machine)
    assert found["odd"].high == 3.0
    assert found["odd"].of_medians == 1.0


def test_a_turn_waits_until_the_threads_of_the_neighbour_sleep(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    burnt = iter([0.0, 0.002, 0.002, 0.004, 0.004, 0.0041])  # two naps of a spinning thread, then one of rest
    naps = []
    monkeypatch.setattr(timing.time, "process_time", lambda: next(burnt))
    monkeypatch.setattr(timing.time, "sleep", naps.append)
    interleave({"a": clock.candidate("a", 1.0)}, rounds=1, warmup=0)
    assert len(naps) == 3
    monkeypatch.setattr(timing.time, "process_time", iter(range(1000)).__next__)  # somebody never sleeps
    naps.clear()
    interleave({"a": clock.candidate("a", 1.0)}, rounds=1, warmup=0)
    assert sum(naps) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"candidates": {}, "rounds": 3}, "no candidate"),
        ({"candidates": {"a": print}, "rounds": 0}, "rounds 0"),
        ({"candidates": {"a": print}, "rounds": 1, "warmup": -1}, "warmup -1"),
    ],
)
def test_mistakes_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        interleave(**arguments)


def test_an_unknown_baseline_names_the_nearest_candidate() -> None:
    with pytest.raises(UserError, match="did you mean 'eager'"):
        ratios({"eager": Timing((1.0,))}, "eagr")
