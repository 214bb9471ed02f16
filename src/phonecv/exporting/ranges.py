"""What the writers of int8 files share: their settings, and the range of values that eight bits shall span."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from phonecv.errors import UserError, did_you_mean
from phonecv.exporting.job import Job

#: Ways to choose the range of an activation.
RANGES = ("minmax", "percentile")


@dataclass(frozen=True, slots=True)
class Int8Settings:
    """`Job.settings` for int8, checked.

    Attributes:
        range: of `RANGES`. "minmax" spans all that calibration saw; "percentile" leaves rare values to be clipped.
        percentile: share of the values that the range spans, both ends cut alike.
        float_layers: paths of modules that stay float, with all that is in them.
    """

    range: str = "minmax"
    percentile: float = 99.99
    float_layers: tuple[str, ...] = ()

    @property
    def span(self) -> float:
        """The percentile to use; 100 is minimum and maximum."""
        return 100.0 if self.range == "minmax" else self.percentile

    def used(self, pictures: np.ndarray) -> dict[str, Any]:
        """What a report says of a file that was made by them and these calibration pictures, as JSON values."""
        return {
            "range": self.range,
            "percentile": self.percentile if self.range == "percentile" else None,
            "float_layers": [path.removeprefix("network.") for path in self.float_layers],
            "calibration": len(pictures),
            "weights": "int8, symmetric, per output channel",
        }


def int8_settings(job: Job) -> Int8Settings:
    """The settings of a job.

    Raises:
        UserError: an unknown setting, a value out of range, or a layer that the network does not have.
    """
    known = ("range", "percentile", "float_layers")
    for key in job.settings:
        if key not in known:
            raise UserError(f"unknown int8 setting {key!r}{did_you_mean(key, known)} (known: {', '.join(known)})")
    layers = job.settings.get("float_layers", ())
    settings = Int8Settings(
        range=job.settings.get("range", "minmax"),
        percentile=float(job.settings.get("percentile", 99.99)),
        float_layers=tuple(chosen_modules(job.module, (layers,) if isinstance(layers, str) else layers)),
    )
    if settings.range not in RANGES:
        raise UserError(f"int8 range {settings.range!r} is not one of {', '.join(RANGES)}")
    if not 50 < settings.percentile <= 100:
        raise UserError(f"int8 percentile {settings.percentile!r} is not above 50 and at most 100; try 99.99")
    return settings


def chosen_modules(module: nn.Module, names: Iterable[str]) -> list[str]:
    """Paths of the modules that are meant by `names`, without those inside another of them.

    A name is the end of a path: "stage1.0" means "network.stage1.0" in an exported module.
    """
    paths = [path for path, _ in module.named_modules() if path]
    found = []
    for name in names:
        matches = [path for path in paths if path == name or path.endswith(f".{name}")]
        if not matches:
            nearest = did_you_mean(name, [path.removeprefix("network.") for path in paths])
            raise UserError(f"the network has no layer {name!r}{nearest}; `float_layers` takes names of its modules")
        found += matches
    return [path for path in dict.fromkeys(found) if not any(path.startswith(f"{other}.") for other in found)]


@contextmanager
def watched(
    network: nn.Module, names: Iterable[str], hook: Callable[..., Any], *, before: bool = False
) -> Iterator[None]:
    """Call a hook with the name of a module, and what PyTorch gives, whenever one of these has run, or is about to."""
    with ExitStack() as hooks:
        for name in names:
            module = network.get_submodule(name)
            register = module.register_forward_pre_hook if before else module.register_forward_hook
            hooks.enter_context(register(partial(hook, name)))
        yield


def calibration_pictures(job: Job) -> np.ndarray:
    """The pictures to calibrate on, ``N 3 H W``."""
    pictures = job.calibration
    if pictures is None or len(pictures) == 0:
        raise UserError("an int8 file needs pictures to calibrate on: pass calibration=, about 100 like the app sees")
    wanted = tuple(job.examples[0].shape[1:])
    if tuple(pictures.shape[1:]) != wanted:
        raise UserError(f"calibration pictures have shape {pictures.shape}, the network takes N x {wanted}")
    if not np.isfinite(pictures).all():
        raise UserError("calibration pictures hold NaN or infinity")
    return np.ascontiguousarray(pictures, np.float32)


class Tails:
    """The lowest and highest values of a stream of `total`, which hold any percentile near its ends exactly.

    Only the ends are kept: a few thousand numbers of the hundred million that a layer gives over a calibration.
    `percentile` is the share of values within the range, cut alike at both ends; 100 for minimum and maximum.
    """

    def __init__(self, total: int, percentile: float) -> None:
        self._keep = int(total * (100 - percentile) / 200) + 1
        self._lowest = np.empty(0, np.float32)
        self._highest = np.empty(0, np.float32)

    def add(self, values: np.ndarray) -> None:
        """Take more of the stream."""
        values = values.reshape(-1)
        if not values.size:
            return
        if self._keep == 1:  # far faster than picking
            self._lowest = np.array([min([values.min(), *self._lowest])], np.float32)
            self._highest = np.array([max([values.max(), *self._highest])], np.float32)
            return
        full = len(self._highest) == self._keep
        # Nearly nothing is left of either end after the first pictures.
        low = values[values < self._lowest.max()] if full else values
        high = values[values > self._highest.min()] if full else values
        self._lowest = -_largest(np.concatenate([-self._lowest, -low]), self._keep)
        self._highest = _largest(np.concatenate([self._highest, high]), self._keep)

    def range(self) -> tuple[float, float]:
        """Low and high end; zero is always within, because padding and ReLU need it exact."""
        if not len(self._highest):
            return 0.0, 0.0
        return min(0.0, float(self._lowest.max())), max(0.0, float(self._highest.min()))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    return values if len(values) <= count else np.partition(values, len(values) - count)[-count:]
