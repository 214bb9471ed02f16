"""What was measured before: by network, inputs, processor, threads and versions, in the cache folder.

A wrong entry can only be slow: whatever is chosen is compared with PyTorch before it runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from phonecv.benchmarking.machine import package_versions, processor_flags, processor_name
from phonecv.benchmarking.runtimes import RUNTIMES
from phonecv.errors import UserError
from phonecv.exporting.inputs import Input
from phonecv.files import cache_dir, write_json
from phonecv.rules import check_table, number, table_of

#: What a kept measurement holds.
_HELD = {
    "seconds": (table_of(number(0)), "a table of numbers"),
    "start": (table_of(number(0)), "a table of numbers"),
    "refused": (table_of(lambda value: isinstance(value, str)), "a table of texts"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What runtimes took.

    Attributes:
        seconds: of one row, by runtime.
        start: seconds until a runtime was ready, by runtime.
        refused: by runtime, why it is not among them.
    """

    seconds: dict[str, float]
    start: dict[str, float]
    refused: dict[str, str]

    @property
    def tried(self) -> set[str]:
        """Every runtime that something is known of."""
        return {*self.seconds, *self.refused}

    def best(self, runtimes: Sequence[str]) -> str:
        """The fastest of these."""
        return min((name for name in runtimes if name in self.seconds), key=self.seconds.__getitem__)


def key_of(network: Any, inputs: Sequence[Input], threads: int, precision: str, rows: int) -> str:
    """A name for all that decides how fast runtimes are; the values of weights are not among it."""
    shapes = [[name, list(value.shape)] for name, value in network.state_dict().items()]
    packages = {"phonecv", *(package for runtime in RUNTIMES.values() for package in runtime.packages)}
    machine = [processor_name(), processor_flags(), package_versions(sorted(packages)), threads, precision, rows]
    told = json.dumps([type(network).__name__, repr(network), shapes, [one.to_dict() for one in inputs], machine])
    return hashlib.sha256(told.encode()).hexdigest()[:24]


def recall(key: str) -> Measured | None:
    """What is known under a key."""
    try:
        held = json.loads(_path(key).read_text(encoding="utf-8"))
        check_table(held, _HELD, "what was measured")
        return Measured(**held)
    except (OSError, ValueError, TypeError, UserError):
        return None


def remember(key: str, found: Measured) -> None:
    """Keep it beside what is known of other runtimes; a cache that cannot be written is done without."""
    before = recall(key) or Measured({}, {}, {})
    pairs = ((before.seconds, found.seconds), (before.start, found.start), (before.refused, found.refused))
    parts = [{name: old[name] for name in old if name not in found.tried} | new for old, new in pairs]
    try:
        write_json(_path(key), asdict(Measured(*cast(Any, parts))))
    except (OSError, UserError):
        return


def _path(key: str) -> Path:
    return cache_dir() / "accelerate" / f"{key}.json"
