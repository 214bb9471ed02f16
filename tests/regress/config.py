from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from phonecv.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class RegressorConfig:
    """A number for every picture.

    Attributes:
        head: "mean"; null: no regressor is trained.
    """

    head: Literal["mean"] | None = None


@dataclass(frozen=True, slots=True)
class RegressConfig(TrainConfig):
    """The training of a regressor."""

    regress: RegressorConfig = field(default_factory=RegressorConfig)

    task: ClassVar[str] = "regress"
    chosen_by: ClassVar[str] = "regress.head"


Config = RegressConfig
