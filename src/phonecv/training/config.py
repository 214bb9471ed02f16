"""What a training is: one frozen, checked `TrainConfig`, the same for Python, recipe files and the command line."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, cast, get_type_hints

import yaml

from phonecv import settings
from phonecv.errors import UserError
from phonecv.options import texts_of
from phonecv.task import TASKS
from phonecv.training.groups import (
    DataConfig,
    EmaConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
)

#: Settings that do not change any number of a run: a run may be resumed with other values of these.
FREE = frozenset(
    f"run.{name}"
    for name in (
        "out",
        "recipe",
        "save_every",
        "save_minutes",
        "keep_every",
        "threads",
        "progress",
        "loggers",
        "log_every",
        "audit",
        "checkpoint_activations",
        "keep_memory",
    )
) | {"data.workers", "data.eval_batch_size", "data.max_bad"}

#: Settings that change what is still to come: a run may go on with other values of these, which it says and records.
#: Of `data.path` only where the data are the same.
LATER = frozenset(
    {
        "data.path",
        "optimizer.accumulate",
        "schedule.epochs",
        "schedule.patience",
        "run.eval_every",
        "run.eval_each_from",
        "run.device",
    }
)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole training: what those of all tasks have in common; each task has its own class with further groups.

    Every group checks its types and ranges; this class checks what lies between groups. The defaults are EMOv2's
    published recipe; each YAML recipe lists what differs.

    Attributes:
        task: what is trained, a key of `phonecv.task.TASKS`.
        chosen_by: the setting that makes a recipe one of this task; empty: what a recipe trains that chooses none.
        unread: beginnings of common settings that this task passes over.
        instead: what this task has in the place of settings of others.
        sizes_vary: whether pictures differ in size from step to step, so that compiling for a size gains nothing.

    Raises:
        UserError: a value of the wrong type or out of range, two that contradict each other, or one without a meaning
            for what is trained.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    run: RunConfig = field(default_factory=RunConfig)

    task: ClassVar[str] = ""
    chosen_by: ClassVar[str] = ""
    unread: ClassVar[tuple[str, ...]] = ()
    instead: ClassVar[Mapping[str, str]] = {}
    sizes_vary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.task:
            raise UserError("TrainConfig is what trainings have in common; `load_config` gives that of a task")
        settings.check(self)
        if self.chosen_by and not settings.flatten(self)[self.chosen_by]:
            raise UserError(f"{self.chosen_by} is not set; it says which {TASKS[self.task].title} is trained")
        if strange := [name for name in settings.changed(self) if name.startswith(self.unread)]:
            group = strange[0].partition(".")[0]
            readers = [kind for kind in _kinds() if group in _own(kind) and not strange[0].startswith(kind.unread)]
            raise _no_use(strange[0], readers, type(self))
        schedule, data = self.schedule, self.data
        if schedule.warmup_steps is None and schedule.warmup_epochs >= schedule.epochs:
            raise UserError(
                f"schedule.warmup_epochs={schedule.warmup_epochs:g} leaves nothing of"
                f" schedule.epochs={schedule.epochs}; set schedule.warmup_epochs={schedule.epochs * 0.1:g}"
            )
        if schedule.decay_start and schedule.cosine == "after_warmup":
            raise UserError("schedule.decay_start and schedule.cosine=after_warmup both say where the decay starts")
        if data.repeats > 1 and (data.passes > 1 or schedule.epoch_steps is not None):
            raise UserError("data.repeats goes with neither data.passes nor schedule.epoch_steps; set one of them")
        if data.repeats > 1 and data.balance:
            raise UserError("data.repeats and data.balance both say how often a picture comes; set one of them")
        if data.passes > 1 and schedule.epoch_steps is not None:
            raise UserError("data.passes and schedule.epoch_steps both say how long an epoch is; set one of them")
        if schedule.noise and schedule.noise[0] >= schedule.noise[1]:
            raise UserError(f"schedule.noise={list(schedule.noise)} must rise, for example [0.42, 0.9]")
        if data.batch_size % self.optimizer.accumulate:
            raise UserError(
                f"data.batch_size={data.batch_size} does not divide by optimizer.accumulate={self.optimizer.accumulate}"
            )
        if self.optimizer.name == "adamw" and self.optimizer.nesterov:
            raise UserError("optimizer.nesterov=true belongs to optimizer.name=sgd; adamw has no such switch")
        self.check_together()

    def check_together(self) -> None:
        """Check what lies between the groups of this task."""

    def check_part(self, pictures: int) -> None:
        """Check how many pictures are computed at once by one process."""

    def in_catalog(self, name: str) -> bool:
        """Whether a network of this name has to be in the catalog."""
        return True

    def sizes(self) -> dict[int, int | None]:
        """Sides of training pictures by the epoch, counted from 0, that they begin with; None is `data.size`."""
        return {0: None}

    def stage(self, epoch: int) -> int:
        """Which of `sizes` an epoch has, both counted from 0."""
        return sum(first <= epoch for first in self.sizes()) - 1

    def replaced(self, *overrides: str) -> TrainConfig:
        """A copy with ``group.name=value`` texts laid over it."""
        return build_config(settings.to_plain(self), overrides)

    def to_yaml(self) -> str:
        """All settings, defaults included, as YAML that `load_config` reads back to an equal configuration."""
        return yaml.safe_dump(settings.to_plain(self), sort_keys=False, allow_unicode=True)

    def flat(self) -> dict[str, Any]:
        """Every setting of every task by its full name; those of other tasks have their defaults."""
        return settings.flatten(_whole(_kinds())()) | settings.flatten(self)

    def differences(self, other: TrainConfig) -> list[str]:
        """Names of the settings that would change the run's numbers and differ in `other`."""
        mine, theirs = self.flat(), other.flat()
        return [name for name in mine if name not in FREE and mine[name] != theirs[name]]


class ConfigRoom(Protocol):
    """Room "config" of a task; it does not import torch.

    Attributes:
        Config: of its trainings.
    """

    Config: type[TrainConfig]


def _kinds() -> tuple[type[TrainConfig], ...]:
    return tuple(cast(ConfigRoom, task.room("config")).Config for task in TASKS.values())


def _own(kind: type[TrainConfig]) -> list[str]:
    return [group.name for group in dataclasses.fields(kind)]


@functools.cache
def _whole(kinds: tuple[type[TrainConfig], ...]) -> type[Any]:
    """A dataclass of the groups of all tasks: what a recipe may hold before it is known what it trains."""
    groups: dict[str, tuple[str, Any, Any]] = {}
    for kind in kinds:
        hints = get_type_hints(kind, include_extras=True)
        for group in dataclasses.fields(kind):
            default = field(default_factory=lambda kind=kind, name=group.name: settings.default(kind, name))
            groups[group.name] = (group.name, hints[group.name], default)
    return dataclasses.make_dataclass("Whole", groups.values(), frozen=True, slots=True)


def build_config(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration that nested plain values stand for, with ``group.name=value`` texts laid over them."""
    kinds = _kinds()
    whole = _whole(kinds)
    every = settings.build(whole, settings.merge(dict(values), overrides, whole))
    flat = settings.flatten(every)
    chosen = [kind for kind in kinds if kind.chosen_by and flat[kind.chosen_by]]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(kind.chosen_by for kind in chosen)} are both set; a training has one task")
    kind = chosen[0] if chosen else next(kind for kind in kinds if not kind.chosen_by)
    for name in settings.changed(every):
        group = name.partition(".")[0]
        if group in _own(kind):
            continue
        owners = [other for other in kinds if group in _own(other)]
        if owners[0].chosen_by:
            raise UserError(f"{name} is set, but {owners[0].chosen_by} is not; set that too, or leave it out")
        raise _no_use(name, owners, kind)
    return kind(**{name: getattr(every, name) for name in _own(kind)})


def _no_use(name: str, owners: Sequence[type[TrainConfig]], kind: type[TrainConfig]) -> UserError:
    theirs = " and ".join(f"{TASKS[owner.task].title}s" for owner in owners)
    noun = TASKS[kind.task].noun
    if instead := kind.instead.get(name):
        return UserError(f"{name} is for {theirs}; for {noun} set {instead}")
    return UserError(f"{name} is for {theirs}, {noun} has no use for it; leave it out")


def settings_named(name: str, most: int = 3, *, exact: bool = False) -> list[str]:
    """Full names of the settings whose last part is `name`, or nearly; of a group its name: "model" is "model.name"."""
    every = all_settings()
    if f"{name}.name" in every:
        return [f"{name}.name"]
    leaves = [full.rpartition(".")[2] for full in every]
    near = [name] if exact or name in leaves else difflib.get_close_matches(name, leaves, 1, 0.7)
    return [full for full, leaf in zip(every, leaves, strict=True) if leaf in near][:most]


def all_settings() -> list[str]:
    """The full name of every setting, for help texts and completion."""
    return list(settings.paths(_whole(_kinds())))


def setting_texts(kind: type[TrainConfig] | None = None) -> dict[str, str]:
    """What each setting means, by its full name: of a kind of training, or of all."""
    of = kind or _whole(_kinds())
    return {name: texts_of(owner).get(name.rpartition(".")[2], "") for name, owner, _ in settings.leaves(of)}


def setting_hint(setting: str) -> Any:
    """The annotation of a setting; None where there is none of that name."""
    return next((hint for name, _, hint in settings.leaves(_whole(_kinds())) if name == setting), None)
