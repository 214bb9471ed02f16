"""Segmenters in 8 bits: pixels that keep their class are what a file is judged by, with labels mIoU."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from phonecv.data.labelmaps.listing import label_splits
from phonecv.data.split_names import WHOLE
from phonecv.dense.quantizing import (
    SPLIT,
    TOGETHER,
    DenseWorkshop,
    PartsScore,
    labelled_score,
    read,
)
from phonecv.dense.quantizing_data import DensePictures
from phonecv.errors import UserError
from phonecv.evaluating import evaluate_runner
from phonecv.exporting.record import check_size
from phonecv.opening import open_runner
from phonecv.quantization.options import QuantizeOptions
from phonecv.quantization.scoring import LabelledScore, Measure, ratio
from phonecv.segment.base import Segmenter
from phonecv.segment.heads import SegFormerHead
from phonecv.segment.opening import SegmentRunner
from phonecv.verbs import Opening

PIXELS = Measure("% of pixels changed", 2.0)

#: By format, beginnings of the architectures whose int8 files were made and judged there, where not all were.
INT8_HEADS = {"executorch": ("segformer", "unet")}


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScore(PartsScore):
    """A segmenter's file against the floating-point network."""

    what: str = "pixels"

    def __str__(self) -> str:
        sure = f"{self.drop:.2f} ± {self.standard_error:.2f} %"
        return f"{sure} of the pixels changed class, {self.decibels:.1f} dB"


@dataclass
class SegmentWorkshop(DenseWorkshop):
    """A segmenter with its pictures."""

    measure = PIXELS

    def float_outputs(self, pictures: DensePictures) -> list[Tensor]:
        """Label maps of pictures that were brought to the file's size."""
        return label_maps(self._float(), pictures)

    def _float(self) -> SegmentRunner:
        network = copy.deepcopy(self.network)
        network.canvas = None if network.windows is not None else self.size
        return open_runner(network, "segment", Opening("cpu"))

    def judge(self, path: Path, pictures: DensePictures, reference: Sequence[Tensor]) -> PixelScore:
        """By the classes of all pixels."""
        return score_pixels(
            reference, label_maps(open_runner(path, "segment"), pictures), self.decibels(path, pictures)
        )

    def labelled(self, path: Path, folder: Path) -> LabelledScore | None:
        """By mIoU."""
        if not has_labels(folder):
            return None
        results = [
            evaluate_runner(runner, folder, split=SPLIT) for runner in (self._float(), open_runner(path, "segment"))
        ]
        wanted, got = (100 * result.scores.miou for result in results)
        return labelled_score("mIoU", results[0].count, wanted, got, folder)


def check_int8(network: Segmenter, formats: Sequence[str]) -> None:
    """See `phonecv.quantization.room.QuantizingRoom`."""
    for format in formats:
        good = INT8_HEADS.get(format)
        if good is not None and not network.architecture.startswith(good):
            raise UserError(
                f"{format} files of {network.architecture} are not written in int8: what the toolkit makes of it is no "
                f"good or untried (there: {', '.join(good)}); take onnx, openvino or litert, or precision fp16"
            )


def open_workshop(network: Segmenter, options: QuantizeOptions) -> SegmentWorkshop:
    """A segmenter with its pictures."""
    return SegmentWorkshop.of(*usable(network, options.size), options)


def usable(network: Any, size: int | tuple[int, int] | None) -> tuple[Any, tuple[int, int]]:
    """The network as it goes into a file, without what only training needs, and the height and width of its input.

    The network is in deploy form, and is changed.
    """
    network.aux_head = None
    for module in network.modules():
        if isinstance(module, SegFormerHead):
            module.whole = True  # as in the file, whose ranges these will be
    if size is None and network.windows is not None:
        size = network.windows.crop
    return network, check_size(size, network)


def has_labels(folder: Path) -> bool:
    """Whether a folder is a data set with label maps."""
    return folder.is_dir() and not {SPLIT, WHOLE}.isdisjoint(label_splits(folder))


def label_maps(runner: SegmentRunner, pictures: DensePictures) -> list[Tensor]:
    """The classes of every pixel of every picture."""
    return [labels.cpu() for _, tensors in read(pictures, TOGETHER) for labels in runner(tensors)]


def score_pixels(wanted: Sequence[Tensor], got: Sequence[Tensor], decibels: float) -> PixelScore:
    """Compare label maps with those of the floating-point network, picture by picture."""
    changed = np.array([int((one != other).sum()) for one, other in zip(wanted, got, strict=True)], float)
    sizes = np.array([one.numel() for one in wanted], float)
    share, error = ratio(changed, sizes)
    total = int(sizes.sum())
    return PixelScore(
        count=len(wanted),
        drop=share,
        standard_error=error,
        decibels=decibels,
        total=total,
        same=total - int(changed.sum()),
    )
