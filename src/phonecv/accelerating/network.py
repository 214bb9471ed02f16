"""`phonecv.accelerate`: the same network, run by the fastest runtime that is installed."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast, overload

import torch
from torch import Tensor, nn

from phonecv.accelerating.choosing import AUTO, EAGER, Asked, candidates, chosen
from phonecv.accelerating.engine import LIMITS, Engine
from phonecv.accelerating.inner import Inner, inner_name
from phonecv.accelerating.known import Measured
from phonecv.benchmarking.runtimes import RUNTIMES
from phonecv.create import load_network
from phonecv.errors import UserError
from phonecv.exporting.checks import Limits
from phonecv.exporting.inputs import Input
from phonecv.exporting.record import check_size
from phonecv.exporting.room import exporting_of
from phonecv.exporting.run import in_form
from phonecv.models.fusing import fuse
from phonecv.models.headed import Network
from phonecv.models.quantized import refuse_floating_point
from phonecv.task import done_by
from phonecv.text import counted

N = TypeVar("N", bound=nn.Module)


@overload
def accelerate(
    model: N,
    *,
    runtime: str = ...,
    precision: Literal["float32", "bf16"] = ...,
    size: int | tuple[int, int] | None = ...,
    threads: int | None = ...,
    max_diff: float | None = ...,
) -> N: ...
@overload
def accelerate(
    model: Path | str,
    *,
    runtime: str = ...,
    precision: Literal["float32", "bf16"] = ...,
    size: int | tuple[int, int] | None = ...,
    threads: int | None = ...,
    max_diff: float | None = ...,
) -> Any: ...
def accelerate(
    model: nn.Module | Path | str,
    *,
    runtime: str = AUTO,
    precision: Literal["float32", "bf16"] = "float32",
    size: int | tuple[int, int] | None = None,
    threads: int | None = None,
    max_diff: float | None = None,
) -> Any:
    """A network that is called as before and runs on the CPU in the fastest runtime installed.

    It is fused first. Candidates are compared with PyTorch, then timed in turns; what they took is kept in the cache
    folder by network, processor and versions, so that next time only the fastest is made. The result is of the
    network's own class, holds its own copy of the weights, takes any number of rows and several sizes, and is for
    inference alone: training it, gradients, other devices and new weights are refused. What a network does beside its
    inner part, resizing and choosing boxes, stays PyTorch's, and so do `forward_features` and the like.

    Args:
        model: a network of ours of any task, the path of a checkpoint, or a catalog name (its public weights).
        runtime: "auto" tries OpenVINO, ONNX Runtime and PyTorch, or where neither of the first two is installed
            everything else that is; "all" everything installed (takes minutes); or the name of one, see
            ``phonecv.benchmarking.runtimes.RUNTIMES``.
        precision: "float32", or "bf16" where the processor computes in it.
        size: input side, or height and width, that it is tried at; by default the network's own.
        threads: of the runtime; by default as many as PyTorch's.
        max_diff: largest difference from PyTorch in float32, as a share of the largest output, that passes; by default
            1e-4, for bf16 0.25, as much as PyTorch's own bfloat16 differs.

    Returns:
        The network, in evaluation mode; its repr says what runs it.

    Raises:
        UserError: no network of ours, a runtime that is not installed or differs from PyTorch, a precision or size that
            cannot be had.
    """
    if precision not in LIMITS:
        raise UserError(f"precision {precision!r} is not one of {', '.join(LIMITS)}")
    Limits.check(max_diff, None)
    names = candidates(runtime, precision)
    network = load_network(model, task=None)
    if not isinstance(network, Network):
        raise UserError(f"a {type(network).__name__} is no network of this package; export it by its own means")
    if isinstance(network, Accelerated):
        network = network._held.plain
    return accelerated(network, names, precision, size, threads, max_diff)


def accelerated(
    network: Network,
    names: Sequence[str],
    precision: str,
    size: int | tuple[int, int] | None = None,
    threads: int | None = None,
    max_diff: float | None = None,
    rows: int = 1,
) -> Accelerated:
    """The network in the fastest of these runtimes for so many rows at once, see `accelerate`."""
    refuse_floating_point(network, precision)
    fused = fuse(in_form(network, "deploy"), frozen=True)
    asked = Asked(tuple(names), precision, threads or torch.get_num_threads(), max_diff or LIMITS[precision], rows)
    inputs = inputs_of(fused, size)
    engine, measured = chosen(Inner(fused), inputs, asked)
    return _accelerated(Held(fused, engine, measured, engine.made_for(inputs).difference, size))


def inputs_of(network: Network, size: int | tuple[int, int] | None = None) -> tuple[Input, ...]:
    """What the inner part of a network takes at a size, by default its own."""
    return exporting_of(done_by(network)).inputs(network, *check_size(size, network))


@dataclass(frozen=True, slots=True)
class Held:
    """What an accelerated network holds beside the parts of the plain one.

    Attributes:
        plain: the fused network.
        engine: runs its inner part.
        measured: what runtimes took.
        difference: of the outputs from PyTorch's, as a share of the largest.
        size: that it was tried at, as asked for.
    """

    plain: nn.Module
    engine: Engine
    measured: Measured
    difference: float
    size: int | tuple[int, int] | None

    @property
    def asked(self) -> dict[str, Any]:
        """Arguments of `accelerate` that make the same again."""
        engine = self.engine
        return {
            "runtime": engine.runtime,
            "precision": engine.precision,
            "size": self.size,
            "threads": engine.threads,
            "max_diff": engine.max_diff,
        }

    def run(self, plainly: Callable[..., Any], given: Sequence[Any], options: dict[str, Any]) -> Any:
        """The inner part, by the runtime where that can."""
        if options or self.engine.exact or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return plainly(*given, **options)
        for one in given:
            if one.device.type != "cpu":
                raise UserError(f"an accelerated network runs on the CPU; its input is on {one.device}")
            if one.requires_grad and torch.is_grad_enabled():
                raise UserError(f"{_NO_TRAINING}: an input asks for a gradient; use the network it was made from")
        found = self.engine(given)
        return plainly(*given) if found is None else found


_NO_TRAINING = "an accelerated network is for inference alone"


class Accelerated(nn.Module):
    """What `accelerate` returns, beside the class of the network itself."""

    _held: Held

    @property
    def runtime(self) -> str:
        """What runs it, for people."""
        return self._held.engine.title

    @property
    def engine(self) -> Engine:
        """Runs the inner part."""
        return self._held.engine

    @property
    def measured(self) -> Measured:
        """What runtimes took when they were tried."""
        return self._held.measured

    @property
    def difference(self) -> float:
        """Of its outputs from PyTorch's, as a share of the largest."""
        return self._held.difference

    def train(self, mode: bool = True) -> Self:
        """Evaluation mode is all there is."""
        if mode:
            raise UserError(f"{_NO_TRAINING}; train the network it was made from, and accelerate it again")
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Its weights ask for none."""
        return self.train(requires_grad)

    def load_state_dict(self, *_: Any, **__: Any) -> Any:
        """Its weights are the runtime's already."""
        raise UserError(f"{_NO_TRAINING}; load the weights into the network it was made from, and accelerate it again")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        changed = fn(torch.zeros(1))
        if changed.device.type != "cpu" or changed.dtype != torch.float32:
            raise UserError("an accelerated network stays on the CPU in float32; `accelerate` takes the precision")
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Another one with the same runtime and weights, which never change."""
        made = _accelerated(self._held)
        made.__dict__.update(copy.deepcopy(self._own(), memo))
        return cast(Self, made)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """The fused network, and how to accelerate it again where it is read."""
        return _again, (self._held.plain, self._held.asked), self._own()

    def _own(self) -> dict[str, Any]:
        """Its plain attributes, such as thresholds, which a person may have changed."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_") and name != "training"}

    def __repr__(self) -> str:
        held, plain = self._held, cast(Any, self._held.plain)
        engine, seconds = held.engine, held.measured.seconds
        lines = [
            f"{plain.name or type(plain).__name__}, {plain.form} form, run by {engine.title}, {engine.precision},"
            f" {counted(engine.threads, 'threads')}",
            f"{1000 * seconds[engine.runtime]:.2f} ms a row, {1000 * seconds[EAGER]:.2f} ms in PyTorch when measured",
            f"outputs differ by {self.difference:.1e} of the largest, {engine.max_diff:.2g} is allowed",
            *(f"{RUNTIMES[name].title} was refused: {why}" for name, why in held.measured.refused.items()),
        ]
        return f"{type(self).__name__}(\n" + "".join(f"  {line}\n" for line in lines) + ")"


def _accelerated(held: Held) -> Accelerated:
    """An object of the plain network's own kind that shares its parts."""
    kind = _kind(type(held.plain))
    made: Accelerated = kind.__new__(kind)
    parts = {name: dict(value) if isinstance(value, dict) else value for name, value in held.plain.__dict__.items()}
    made.__dict__.update(parts, _held=held)
    return made


@functools.cache
def _kind(plain: type[nn.Module]) -> type[Accelerated]:
    name = inner_name(plain)
    method = getattr(plain, name)

    def inner(self: Accelerated, *given: Any, **options: Any) -> Any:
        return self._held.run(functools.partial(method, self), given, options)

    inner.__doc__, inner.__name__ = method.__doc__, name
    return cast(type[Accelerated], type(f"Accelerated{plain.__name__}", (Accelerated, plain), {name: inner}))


def _again(plain: nn.Module, asked: dict[str, Any]) -> Accelerated:
    """Of a pickle."""
    return cast(Accelerated, accelerate(plain, **asked))
