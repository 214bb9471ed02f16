"""How many loader processes pay."""

from __future__ import annotations

from phonecv.devices import usable_cores

#: Below this many pictures, starting loader processes costs more than it gives where each is read once.
WORKERS_FROM = 256


def default_workers() -> int:
    """Worker processes that suit this machine: one per usable core, less one for the training, at most 8."""
    return max(0, min(8, usable_cores() - 1))


def eval_workers(count: int, workers: int | None = None) -> int:
    """Loader processes for so many pictures that are read once: as many as are asked for, or what pays off."""
    return workers if workers is not None else default_workers() if count >= WORKERS_FROM else 0
