"""What trainings of detectors and segmenters have in common: settings without a meaning for them are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from phonecv.errors import UserError
from phonecv.task import TASKS
from phonecv.training.config import TrainConfig
from phonecv.training.groups import DistillConfig

#: Settings of a teacher that have no meaning here: it is of the student's kind and takes its pictures as they come.
_OF_CLASSIFIERS = ("weights", "kind", "maps", "size", "mean", "std", "interpolation", "antialias")


@dataclass(frozen=True, slots=True)
class DenseConfig(TrainConfig):
    """The training of heads on a backbone."""

    distill: DistillConfig = field(default_factory=DistillConfig)

    unread: ClassVar[tuple[str, ...]] = (
        "data.crop",
        "data.interpolation",
        "data.repeats",
        "data.labels",
        *(f"distill.{name}" for name in _OF_CLASSIFIERS),
    )
    sizes_vary: ClassVar[bool] = True

    def check_together(self) -> None:
        """Refuse what classifiers alone can do."""
        what = TASKS[self.task].title
        if self.model.mode == "eval":
            raise UserError(f"model.mode=eval is for classifiers; a {what} offers model.mode=norm_eval")
        if self.run.compile is True:
            raise UserError(f"run.compile=true is for classifiers; a {what}'s pictures vary from step to step")

    def in_catalog(self, name: str) -> bool:
        """All but timm's."""
        return not name.startswith("timm:")


def check_teacher(config: DenseConfig) -> None:
    """Refuse a teacher that is no file."""
    teacher = config.distill.teacher
    if teacher is not None and not Path(teacher).is_file():
        noun = TASKS[config.task].noun
        raise UserError(f"distill.teacher={teacher!r}: no such file; {noun} is taught by a checkpoint of one")


def check_rising(name: str, bounds: tuple[float, float]) -> None:
    """Refuse a range that falls."""
    if bounds[0] > bounds[1]:
        raise UserError(f"{name}={list(bounds)} must rise, for example [0.5, 2.0]")
