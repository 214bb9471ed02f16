"""The options of a verb for a task, and those for the reading of a checkpoint, checked before work starts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

from phonecv.errors import UserError, did_you_mean, nearest
from phonecv.models.catalog import MODELS
from phonecv.options import COMMON, Checked, Count, Workers, check_verb, named, options_of, tasks_with
from phonecv.task import TASKS
from phonecv.weights.loading import Loading

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Opening:
    """How a model is opened.

    Attributes:
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        loading: what to take of a checkpoint.
    """

    device: str | torch.device | None = None
    amp: str = "none"
    loading: Loading = field(default_factory=Loading)


@dataclass(frozen=True, slots=True)
class Together:
    """This process among those that share a work: the only one, unless it is a `phonecv.training.world.World`.

    Attributes:
        rank: number among all processes, from 0.
        size: processes in all.
    """

    rank: int = 0
    size: int = 1

    def gather(self, value: Any) -> list[Any]:
        """Everyone's value, in the order of ranks, on every process."""
        return [value]


ALONE = Together()


@dataclass(frozen=True, slots=True)
class Steps(Checked):
    """How pictures are taken; no result depends on it.

    Attributes:
        batch_size: pictures per step; None chooses.
        workers: loader processes or threads; None chooses.
        world: the processes that share the pictures: this one takes each `world.size`-th from `world.rank` on.
    """

    batch_size: Count | None = None
    workers: Workers | None = None
    world: Together = ALONE


def settled(task: str, verb: str, given: Mapping[str, Any], *, model: object) -> tuple[Any, Loading]:
    """The options of a verb as the task wants them, and those that belong to the reading of a checkpoint.

    Args:
        task: of the model.
        verb: "predict", "evaluate" or "generate".
        given: what the person gave; None stands for what is by default.
        model: for the message.

    Returns:
        The task's dataclass, and what to take of a checkpoint.

    Raises:
        UserError: the task has no such verb; an option that does not exist or belongs to another task, a wrong type or
            a value out of range.
    """
    check_verb(task, verb, model)
    given = {name: value for name, value in given.items() if value is not None}
    kind, common = options_of(task, verb), _names(COMMON[verb])
    own = _names(kind)
    loading = {name: value for name, value in given.items() if name not in own}
    if loading and not loading.keys() <= set(_loading_names()):  # the names take the networks, and torch
        owners = {
            other: [name for name in _names(options_of(other, verb)) if name not in common]
            for other in tasks_with(verb)
        }
        for name in loading:
            _check_known(name, task, owners, [*common, *_loading_names(constructors=False)], model)
    return kind(**{name: value for name, value in given.items() if name in own}), Loading.of(loading)


def _names(kind: type[Checked]) -> list[str]:
    return [one.name for one in fields(cast(Any, kind))]


def _check_known(
    name: str, task: str, owners: Mapping[str, Sequence[str]], general: Sequence[str], model: object
) -> None:
    near = nearest(name, dict.fromkeys([*general, *(each for own in owners.values() for each in own)]))
    whose = [other for other, own in owners.items() if near in own]
    if near == name and whose:
        raise belongs_elsewhere(name, whose, task, model)
    if name in _loading_names():
        return
    if whose and task not in whose and near not in general:
        raise UserError(f"there is no option {name!r}; {belongs_elsewhere(near, whose, task, model)}")
    known = [*general, *owners[task]]
    raise UserError(f"there is no option {name!r}{did_you_mean(name, known)} (options: {', '.join(known)})")


def belongs_elsewhere(name: str, owners: Sequence[str], task: str, model: object) -> UserError:
    """The error for an option of other tasks."""
    return UserError(
        f"{name} is for {' and '.join(TASKS[owner].noun for owner in owners)}; {named(model)} is {TASKS[task].noun}"
    )


def _loading_names(*, constructors: bool = True) -> Iterator[str]:
    """Options of `load_checkpoint`; with those of the networks' constructors, which it passes on."""
    yield from Loading.names()
    if constructors:
        for builder in {record.builder for record in MODELS.values()}:
            yield from inspect.signature(resolve_name(builder)).parameters
