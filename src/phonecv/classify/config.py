"""What a training of a classifier sets: augmentation, loss, a teacher, a curriculum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from phonecv import settings
from phonecv.data.folders.augment import AugmentConfig
from phonecv.errors import UserError
from phonecv.training.balance import ClassWeights, check_factors
from phonecv.training.config import TrainConfig
from phonecv.training.groups import BelowOne, Count, DistillConfig, NotNegative, Share


@dataclass(frozen=True, slots=True)
class LossConfig:
    """The classification loss: cross entropy with smoothed or mixed labels.

    Attributes:
        smoothing: label smoothing.
        class_weights: factors on the cross entropy of a picture, by its class: "balanced", n / (k count) for n pictures
            of k classes, or a table such as {cat: 2, dog: 0.5}; classes that are not in it have 1. Null for none.
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of cutmix; 0 for none.
        mix_prob: probability that a batch is mixed at all.
        mix_switch: probability of cutmix where both are on.
        mix_mode: one mixing factor per batch, pair or element.
    """

    smoothing: BelowOne = 0.1
    class_weights: ClassWeights | None = None
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    mix_prob: Share = 1.0
    mix_switch: Share = 0.5
    mix_mode: Literal["batch", "pair", "elem"] = "batch"


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One stage of a curriculum.

    Attributes:
        epoch: first epoch of the stage; epochs count from 1.
        size: training crop; null takes data.size.
        magnitude: factor on the level of the automatic augmentation.
    """

    epoch: Count = 1
    size: Count | None = None
    magnitude: Share = 1.0


@dataclass(frozen=True, slots=True)
class ClassifyConfig(TrainConfig):
    """The training of a classifier. The defaults are EMOv2's published recipe."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    curriculum: tuple[StageConfig, ...] = ()

    task: ClassVar[str] = "classify"

    def check_together(self) -> None:
        """Refuse a curriculum whose stages do not rise, and settings that a classifier has no use for."""
        starts = [stage.epoch for stage in self.curriculum]
        if starts and (starts[0] != 1 or starts != sorted(set(starts))):
            raise UserError(f"curriculum stages start at epochs {starts}; they must rise and the first must be 1")
        if isinstance(self.loss.class_weights, dict):
            check_factors(self.loss.class_weights)
        if self.distill.kind == "features":
            labels = ("loss.", "model.num_classes", "data.train_list", "data.val_list", "distill.temperature")
            if strange := [name for name in settings.changed(self) if name.startswith(labels)]:
                raise UserError(
                    f"{strange[0]} has no meaning with distill.kind=features, which reads no labels; leave it out"
                )
            if "all" in self.model.freeze or "backbone" in self.model.freeze:
                raise UserError("model.freeze leaves nothing that could learn the teacher's features; shorten it")
        elif self.distill.maps:
            raise UserError("distill.maps is for distill.kind=features; logits have no maps")
        if self.data.longest is not None:
            raise UserError("data.longest belongs to detectors and segmenters; a classifier's pictures are cropped")

    def check_part(self, pictures: int) -> None:
        """Refuse an odd number of pictures where they are mixed in pairs."""
        if pictures % 2 and (self.loss.mixup or self.loss.cutmix):
            raise UserError(f"mixup and cutmix pair images, so each part needs an even number of them, not {pictures}")

    def sizes(self) -> dict[int, int | None]:
        """The curriculum's."""
        return {stage.epoch - 1: stage.size for stage in self.stages()}

    def stages(self) -> tuple[StageConfig, ...]:
        """The curriculum, or its single stage where there is none."""
        return self.curriculum or (StageConfig(),)


Config = ClassifyConfig
