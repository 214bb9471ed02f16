"""What a detector or segmenter adds to a training's configuration, and which other settings have no meaning for it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from phonecv import settings
from phonecv.data.coco.conventions import BoxLayout, Sizes
from phonecv.errors import UserError
from phonecv.settings import Range
from phonecv.training.groups import Count, Natural, NotNegative, Positive, Share

if TYPE_CHECKING:
    from phonecv.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class DetectConfig:
    """A detector on the network of `model`, and its data.

    Attributes:
        architecture: "ssdlite320", "retinanet_fpn" and so on (`phonecv.list_detectors`); null: no detector is trained.
        options: further arguments of the heads.
        train_annotations: COCO file of the training split, relative to `data.path`; null looks in the usual places.
        val_annotations: the same for validation.
        train_images: folder of the training pictures, relative to `data.path`; null looks in the usual places.
        val_images: the same for validation.
        boxes: how the annotation files write boxes: "xywh" (left, top, width, height in pixels, as COCO does), "xyxy"
            (two corners), "cxcywh" (centre and size), and "xywh_shares" and so on, in shares of the picture's sides.
        sizes: where a picture has another size than its file says: "told": it is left out; "pictures": boxes are pixels
            of the picture as it is; "scaled": it was resized after labelling, and boxes are resized with it.
        stored: boxes were drawn on pictures as they are stored, before their EXIF orientation turns them.
        hold_out: share of the training pictures that is held out for validation, by their names; for data without a
            validation split, such as one file for all pictures.
        transform: what training does to a picture. "ssd": expand, crop by overlap, stretch to the square, flip,
            colours (SSDLite as published). "resize": keep the aspect, flip (RetinaNet and Mask R-CNN as published).
            "light": larger or smaller at a random place, flips, mild colours, for small data sets.
        scale: of "light": range of the factor on the picture's size.
        hflip: probability of a left-right flip, in every transform.
        vflip: of "light": probability of an upside-down flip.
        color: of "light": strength of random brightness, contrast and saturation.
        min_size: training pictures with a shorter side than this are left out.
        filter_empty: leave out training pictures without objects.
        group_orientation: batches hold either upright or lying pictures, which pads less.
        score: figure that picks the best checkpoint: AP of the boxes, or of the masks.
    """

    architecture: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    train_annotations: str | None = None
    val_annotations: str | None = None
    train_images: str | None = None
    val_images: str | None = None
    boxes: BoxLayout = "xywh"
    sizes: Sizes = "told"
    stored: bool = False
    hold_out: Share = 0.0
    transform: Literal["ssd", "resize", "light"] = "light"
    scale: tuple[Positive, Positive] = (0.5, 1.5)
    hflip: Share = 0.5
    vflip: Share = 0.0
    color: NotNegative = 0.2
    min_size: Natural = 0
    filter_empty: bool = False
    group_orientation: bool = False
    score: Literal["ap", "mask_ap"] = "ap"


@dataclass(frozen=True, slots=True)
class SegmentConfig:
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
    balance: Share = 0.0


#: Groups and settings that classification alone reads.
_CLASSIFIER_ONLY = (
    "augment.",
    "loss.",
    "distill.",
    "curriculum",
    "data.crop",
    "data.interpolation",
    "data.repeats",
    "data.train_list",
    "data.val_list",
)

#: Settings of segmenters that the published transform does not have.
_LIGHT_ONLY = ("segment.aspect", "segment.rotate", "segment.shear", "segment.elastic", "segment.color")


def check_dense(config: TrainConfig) -> None:
    """Refuse settings that what is trained would pass over in silence; the groups are checked already.

    Raises:
        UserError: names the setting.
    """
    detect, segment = config.detect, config.segment
    if detect.architecture and segment.architecture:
        raise UserError("detect.architecture and segment.architecture are both set; a training has one task")
    for name, (low, high) in (("detect.scale", detect.scale), ("segment.ratio", segment.ratio)):
        if low > high:
            raise UserError(f"{name}={[low, high]} must rise, for example [0.5, 2.0]")
    changed = _changed(config)
    for group, architecture in (("detect", detect.architecture), ("segment", segment.architecture)):
        strange = [name for name in changed if name.startswith(f"{group}.") and not architecture]
        if strange:
            raise UserError(f"{strange[0]} is set, but {group}.architecture is not; set that too, or leave it out")
    if not (detect.architecture or segment.architecture):
        if config.data.longest is not None:
            raise UserError("data.longest belongs to detectors and segmenters; a classifier's pictures are cropped")
        return
    if segment.architecture and segment.transform == "published":
        strange = [name for name in changed if name in _LIGHT_ONLY]
        if strange:
            raise UserError(f"{strange[0]} is of segment.transform=light, not of published; change one of the two")
    what = "detector" if detect.architecture else "segmenter"
    strange = [name for name in changed if name.startswith(_CLASSIFIER_ONLY)]
    if strange:
        raise UserError(f"{strange[0]} is for classifiers, a {what} has no use for it; leave it out")
    if config.model.mode == "eval":
        raise UserError(f"model.mode=eval is for classifiers; a {what} offers model.mode=norm_eval")
    if config.run.compile is True:
        raise UserError(f"run.compile=true is for classifiers; a {what}'s pictures vary from step to step")


def _changed(config: TrainConfig) -> list[str]:
    """Names of the settings that differ from their defaults."""
    names = []
    for item in fields(config):
        part = getattr(config, item.name)
        if is_dataclass(part):
            default = settings.flatten(type(part)(), item.name)
            names += [name for name, value in settings.flatten(part, item.name).items() if value != default[name]]
        elif part:
            names.append(item.name)
    return names
