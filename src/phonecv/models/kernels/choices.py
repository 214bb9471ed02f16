"""Which kernel to take where there are two: measured on the processor at hand, once, when it is first asked for.

What is faster on one processor is slower on another, so each way around PyTorch's kernels is timed against PyTorch's
own, in a fraction of a second. What was found is kept in a readable file of the cache folder, one for each processor,
its limits and the version of torch; a damaged or foreign file is measured anew. Ways give the same numbers up to
rounding, so a wrong choice can only be slow.

``PHONECV_KERNELS`` decides without measuring: "pytorch" takes PyTorch's ways, "ours" the others, and
"pointwise=pytorch,layout=ours" those of the named choices. `using` does so for a while in Python. `phonecv doctor`
shows what was chosen, and measures anew with ``--kernels``.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch

from phonecv.errors import UserError, did_you_mean
from phonecv.files import cache_dir, write_json
from phonecv.models.kernels.work import Work

#: PyTorch's own way, or the one around it.
Way = Literal["pytorch", "ours"]
WAYS: tuple[Way, ...] = get_args(Way)

VARIABLE = "PHONECV_KERNELS"

#: Variables that hold torch's libraries to a part of what the processor can do.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")

#: Each choice is measured in turns for so long, in seconds; on a busy machine for longer, but for so many turns.
_SECONDS, _LEAST_TURNS = 0.25, 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found of a choice: the way taken, milliseconds of both, and the date."""

    way: Way
    milliseconds: dict[str, float]
    date: str


class Choice:
    """One place where a kernel is chosen.

    Attributes:
        name: in the variable, the file and the report.
        about: what our way is, for people.
    """

    #: Makes the work to be timed, which is done the way that is chosen while it is made, and while it runs.
    _trial: Callable[[], Work]

    def __init__(self, name: str, about: str) -> None:
        self.name, self.about = name, about
        self._taken: Way | None = None
        self._lock = threading.RLock()

    def timed_by(self, trial: Callable[[], Work]) -> Callable[[], Work]:
        """Decorate what makes the work to be timed; it stands with the layers that ask for the choice."""
        self._trial = trial
        return trial

    @property
    def ours(self) -> bool:
        """Whether to go our way; measured if it has to be."""
        return (self._taken or self._settle()) == "ours"

    def asked(self) -> Way | None:
        """What the environment says."""
        return _asked(os.environ.get(VARIABLE, "")).get(self.name)

    def found(self) -> Measured | None:
        """What was measured on this processor before."""
        return _read().get(self.name)

    def measure(self) -> Measured:
        """Time both ways now, and keep what was found; takes a fraction of a second."""
        # In a thread of its own nothing that the caller has switched on (gradients, autocast, a mode) has a part in it.
        with ThreadPoolExecutor(1) as pool:
            times = pool.submit(_times, self.name, self._trial).result()
        way: Way = "ours" if times["ours"] <= times["pytorch"] else "pytorch"
        found = Measured(way, {name: round(1e3 * spent, 4) for name, spent in times.items()}, time.strftime("%Y-%m-%d"))
        _write({**_read(), self.name: found})
        self._taken = self.asked() or way
        return found

    def _settle(self) -> Way:
        with self._lock:
            if self._taken is None:
                found = self.found()
                self._taken = self.asked() or (found or self.measure()).way
            return self._taken


POINTWISE = Choice("pointwise", "1x1 convolutions of few pictures on one thread go to oneDNN by name")
LAYOUT = Choice("layout", "a fused network's convolutions lie channels-last")
WEIGHTS = Choice("weights", "a frozen network's weights are packed, activations come with the convolution")
GRADIENTS = Choice("gradients", "gradients of depthwise convolutions are convolutions themselves")
BRANCHES = Choice("branches", "MobileOne's branches are summed before they run, in training")
CHOICES = {choice.name: choice for choice in (POINTWISE, LAYOUT, WEIGHTS, GRADIENTS, BRANCHES)}


@contextmanager
def using(default: Way | None = None, **ways: Way) -> Iterator[None]:
    """Go these ways inside the block, in all threads; `default` is for choices that are not named.

    Raises:
        UserError: an unknown choice or way.
    """
    _check(ways)
    if default is not None:
        ways = dict.fromkeys(CHOICES, default) | ways
    before = {name: CHOICES[name]._taken for name in ways}
    try:
        for name, way in ways.items():
            CHOICES[name]._taken = way
        yield
    finally:
        for name, taken in before.items():
            CHOICES[name]._taken = taken


def _asked(text: str) -> dict[str, Way]:
    """``PHONECV_KERNELS`` by choice."""
    if text in WAYS:
        return dict.fromkeys(CHOICES, cast("Way", text))
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    ways = {name.strip(): way.strip() for name, _, way in pairs}
    _check(ways)
    return cast("dict[str, Way]", ways)


def _check(ways: Mapping[str, str]) -> None:
    for name, way in ways.items():
        if name not in CHOICES:
            known = f"{did_you_mean(name, CHOICES)} (known: {', '.join(CHOICES)})"
            raise UserError(f"{VARIABLE}: unknown kernel {name!r}{known}")
        if way not in WAYS:
            raise UserError(f"{VARIABLE}: {name}={way!r} is not one of {', '.join(WAYS)}")


def _times(name: str, trial: Callable[[], Work]) -> dict[Way, float]:
    """Seconds of both ways on one thread, the fastest of several turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        works = {}
        for way in WAYS:
            with using(**{name: way}):
                works[way] = trial()
        fastest: dict[Way, float] = dict.fromkeys(WAYS, float("inf"))
        end, turns = time.perf_counter() + _SECONDS, 0
        while turns < _LEAST_TURNS or time.perf_counter() < end:
            for way, work in works.items():
                with using(**{name: way}):
                    start = time.perf_counter()
                    work()
                    fastest[way] = min(fastest[way], time.perf_counter() - start)
            turns += 1
        return fastest
    finally:
        torch.set_num_threads(threads)


@cache
def _machine() -> dict[str, Any]:
    """What a measurement belongs to."""
    known: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {
        "processor": known.get("cpu_name", ""),
        "features": sorted(name for name, held in known.items() if held is True),
        "limits": {name: os.environ[name] for name in LIMITS if name in os.environ},
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def path() -> Path:
    """The file of this processor."""
    digest = hashlib.sha256(json.dumps(_machine(), sort_keys=True).encode()).hexdigest()
    return cache_dir() / f"kernels-{digest[:12]}.json"


def _read() -> dict[str, Measured]:
    """What the file holds of choices that there are; nothing where it is damaged or another processor's."""
    try:
        held = json.loads(path().read_text(encoding="utf-8"))
        if held["machine"] != _machine():
            return {}
        found = {name: Measured(**held["choices"][name]) for name in CHOICES if name in held["choices"]}
        return {name: one for name, one in found.items() if one.way in WAYS and set(one.milliseconds) == set(WAYS)}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _write(found: Mapping[str, Measured]) -> None:
    choices = {name: asdict(one) for name, one in found.items()}
    try:
        write_json(path(), {"machine": _machine(), "choices": choices})
    except OSError:
        return  # a cache that cannot be written: measured again by the next process
