"""What a training of a detector sets: the detector and its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from phonecv.data.coco.conventions import BoxLayout, Sizes
from phonecv.dense.config import DenseConfig, check_rising
from phonecv.options import Overlap
from phonecv.training.groups import Natural, NotNegative, Positive, Share


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """A detector on the network of `model`, and its data.

    Attributes:
        architecture: "ssdlite320", "retinanet_fpn" and so on (`phonecv.list_detectors`); null: no detector is trained.
        options: further arguments of the heads.
        train_annotations: COCO file of the training split, relative to `data.path`; null looks in the usual places.
        val_annotations: the same for validation.
        train_images: folder of the training pictures, relative to `data.path`; null looks in the usual places.
        val_images: the same for validation.
        boxes: how the annotation files write boxes where that is not the way of their layout: "xywh" (left, top,
            width, height in pixels, as COCO does), "xyxy" (two corners), "cxcywh" (centre and size), and "xywh_shares"
            and so on, in shares of the picture's sides.
        sizes: where a picture has another size than its file says: "told": it is left out; "pictures": boxes are pixels
            of the picture as it is; "scaled": it was resized after labelling, and boxes are resized with it.
        stored: boxes were drawn on pictures as they are stored, before their EXIF orientation turns them.
        transform: what training does to a picture. "ssd": expand, crop by overlap, stretch to the square, flip,
            colours (SSDLite as published). "resize": keep the aspect, flip (RetinaNet and Mask R-CNN as published).
            "light": larger or smaller at a random place, flips, mild colours, for small data sets.
        scale: of "light": range of the factor on the picture's size.
        hflip: probability of a left-right flip, in every transform.
        vflip: of "light": probability of an upside-down flip.
        color: of "light": strength of random brightness, contrast and saturation.
        tile: for large pictures with small objects: side of overlapping tiles, pixels of the pictures. Training cuts
            its pictures into those that show objects, and some others; what a border leaves too little of is neither
            an object nor background. Validation looks at whole pictures in tiles, and so does the trained network
            wherever it runs. 0: none.
        tile_overlap: share of a tile's side that the next one shows, too; objects up to that size are whole in one.
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
    boxes: BoxLayout | None = None
    sizes: Sizes = "told"
    stored: bool = False
    transform: Literal["ssd", "resize", "light"] = "light"
    scale: tuple[Positive, Positive] = (0.5, 1.5)
    hflip: Share = 0.5
    vflip: Share = 0.0
    color: NotNegative = 0.2
    tile: Natural = 0
    tile_overlap: Overlap = 0.2
    min_size: Natural = 0
    filter_empty: bool = False
    group_orientation: bool = False
    score: Literal["ap", "mask_ap"] = "ap"


@dataclass(frozen=True, slots=True)
class DetectConfig(DenseConfig):
    """The training of a detector."""

    detect: DetectorConfig = field(default_factory=DetectorConfig)

    task: ClassVar[str] = "detect"
    chosen_by: ClassVar[str] = "detect.architecture"
    instead: ClassVar[Mapping[str, str]] = {
        "loss.class_weights": "data.balance=0.5, which takes pictures of rare classes more often"
    }

    def check_together(self) -> None:
        """Refuse a range that falls, and what `DenseConfig` refuses."""
        check_rising("detect.scale", self.detect.scale)
        DenseConfig.check_together(self)


Config = DetectConfig
