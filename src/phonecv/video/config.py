"""What a training of a classifier of clips sets: its network, and what happens to its clips."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from phonecv.data.clips.augment import ClipAugment
from phonecv.errors import UserError
from phonecv.training.config import TrainConfig
from phonecv.training.groups import BelowOne, Count


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """The classifier of clips.

    Attributes:
        architecture: "v_emov2", EMOv2 (model.name) over time and space; null: none is trained.
        frames: of a clip, evenly spread over its length: 1, 2, or a multiple of 4.
        dropout: before the head.
        smoothing: of labels.
    """

    architecture: Literal["v_emov2"] | None = None
    frames: Count = 4
    dropout: BelowOne = 0.5
    smoothing: BelowOne = 0.0


@dataclass(frozen=True, slots=True)
class VideoConfig(TrainConfig):
    """The training of a classifier of clips."""

    video: ClipConfig = field(default_factory=ClipConfig)
    clips: ClipAugment = field(default_factory=ClipAugment)

    task: ClassVar[str] = "video"
    chosen_by: ClassVar[str] = "video.architecture"
    unread: ClassVar[tuple[str, ...]] = (
        "data.longest", "data.views", "data.bits", "data.interpolation", "data.labels", "model.in_chans",
    )  # fmt: skip

    def check_together(self) -> None:
        """Refuse numbers of frames that the network's windows do not divide."""
        frames = self.video.frames
        if frames not in (1, 2) and frames % 4:
            raise UserError(f"video.frames={frames} is not 1, 2 or a multiple of 4")


Config = VideoConfig
