"""Which samples are held out, so that every class is in both parts and what belongs together is on one side.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data", section 3)
into two parts, with groups in the place of samples: the rarest class is dealt out first, each group to the part that
lacks the class most, large groups before small ones.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from phonecv.errors import UserError
from phonecv.text import some_names

#: Share that is held out where nobody chose one.
SHARE = 0.2

#: What a sample without any class counts as: pictures without objects are dealt out in shares, too.
_NOTHING = -1


def wanted_of(count: int, share: float) -> int:
    """Of `count` samples of a class those to hold out: the share, and one at least where one stays."""
    return min(count - 1, max(1, round(share * count)))


def check_share(classes: Sequence[Collection[int]], names: Sequence[str], share: float, noun: str) -> None:
    """Refuse to divide what is too little: `classes` of every sample, `names` of the classes.

    Raises:
        UserError: nothing would be held out or trained on, or a class of samples with one class each has one only.
    """
    samples = len(classes)
    if not 0 < round(share * samples) < samples:
        raise UserError(
            f"data.val={share:g} of {samples} {noun} leaves nothing to {'validate' if samples > 1 else 'train'} on;"
            f" it takes {max(2, round(0.5 / share) + 1)} {noun} at least, or another share"
        )
    if any(len(one) != 1 for one in classes):
        return
    counts = Counter(label for one in classes for label in one)
    single = [names[label] for label in sorted(counts) if counts[label] == 1]
    if single:
        raise UserError(
            f"{len(single)} of {len(counts)} classes have a single sample, which can't be both trained on and held out"
            f" (data.val={share:g}): {some_names(single)}; add {noun}, or take the class away"
        )


def undivided_told(classes: Sequence[Collection[int]], names: Sequence[str], noun: str) -> tuple[str, str]:
    """Of undivided data, for an audit: how bad that is, and what becomes of it."""
    try:
        check_share(classes, names, SHARE, noun)
    except UserError as error:
        return "error", f"no validation split, and too little to hold one out: {error}"
    counts = Counter(label for one in classes for label in one)
    single = all(len(one) == 1 for one in classes)
    held = sum(wanted_of(count, SHARE) for count in counts.values()) if single else round(SHARE * len(classes))
    return (
        "note",
        f"no validation split: a training holds {held:,} of the {len(classes):,} {noun} out, of every class its share,"
        f" look-alikes on one side (--val {SHARE:g})",
    )


def hold_out(
    classes: Sequence[Collection[int]], names: Sequence[str], groups: Sequence[int], share: float, seed: int
) -> np.ndarray:
    """Which of N samples are held out: N bool. Names and seed alone decide, not the order of the samples.

    Args:
        classes: of each sample, any number.
        names: of each sample, all different.
        groups: samples of one number are on one side.
        share: of the samples of every class.
        seed: another one, another choice.
    """
    sets = [frozenset(one) or frozenset((_NOTHING,)) for one in classes]
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(int(group), []).append(place)
    # A group is known by its first name; numbers of groups follow from the order of the files.
    ordered = sorted(
        members.values(), key=lambda places: (-len(places), _draw(min(names[one] for one in places), seed))
    )
    counts = [Counter(label for place in places for label in sets[place]) for places in ordered]
    total = sum(counts, Counter[int]())
    lacking = {label: [count - held, held] for label, count in total.items() for held in [wanted_of(count, share)]}
    overall = [len(sets) - round(share * len(sets)), round(share * len(sets))]
    holders: dict[int, list[int]] = {}
    for number, count in enumerate(counts):
        for label in count:
            holders.setdefault(label, []).append(number)

    held: dict[int, bool] = {}
    left = total.copy()
    while left:
        rarest = min(left, key=lambda label: (left[label], label))
        for number in holders[rarest]:
            if number in held:
                continue
            here, there = lacking[rarest], overall
            side = here[1] > here[0] or (here[1] == here[0] and there[1] > there[0])
            held[number] = side
            overall[side] -= len(ordered[number])
            for label, count in counts[number].items():
                lacking[label][side] -= count
                if label in left:
                    left[label] -= count
        del left[rarest]
    _mend(held, counts, holders, total)
    chosen = np.zeros(len(sets), dtype=bool)
    for number, places in enumerate(ordered):
        chosen[places] = held[number]
    return chosen


def _mend(
    held: dict[int, bool], counts: Sequence[Counter[int]], holders: dict[int, list[int]], total: Counter[int]
) -> None:
    """Give each part a group of every class that it lacks, where the other part keeps one of each of its classes."""
    parts = [Counter[int](), Counter[int]()]
    for number, side in held.items():
        parts[side].update(counts[number])
    for label in sorted(total, key=lambda label: (total[label], label)):
        for side in (True, False):
            if parts[side][label]:
                continue
            giving = parts[not side]
            # The smallest come last; of the pictures without any class nothing is needed.
            for number in reversed(holders[label] if label != _NOTHING else ()):
                if held[number] != side and all(giving[one] > count for one, count in counts[number].items()):
                    held[number] = side
                    giving.subtract(counts[number])
                    parts[side].update(counts[number])
                    break


def _draw(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
