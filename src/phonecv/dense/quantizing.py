"""What detectors and segmenters share in 8 bits: the network alone, with the outputs of its heads as they are.

What is decoded from a file's outputs is decoded in floating point, by whoever reads it: an exponential or an overlap in
256 steps would be none. Without labels the floating-point network's answers are what a file is held to.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from phonecv.data.pictures.ahead import read_pictures
from phonecv.dense.quantizing_data import CHOOSE, DensePictures, all_pictures, canvas_tensor, split_pictures
from phonecv.errors import UserError
from phonecv.exporting.deployable import deployable
from phonecv.exporting.opening import open_session
from phonecv.quantization.options import QuantizeOptions
from phonecv.quantization.qat import FineTuning
from phonecv.quantization.scoring import LabelledScore, Score
from phonecv.quantization.sensitivity import outputs_decibels
from phonecv.quantization.workshop import Workshop

#: Pixels of the pictures on which layers are told apart, and pictures whose raw outputs are compared.
_FEW_PIXELS, _PROBE = 12 * 224 * 224, 8

#: Pixels of a batch of fine-tuning: as many as 16 pictures of 224 have, whose activations and gradients fit a laptop.
_BATCH_PIXELS = 16 * 224 * 224

#: Pictures that are read together.
TOGETHER = 4

#: Part of a data set with the last word.
SPLIT = "val"


@dataclass
class DenseWorkshop(Workshop[DensePictures]):
    """A detector or segmenter with its pictures, at one size of input (height and width)."""

    size: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, network: Any, size: tuple[int, int], options: QuantizeOptions) -> Self:
        """The network with its pictures to calibrate on and to choose by, and how to train at this size."""
        choose = CHOOSE if options.choose is None else options.choose
        pictures = split_pictures(options.data, size, calibrate=options.calibrate, choose=choose, lists=options.lists)
        return cls(network, *pictures, tuning=FineTuning(batch=batch_at(size)), size=size)

    @property
    def file_size(self) -> tuple[int, int]:
        """Height and width of a file's input."""
        return self.size

    @property
    def few(self) -> int:
        """Pictures on which layers are told apart."""
        return max(2, min(super().few, _FEW_PIXELS // (self.size[0] * self.size[1])))

    def input_of(self, pictures: DensePictures) -> Tensor:
        """At the file's size."""
        return canvas_tensor(pictures.paths, self.network, self.size)

    def last_pictures(self, source: Path | str) -> DensePictures:
        """Those of a folder, a data set or a pattern."""
        return all_pictures(source)

    def notes(self, last: DensePictures | None) -> tuple[str, ...]:
        """How few pictures calibrate, and which remedies are none."""
        left_out = "equalisation and ReLU6 rescaling need a plain chain of layers, as MobileOne classifiers are"
        return (*([self.calibration.note] if self.calibration.note else []), left_out)

    def final(self, path: Path, pictures: DensePictures) -> Score:
        """With labels their figure, without as all others."""
        labelled = self.labelled(path, pictures.folder)
        return super().final(path, pictures) if labelled is None else labelled

    @abstractmethod
    def labelled(self, path: Path, folder: Path) -> LabelledScore | None:
        """A file's figure on a data set against the floating-point network's; None for a folder without labels.

        Raises:
            UserError: classes that do not fit, or no figure.
        """

    @torch.inference_mode()
    def decibels(self, path: Path, pictures: DensePictures) -> float:
        """Signal-to-noise ratio of the raw outputs on some of the pictures."""
        module, _ = deployable(self.network, size=self.size)
        session = open_session(path)
        wanted, got = [], []
        for picture in pictures.paths[:: -(-len(pictures) // _PROBE)]:
            batch = canvas_tensor([picture], self.network, self.size)
            wanted.append(module(batch))
            got.append([torch.from_numpy(np.asarray(output)) for output in session(batch.numpy())])
        return outputs_decibels(wanted, got)


def batch_at(size: tuple[int, int]) -> int:
    """Pictures of a step of fine-tuning at this size."""
    return max(2, min(16, _BATCH_PIXELS // (size[0] * size[1])))


def read(pictures: DensePictures, together: int) -> Iterator[tuple[list[int], Sequence[Tensor]]]:
    """The pictures in parts, with their places."""
    for part in read_pictures(pictures.paths, together):
        for place, error in zip(part.indices.tolist(), part.errors, strict=True):
            if error:
                raise UserError(f"{pictures.paths[place]}: {error}")
        yield part.indices.tolist(), part.tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsScore(Score):
    """Of all "pixels", or "objects" (sure detections of both), how many are the same; `drop` is percent of the rest."""

    what: str
    total: int
    same: int

    @property
    def agreement(self) -> float:
        """Share that is the same."""
        return self.same / self.total

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return Score.to_dict(self) | {"agreement": round(self.agreement, 4)}


def labelled_score(figure: str, count: int, wanted: float, got: float, folder: Path | str) -> LabelledScore:
    """The last word on labelled pictures: a figure in percent, `wanted` that of the floating-point network.

    Raises:
        UserError: the figure is not defined there.
    """
    if not (math.isfinite(wanted) and math.isfinite(got)):
        raise UserError(f"{folder}: {figure} is not defined there; give objects of its classes, or pictures alone")
    return LabelledScore(
        count=count, drop=wanted - got, standard_error=0.0, decibels=0.0, figure=figure, value=got, float_value=wanted
    )
