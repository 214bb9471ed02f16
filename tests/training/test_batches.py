"""Epochs of several passes or of a number of steps: every sample equally often, in any number of processes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from phonecv.data.loading.loader import SampleKey
from phonecv.errors import UserError
from phonecv.training.batches import StreamBatches


def keys(batches: StreamBatches, epoch: int, start: int = 0) -> list[list[SampleKey]]:
    return list(batches.epoch(epoch, start))


def test_an_epoch_of_five_passes_holds_every_sample_five_times() -> None:
    batches = StreamBatches(12, 4, seed=0, passes=5)
    assert len(batches) == 15
    for epoch in range(2):
        rows = keys(batches, epoch)
        assert len(rows) == len(batches.epoch(epoch)) == 15
        counts = Counter(key.index for row in rows for key in row)
        assert counts == dict.fromkeys(range(12), 5)
        # Pass by pass: three batches hold each sample once, under a number of the pass that occurs once only.
        for number in range(5):
            part = [key for row in rows[3 * number : 3 * number + 3] for key in row]
            assert sorted(key.index for key in part) == list(range(12))
            assert {key.epoch for key in part} == {5 * epoch + number}
    assert keys(batches, 0) != keys(batches, 1)


def test_epochs_of_steps_go_on_where_the_last_one_ended() -> None:
    n, steps = 10, 4
    batches = StreamBatches(n, 3, seed=1, steps=steps)
    stream = [key for epoch in range(5) for row in keys(batches, epoch) for key in row]
    assert len(stream) == 60
    for number in range(6):
        part = stream[number * n : (number + 1) * n]
        assert sorted(key.index for key in part) == list(range(n))
        assert {key.epoch for key in part} == {number}
    assert len(set(stream)) == 60  # no sample comes twice with the same random numbers


def test_a_split_smaller_than_a_batch_fills_it_with_several_passes() -> None:
    batches = StreamBatches(3, 8, seed=0, steps=2)
    assert [len(row) for row in keys(batches, 0)] == [8, 8]
    with pytest.raises(UserError, match="3 training pictures in 2 passes do not fill one batch of 8"):
        StreamBatches(3, 8, seed=0, passes=2)


@pytest.mark.parametrize("kinds", [None, np.array([0, 1, 1] * 7)])
def test_processes_share_what_one_would_take(kinds: np.ndarray | None) -> None:
    one = StreamBatches(21, 6, seed=3, passes=2, kinds=kinds)
    three = [StreamBatches(21, 2, seed=3, rank=rank, world=3, passes=2, kinds=kinds) for rank in range(3)]
    whole = keys(one, 4)
    parts = [keys(batches, 4) for batches in three]
    for step, row in enumerate(whole):
        assert sorted(row) == sorted(key for part in parts for key in part[step])


@pytest.mark.parametrize("start", [0, 1, 4, 7])
def test_an_epoch_can_begin_in_its_middle(start: int) -> None:
    batches = StreamBatches(21, 6, seed=3, passes=2, kinds=np.array([0, 1, 1] * 7))
    assert keys(batches, 2, start) == keys(batches, 2)[start:]
    assert len(batches.epoch(2, start)) == 7 - start


def test_batches_are_of_one_kind_where_there_are_enough() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.random(103) < 0.3
    batches = StreamBatches(103, 4, seed=0, kinds=kinds)
    rows = [[int(kinds[key.index]) for key in row] for row in keys(batches, 0)]
    assert len(rows) == 103 // 4
    mixed = [row for row in rows if len(set(row)) > 1]
    assert len(mixed) <= 1
    assert mixed == [] or rows[-1] == mixed[0]
    seen = Counter(key.index for row in keys(batches, 0) for key in row)
    assert max(seen.values()) == 1
    # Neither kind waits for the end of the epoch.
    order = [row[0] for row in rows[:-1]]
    assert 0 < np.mean(order[: len(order) // 2]) < 1
    assert 0 < np.mean(order[len(order) // 2 :]) < 1
