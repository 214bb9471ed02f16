"""What a training is: one frozen, checked `TrainConfig`, the same for Python, recipe files and the command line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml

from phonecv import settings
from phonecv.data.folders.augment import AugmentConfig
from phonecv.dense.config import DetectConfig, SegmentConfig, check_dense
from phonecv.errors import UserError, did_you_mean
from phonecv.plain_yaml import read_yaml_file
from phonecv.training.groups import (
    DataConfig,
    DistillConfig,
    EmaConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StageConfig,
)

Task = Literal["classify", "detect", "segment"]

#: Settings that do not change any number of a run: a run may be resumed with other values of these.
FREE = frozenset(
    f"run.{name}"
    for name in (
        "out",
        "save_every",
        "save_minutes",
        "keep_every",
        "threads",
        "progress",
        "log_every",
        "audit",
        "checkpoint_activations",
        "keep_memory",
    )
) | {"data.workers", "data.eval_batch_size"}


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole training. Every group checks its types and ranges; this one checks what lies between groups.

    The defaults are EMOv2's published recipe; each YAML recipe lists what differs. With `detect.architecture` a
    detector is trained, with `segment.architecture` a segmenter, without either a classifier.

    Raises:
        UserError: a value of the wrong type or out of range, or two that contradict each other.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    curriculum: tuple[StageConfig, ...] = ()
    run: RunConfig = field(default_factory=RunConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)

    def __post_init__(self) -> None:
        settings.check(self)
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
        if data.passes > 1 and schedule.epoch_steps is not None:
            raise UserError("data.passes and schedule.epoch_steps both say how long an epoch is; set one of them")
        if schedule.noise and schedule.noise[0] >= schedule.noise[1]:
            raise UserError(f"schedule.noise={list(schedule.noise)} must rise, for example [0.42, 0.9]")
        if data.batch_size % self.optimizer.accumulate:
            raise UserError(
                f"data.batch_size={data.batch_size} does not divide by optimizer.accumulate={self.optimizer.accumulate}"
            )
        starts = [stage.epoch for stage in self.curriculum]
        if starts and (starts[0] != 1 or starts != sorted(set(starts))):
            raise UserError(f"curriculum stages start at epochs {starts}; they must rise and the first must be 1")
        if self.optimizer.name == "adamw" and self.optimizer.nesterov:
            raise UserError("optimizer.nesterov=true belongs to optimizer.name=sgd; adamw has no such switch")
        check_dense(self)

    @property
    def task(self) -> Task:
        """What is trained."""
        return "detect" if self.detect.architecture else "segment" if self.segment.architecture else "classify"

    @classmethod
    def from_yaml(cls, recipe: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
        """A recipe by name (`recipe_names`) or path, with ``group.name=value`` texts laid over it.

        A file given as ``model.weights`` without ``model.name`` says itself which network it holds.

        Raises:
            UserError: no such recipe, unreadable YAML, or anything `TrainConfig` refuses.
        """
        path = find_recipe(recipe)
        values = read_yaml_file(path, f"recipe {path}")
        if values is None:
            values = {}
        if not isinstance(values, Mapping):
            raise UserError(f"recipe {path} holds no groups of settings such as 'model:' and 'schedule:'")
        config = settings.build(cls, settings.merge(dict(values), overrides, cls))
        named = {text.partition("=")[0].strip() for text in overrides}
        if "model.weights" in named and not named & {"model", "model.name"}:
            from phonecv.training.start import follow_weights

            return follow_weights(config)
        return config

    def replaced(self, *overrides: str) -> TrainConfig:
        """A copy with ``group.name=value`` texts laid over it."""
        return settings.build(TrainConfig, settings.merge(settings.to_plain(self), overrides, TrainConfig))

    def to_yaml(self) -> str:
        """All settings, defaults included, as YAML that `from_yaml` reads back to an equal configuration."""
        return yaml.safe_dump(settings.to_plain(self), sort_keys=False, allow_unicode=True)

    def differences(self, other: TrainConfig) -> list[str]:
        """Names of the settings that would change the run's numbers and differ in `other`."""
        mine, theirs = settings.flatten(self), settings.flatten(other)
        return [name for name in mine if name not in FREE and mine[name] != theirs[name]]

    def stage(self, epoch: int) -> int:
        """Index of the curriculum stage of this epoch, counted from 0; 0 without a curriculum."""
        return max((i for i, stage in enumerate(self.curriculum) if stage.epoch <= epoch + 1), default=0)

    def stages(self) -> tuple[StageConfig, ...]:
        """The curriculum, or its single stage where there is none."""
        return self.curriculum or (StageConfig(),)


def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration of ``phonecv train RECIPE key=value ...``; see `TrainConfig.from_yaml`."""
    return TrainConfig.from_yaml(recipe, overrides)


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("phonecv.training") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe given by name or path.

    Raises:
        UserError: there is none.
    """
    path, name = Path(recipe), str(recipe)
    if name in recipe_names():
        return Path(str(resources.files("phonecv.training") / "recipes" / f"{name}.yaml"))
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise UserError(f"no recipe file {name!r}; give a YAML file or one of {', '.join(recipe_names())}")
    raise UserError(
        f"unknown recipe {name!r}{did_you_mean(name, recipe_names())} (recipes: {', '.join(recipe_names())})"
    )


def settings_named(name: str, most: int = 3) -> list[str]:
    """Full names of the settings whose last part is `name`, or nearly; of a group its name: "model" is "model.name"."""
    every = all_settings()
    if f"{name}.name" in every:
        return [f"{name}.name"]
    leaves = [full.rpartition(".")[2] for full in every]
    near = [name] if name in leaves else difflib.get_close_matches(name, leaves, 1, 0.7)
    return [full for full, leaf in zip(every, leaves, strict=True) if leaf in near][:most]


def all_settings() -> list[str]:
    """The full name of every setting, for help texts and completion."""
    return list(settings.paths(TrainConfig))
