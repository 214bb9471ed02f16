"""Comparing sets of objects and maps of classes."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from phonecv.detect import exporting as detect
from phonecv.detect.exporting_checks import compare_objects
from phonecv.exporting.comparing import Sides
from phonecv.segment import exporting as segment

NAMES = ("boxes", "scores", "labels", "count")


def objects(count: int = 40, places: int = 50, seed: int = 0) -> list[np.ndarray]:
    """Two pictures' objects."""
    random = np.random.default_rng(seed)
    boxes = np.zeros((2, places, 4), np.float32)
    boxes[:, :count, :2] = random.uniform(0, 200, (2, count, 2))
    boxes[:, :count, 2:] = boxes[:, :count, :2] + random.uniform(10, 100, (2, count, 2))
    scores = np.zeros((2, places), np.float32)
    scores[:, :count] = -np.sort(-random.uniform(0.05, 1, (2, count)))
    labels = np.full((2, places), -1, np.int32)
    labels[:, :count] = random.integers(0, 4, (2, count))
    return [boxes, scores, labels, np.full(2, count, np.int32)]


def copied(values: list[np.ndarray]) -> list[np.ndarray]:
    return [value.copy() for value in values]


def difference(wanted: list[np.ndarray], got: list[np.ndarray]) -> float:
    names = (*NAMES, "masks")[: len(wanted)]
    return compare_objects(dict(zip(names, wanted, strict=True)), dict(zip(names, got, strict=True)))


def test_equal_sets_in_any_order() -> None:
    wanted, got = objects(), objects()
    assert difference(wanted, got) == 0
    order = np.random.default_rng(1).permutation(40)
    for place in range(3):
        got[place][:, :40] = got[place][:, order]
    assert difference(wanted, got) == 0


def test_shifts_are_seen_in_their_own_measure() -> None:
    wanted, got = objects(), objects()
    got[0][:, :40] += 3
    assert difference(wanted, got) == pytest.approx(3 / wanted[0].max(), rel=1e-3)
    got = objects()
    got[1][:, :40] -= 0.01
    assert difference(wanted, got) == pytest.approx(0.01, rel=1e-3)


def test_two_in_a_hundred_may_tip_over_and_no_more() -> None:
    wanted = objects()
    got = copied(wanted)
    got[0][0, 0] += 50  # 1 of 80, on either side
    assert difference(wanted, got) == 0
    got[0][0, 1:5] += 50
    assert difference(wanted, got) > 0.1


def test_missing_objects_count_as_much_as_they_are_sure() -> None:
    wanted = objects()
    for first, low, high in ((0, 0.2, 1.0), (36, 0.0, 0.2)):
        got = copied(wanted)
        for place in (0, 1, 2):
            rest = got[place][:, np.r_[0:first, first + 4 : 50, first : first + 4]]
            got[place] = rest
        got[3] -= 4
        assert low < difference(wanted, got) < high
        assert low < difference(got, wanted) < high  # added ones likewise


def test_another_label_is_another_object() -> None:
    wanted = objects()
    got = copied(wanted)
    got[2][:, :5] = (got[2][:, :5] + 1) % 4
    assert difference(wanted, got) > 0.05


def test_numbers_that_are_none_do_not_pass() -> None:
    wanted = objects()
    got = copied(wanted)
    got[1][0, :20] = np.nan
    assert not difference(wanted, got) <= 1e-4


def test_no_objects() -> None:
    assert difference(objects(0), objects(0)) == 0
    assert difference(objects(0), objects(10)) > 0.5
    assert difference(objects(10), objects(0)) > 0.5


def test_masks_are_compared_with_their_box() -> None:
    wanted = [*objects(), np.random.default_rng(2).uniform(0, 1, (2, 50, 28, 28)).astype(np.float32)]
    assert difference(wanted, copied(wanted)) == 0
    got = copied(wanted)
    got[4][:, :10] = 1 - got[4][:, :10]
    assert difference(wanted, got) > 0.3


def test_maps_of_classes() -> None:
    wanted = np.zeros((1, 10, 10), np.int32)
    got = wanted.copy()
    got[0, 0, :3] = 7
    module = nn.Identity()
    found = segment.compare(Sides(("classes",), [wanted], [got], module), None)
    assert found.difference == pytest.approx(0.03)
    # Of other outputs the numbers count.
    for room in (segment, detect):
        assert room.compare(Sides(("codes",), [wanted], [got], module), None).difference == 7
