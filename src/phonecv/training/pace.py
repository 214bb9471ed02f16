"""How long what is left of a run will take, by what was done of it."""

from __future__ import annotations

from collections.abc import Mapping

#: Steps that the mean goes back over: later epochs may have larger pictures.
MEMORY = 200


class Pace:
    """Seconds that a step of each kind of work takes, by the last ones."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._steps: dict[str, int] = {}

    def note(self, kind: str, seconds: float) -> None:
        """Take in a step. The first of a kind, in which loaders start, counts until the second."""
        steps = self._steps[kind] = self._steps.get(kind, -1) + 1
        before = self._mean.get(kind, seconds) if steps > 1 else seconds
        self._mean[kind] = before + (seconds - before) / min(max(1, steps), MEMORY)

    def left(self, steps: Mapping[str, int]) -> float | None:
        """Seconds for so many more steps of each kind; None where none of any kind was done yet."""
        known = [self._mean[kind] * count for kind, count in steps.items() if kind in self._mean]
        return sum(known) if known else None
