"""Training a detector: COCO data, the detector, its losses, and AP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.data.coco.audit import COCO_FIXES, audit_splits
from phonecv.data.coco.loading import (
    DetectionBatch,
    DetectionDataset,
    DetectionTransform,
    make_detection_loader,
    plan_tiles,
)
from phonecv.data.coco.reader import CocoSplit
from phonecv.data.coco.transforms import LightTransform, ResizeTransform, SSDTransform
from phonecv.data.findings import Look, Notes
from phonecv.dense.distilling import Taught, make_taught
from phonecv.dense.training import frozen_note, make_dense
from phonecv.detect.architectures import get_architecture
from phonecv.detect.base import Detector
from phonecv.detect.checks import DATA, read_splits
from phonecv.detect.config import DetectConfig
from phonecv.detect.create import create_detector
from phonecv.detect.meter import DetectMeter
from phonecv.detect.tiling import Tiles
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing
from phonecv.training.balance import pick_rates
from phonecv.training.checks import data_folder
from phonecv.training.loaders import SplitData
from phonecv.training.objective import Objective
from phonecv.training.setup import Setup, finding_lines
from phonecv.training.world import World

#: Figures of `DetectMeter`, for boxes; those of masks begin with "mask_".
BOX_FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


class DetectSetup(Setup):
    """Of objects in boxes.

    `whole` is the training split, `train` the same without the pictures that are left out of training.
    """

    config: DetectConfig

    def __init__(self, config: DetectConfig) -> None:
        self.config, wanted = config, config.detect
        self.architecture = str(wanted.architecture)
        self.entry = get_architecture(self.architecture)
        if wanted.score == "mask_ap" and not self.entry.masks:
            raise UserError(f"detect.score=mask_ap: {self.architecture} finds no masks; use detect.score=ap")
        self.root = data_folder(config, DATA)
        self.divided = read_splits(config, self.root, masks=self.entry.masks)
        self.whole, self.val = self.divided.train, self.divided.val
        self.train = self.whole.trainable(least=wanted.min_size, empty=not wanted.filter_empty)

    @property
    def pictures(self) -> Sequence[Path]:
        """Files of the training split."""
        return Paths(self.train)

    def findings(self) -> list[str]:
        """What the quick audit finds in the splits as they were read, notes left out."""
        notes = Notes(self.root, COCO_FIXES)
        audit_splits(notes, {"train": self.whole, "val": self.val}, Look(quick=True))
        return finding_lines(notes.findings)

    def network(self) -> Detector:
        """The detector with its starting weights, class names and preprocessing; frozen parts marked."""
        options = dict(self.config.detect.options)
        # SSDLite's anchors follow from the side, so it belongs to the architecture there.
        if self.config.data.size is not None and "size" in self.entry.options:
            options.setdefault("size", self.config.data.size)
        if (tiles := tiles_of(self.config)) is not None:
            options.setdefault("tiles", asdict(tiles))
        return make_dense(self.config, create_detector, self.architecture, options, self.train.classes)

    def data(self, net: Detector, world: World, workers: int) -> DetectData:
        """The loaders."""
        return DetectData(self.config, self.train, self.val, net, world, workers)

    def objective(self, net: Detector, world: World) -> DetectObjective:
        """The detector's own losses, perhaps a teacher's, and AP."""
        taught = make_taught(self.config.distill, net, world, same_heads=True)
        return DetectObjective(
            self.val, net.num_classes, masks=net.masks, score=self.config.detect.score, taught=taught
        )


#: See `phonecv.training.setup.TrainingRoom`.
open_setup = DetectSetup


class DetectData(SplitData):
    """Loaders of pictures with objects."""

    def __init__(
        self, config: DetectConfig, train: CocoSplit, val: CocoSplit, net: Detector, world: World, workers: int
    ) -> None:
        plan, tiles = None, tiles_of(config)
        if tiles is not None:
            plan = plan_tiles(train, tiles.views, empty=not config.detect.filter_empty, seed=config.run.seed)
        shown = train.images if plan is None else plan
        kinds = shown.lying if config.detect.group_orientation else None
        files = Paths(train, None if plan is None else plan.pictures)
        rates = pick_rates(*train.classes_of_pictures(), len(train), config.data.balance)
        if plan is not None and rates is not None:  # a tile comes as often as its picture would
            rates = rates[plan.pictures] * (len(plan.pictures) / rates[plan.pictures].sum())
        super().__init__(config, world, workers, train=files, val=Paths(val), kinds=kinds, rates=rates)
        self.note = frozen_note(config)
        if plan is not None:
            cut = (
                f"{len(train):,} training pictures are looked at in {len(plan):,} tiles of {config.detect.tile} pixels"
            )
            self.note = "; ".join(filter(None, [self.note, f"{cut}, {plan.empty:,} of them without an object"]))
        transform = train_transform(config, net.preprocessing)
        bits = net.preprocessing.bits
        self.train_set = DetectionDataset(
            train, transform, config.run.seed, substitute=True, masks=net.masks, bits=bits, tiles=plan
        )
        # The truth is the meter's business.
        self.val_set = DetectionDataset(val, None, substitute=False, bits=bits)

    def loader(self, dataset: DetectionDataset, batches: Any) -> Iterable[Any]:
        """A loader of pictures with their objects."""
        return make_detection_loader(dataset, batches, self.workers, pin_memory=self.pinned)


class Paths(Sequence[Path]):
    """The picture files of a split, or of places in it, made when they are asked for."""

    def __init__(self, split: CocoSplit, places: Sequence[int] | np.ndarray | None = None) -> None:
        self.split, self.places = split, range(len(split)) if places is None else places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        return self.split.path(int(self.places[index]))


def tiles_of(config: DetectConfig) -> Tiles | None:
    """How large pictures are looked at, in training as after it."""
    wanted = config.detect
    return Tiles(wanted.tile, wanted.tile_overlap) if wanted.tile else None


class DetectObjective(Objective):
    """The detector's losses; average precision over the validation split, whose figure `score` picks the best.

    Outputs beyond the data's classes are never right.
    """

    def __init__(
        self, val: CocoSplit, num_classes: int, *, masks: bool, score: str, taught: Taught | None = None
    ) -> None:
        self.val, self.masks, self.score, self.taught = val, masks, score, taught
        labels = np.arange(num_classes)
        self.outputs = np.where(labels < len(val.classes), labels, -1)
        names = ("rpn_cls", "rpn_box", "cls", "box", "mask") if masks else ("cls", "box")
        self.loss_names: tuple[str, ...] = (*names, "kd") if taught else names
        figures = (*BOX_FIGURES, *(f"mask_{name}" for name in BOX_FIGURES)) if masks else BOX_FIGURES
        self.figures: tuple[str, ...] = (*figures, "images")

    def losses(self, model: nn.Module, batch: DetectionBatch) -> dict[str, Tensor]:
        """As the detector names them, and "kd" where it is taught."""
        return model(batch.images, batch.targets, self.taught and self.taught.losses)

    def predict(self, net: nn.Module, batch: DetectionBatch) -> list[dict[str, Any]]:
        """Boxes, scores, labels and perhaps masks of each picture."""
        if not self.masks:
            return net(batch.images)
        detector: Any = net
        before, detector.paste = detector.paste, False  # the meter wants no pixels
        try:
            return net(batch.images)
        finally:
            detector.paste = before

    def meter(self, device: torch.device) -> DetectMeter:
        """Collects detections, in main memory."""
        return DetectMeter(self.val, masks=self.masks, outputs=self.outputs)


def train_transform(config: DetectConfig, preprocessing: DensePreprocessing) -> DetectionTransform:
    """What training does to a picture, so that the detector has nothing left to resize."""
    wanted, size, longest = config.detect, preprocessing.size, preprocessing.longest
    if wanted.transform == "ssd":
        if longest is not None:
            raise UserError(
                f"detect.transform=ssd stretches pictures to a square, {wanted.architecture} keeps their aspect;"
                " use detect.transform=resize or light"
            )
        return SSDTransform(size, preprocessing.mean_colour, hflip=wanted.hflip)
    if wanted.transform == "resize":
        return ResizeTransform(size, longest, hflip=wanted.hflip)
    return LightTransform(
        size,
        longest,
        mean=preprocessing.mean_colour,
        scale=wanted.scale,
        hflip=wanted.hflip,
        vflip=wanted.vflip,
        color=wanted.color,
    )
