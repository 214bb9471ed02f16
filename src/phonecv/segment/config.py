"""What a training of a segmenter sets: the segmenter and its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from phonecv import settings
from phonecv.dense.config import DenseConfig, check_rising
from phonecv.errors import UserError
from phonecv.settings import Range
from phonecv.training.balance import check_factors
from phonecv.training.groups import Count, NotNegative, Positive, Share

#: Settings that the published transform does not have.
_LIGHT_ONLY = ("segment.aspect", "segment.rotate", "segment.shear", "segment.elastic", "segment.color")


@dataclass(frozen=True, slots=True)
class SegmenterConfig:
    """A segmenter on the network of `model`, and its data.

    Attributes:
        architecture: "deeplabv3", "segformer" and so on (`phonecv.list_segmenters`); null: no segmenter is trained.
        options: further arguments of the heads; `slide: {crop: 512, stride: 341}` evaluates by windows.
        reduce_zero_label: the value 0 of a label map is ignored, and 1 is class 0 (ADE20K).
        threshold: values from this one on are class 1, all others class 0 (black and white masks).
        ignore: value of pixels that count for nothing.
        stored: label maps are drawn on the pictures as they are stored, not as their EXIF note turns them; where the
            two differ in size, the size of the label map decides.
        train_images: folder of the training pictures, relative to `data.path`; null looks in the usual places, as for
            the next three.
        train_labels: folder of their label maps.
        val_images: the same for validation.
        val_labels: the same for validation.
        transform: what training does to a picture. "published": resize by a random ratio, crop in which no class
            covers most, flip, colours, pad. "light": the same with any crop and mild colours, for small data sets.
        crop: side of the square training crop, or its height and width; null takes `data.size`, or the network's own.
        multiple: evaluation and prediction pad pictures at the bottom and right to multiples of this, pixels; null: 32
            with "light", 1, no padding, with "published". Where the strides do not divide a side, coarse maps shift
            against fine ones, by up to their stride at the far edge.
        ratio: range of the random factor on the picture's size.
        aspect: of "light": most that width and height are stretched against each other.
        rotate: of "light": most that pictures are turned either way, degrees.
        shear: of "light": most that pictures lean to either side, degrees.
        elastic: of "light": most that pictures are bent, pixels of the crop; see
            `phonecv.data.labelmaps.transforms.RandomWarp`.
        hflip: probability of a left-right flip.
        color: of "light": strength of random brightness, contrast and saturation.
        class_weights: factors on the cross entropy of a pixel, by its class, such as {crack: 5, sky: 0}; others have 1.
        balance: how much more a pixel of a rare class counts, 0 (alike, as published) to 1 (every class the same in
            all); see `phonecv.segment.losses.balanced_weights`.
    """

    architecture: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    reduce_zero_label: bool = False
    threshold: Annotated[int, Range(1, 65535)] | None = None
    ignore: Annotated[int, Range(0, 65535)] = 255
    stored: bool = False
    train_images: str | None = None
    train_labels: str | None = None
    val_images: str | None = None
    val_labels: str | None = None
    transform: Literal["published", "light"] = "light"
    crop: Count | tuple[Count, Count] | None = None
    multiple: Count | None = None
    ratio: tuple[Positive, Positive] = (0.5, 2.0)
    aspect: Annotated[float, Range(1.0, 4.0)] = 1.0
    rotate: Annotated[float, Range(0.0, 180.0)] = 0.0
    shear: Annotated[float, Range(0.0, 60.0)] = 0.0
    elastic: NotNegative = 0.0
    hflip: Share = 0.5
    color: NotNegative = 0.2
    class_weights: dict[str, float] = field(default_factory=dict)
    balance: Share = 0.0


@dataclass(frozen=True, slots=True)
class SegmentConfig(DenseConfig):
    """The training of a segmenter."""

    segment: SegmenterConfig = field(default_factory=SegmenterConfig)

    task: ClassVar[str] = "segment"
    chosen_by: ClassVar[str] = "segment.architecture"
    instead: ClassVar[Mapping[str, str]] = {"loss.class_weights": "segment.class_weights={NAME: 5}, for pixels"}

    def check_together(self) -> None:
        """Refuse a range that falls, settings of the other transform, and what `DenseConfig` refuses."""
        check_rising("segment.ratio", self.segment.ratio)
        check_factors(self.segment.class_weights)
        if self.data.balance:
            raise UserError("data.balance takes pictures by their classes; for pixels set segment.balance")
        strange = [name for name in settings.changed(self) if name in _LIGHT_ONLY]
        if strange and self.segment.transform == "published":
            raise UserError(f"{strange[0]} is of segment.transform=light, not of published; change one of the two")
        DenseConfig.check_together(self)

    def in_catalog(self, name: str) -> bool:
        """Also not where the architecture brings a network of its own."""
        return self.segment.architecture != "unet_hrf" and DenseConfig.in_catalog(self, name)


Config = SegmentConfig
