"""Who is held out: shares of every class, whole groups, the same in any order and process."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from phonecv.data.splitting.stratified import check_share, hold_out
from phonecv.errors import UserError


def names(count: int) -> list[str]:
    return [f"folder/{number}.jpg" for number in range(count)]


def test_every_class_gives_its_share() -> None:
    labels = [0] * 50 + [1] * 20 + [2] * 7 + [3] * 3 + [4] * 2
    held = hold_out([(label,) for label in labels], names(82), range(82), 0.2, 42)
    assert Counter(np.array(labels)[held].tolist()) == {0: 10, 1: 4, 2: 1, 3: 1, 4: 1}


def test_names_and_seed_alone_decide() -> None:
    labels = [number % 3 for number in range(60)]
    groups = [number // 2 for number in range(60)]
    files = names(60)
    held = hold_out([(label,) for label in labels], files, groups, 0.3, 7)
    order = random.Random(0).sample(range(60), 60)
    numbers = {group: place for place, group in enumerate(dict.fromkeys(groups[one] for one in order))}
    again = hold_out(
        [(labels[one],) for one in order],
        [files[one] for one in order],
        [numbers[groups[one]] for one in order],
        0.3,
        7,
    )
    assert {files[one] for one in np.flatnonzero(held)} == {files[order[one]] for one in np.flatnonzero(again)}
    assert (hold_out([(label,) for label in labels], files, groups, 0.3, 8) != held).any()
    code = (
        "from phonecv.data.splitting.stratified import hold_out\n"
        f"print(hold_out([(n % 3,) for n in range(60)], {files!r}, {groups!r}, 0.3, 7).tolist())"
    )
    assert eval(subprocess.check_output([sys.executable, "-c", code], text=True)) == held.tolist()


def test_groups_stay_whole_and_leave_something_of_every_class() -> None:
    # 30 groups of 1 to 5, a class for each; and one class that is nearly all one group.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), rng.integers(1, 6, 30)).tolist()
    labels = [group % 3 for group in groups]
    groups, labels = groups + [30] * 10 + [31, 32], labels + [3] * 12
    held = hold_out([(label,) for label in labels], names(len(labels)), groups, 0.2, 1)
    for group in set(groups):
        assert len({bool(held[place]) for place in range(len(groups)) if groups[place] == group}) == 1
    counts = Counter(labels)
    kept = Counter(np.array(labels)[held].tolist())
    for label, count in counts.items():
        assert 0 < kept[label] < count
        assert abs(kept[label] - 0.2 * count) <= 3
    # Two halves that can't be parted: one goes to either side.
    assert hold_out([(0,)] * 12, names(12), [0] * 6 + [1] * 6, 0.2, 0).sum() == 6


def test_several_classes_a_sample() -> None:
    """As for objects on pictures: each class within two of its share, pictures without objects too."""
    rng = np.random.default_rng(3)
    often = np.array([0.7, 0.3, 0.1, 0.02, 0.01])
    sets = [tuple(np.flatnonzero(rng.random(5) < often).tolist()) for _ in range(400)]
    held = hold_out(sets, names(400), range(400), 0.25, 0)
    total, kept = (
        Counter(label for one in some for label in one or (-1,)) for some in (sets, np.array(sets, dtype=object)[held])
    )
    assert abs(held.sum() - 100) <= 8
    for label, count in total.items():
        assert kept[label] >= 1
        assert abs(kept[label] - 0.25 * count) <= max(2, 0.08 * count), label


def test_too_little_is_refused() -> None:
    with pytest.raises(UserError, match=r"1 of 3 classes have a single sample.*lynx"):
        check_share([(0,)] * 5 + [(1,)] * 5 + [(2,)], ["cat", "dog", "lynx"], 0.2, "pictures")
    with pytest.raises(UserError, match=r"data\.val=0\.1 of 4 pictures leaves nothing to validate on"):
        check_share([(0,), (0,), (1,), (1,)], ["cat", "dog"], 0.1, "pictures")
    check_share([(0, 1), (0,), (0,), (0,), (0,)], ["cat", "dog"], 0.2, "pictures")
