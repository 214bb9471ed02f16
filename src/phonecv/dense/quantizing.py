"""Detectors and segmenters in 8 bits: the network alone, with the outputs of its heads as they are.

Boxes are decoded from the file's outputs in floating point, by whoever reads it: an exponential or an overlap in 256
steps would be none.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phonecv.data.pictures.ahead import read_pictures
from phonecv.dense import DenseModel, prepare
from phonecv.dense.quantizing_data import DensePictures, canvas_tensor
from phonecv.dense.quantizing_labels import has_labels, score_labelled
from phonecv.dense.quantizing_scoring import SHOWN, DenseScore, check_confident, score_objects, score_pixels
from phonecv.detect.detections import Detections
from phonecv.detect.opening import DetectRunner, open_detector
from phonecv.errors import UserError
from phonecv.exporting.deployable import deployable
from phonecv.exporting.opening import open_session
from phonecv.exporting.record import check_size
from phonecv.models.headed import RawOutputs
from phonecv.models.quantized import state_of
from phonecv.quantization.scoring import Score
from phonecv.quantization.sensitivity import outputs_decibels
from phonecv.quantization.trials import Workshop
from phonecv.segment.opening import SegmentRunner, open_segmenter
from phonecv.segment.segformer import SegFormerHead

#: Before the names of layers in the module that remedies are applied to.
_PREFIX = "model."

#: Pixels of the pictures on which layers are told apart, and pictures whose raw outputs are compared.
_FEW_PIXELS, _PROBE = 12 * 224 * 224, 8

#: Pixels of a batch of fine-tuning: as many as 16 pictures of 224 have, whose activations and gradients fit a laptop.
_BATCH_PIXELS = 16 * 224 * 224

#: Pictures that are read together.
_TOGETHER = 4


@dataclass
class DenseWorkshop(Workshop):
    """The same for a detector or segmenter, at one size of input.

    Attributes:
        size: height and width of the file's input.
    """

    size: tuple[int, int] = (0, 0)
    _body: RawOutputs | None = None

    @property
    def file_size(self) -> tuple[int, int]:
        """Height and width of a file's input."""
        return self.size

    @property
    def body(self) -> nn.Module:
        """The network with the raw outputs of its heads."""
        if self._body is None:
            self._body = RawOutputs(self.network).eval()
        return self._body

    def network_of(self, body: Any) -> Any:
        """The network within, which carries what was done to it."""
        network = body.model
        network.quantization = state_of(body)
        return network

    def outside(self, layer: str) -> str:
        """A layer's name in the network."""
        return layer.removeprefix(_PREFIX)

    @property
    def images(self) -> Tensor:
        """The calibration pictures as the file gets them."""
        if self._images is None:
            self._images = canvas_tensor(self.calibration.paths, self.network, self.size)
        assert self._images is not None
        return self._images

    @property
    def few(self) -> int:
        """Pictures on which layers are told apart."""
        return max(2, min(super().few, _FEW_PIXELS // (self.size[0] * self.size[1])))

    def float_logits(self, pictures: Any) -> Any:
        """What the floating-point network says of pictures, brought to the file's size: label maps or detections."""
        if self.network.task == "segment":
            return label_maps(self._float_segmenter(), pictures)
        found = detections(float_detector(self.network, self.size, SHOWN), pictures)
        check_confident(found, pictures.source)
        return found

    def _float_segmenter(self) -> SegmentRunner:
        network = copy.deepcopy(self.network)
        network.canvas = None if network.windows is not None else self.size
        return open_segmenter(network, device="cpu")

    def judge(self, path: Path, pictures: Any, reference: Any) -> DenseScore:
        """A file's score."""
        decibels = self._decibels(path, pictures)
        if self.network.task == "segment":
            return score_pixels(reference, label_maps(open_segmenter(path), pictures), decibels)
        found = detections(open_detector(path, threshold=SHOWN), pictures)
        return score_objects(reference, found, len(pictures), decibels)

    def final(self, path: Path, pictures: Any) -> Score:
        """A chosen file's score on the pictures of the last word: with labels in mIoU or AP, without as all others."""
        task = self.network.task
        if not has_labels(pictures.folder, task):
            return super().final(path, pictures)
        if task == "segment":
            return score_labelled(self._float_segmenter(), open_segmenter(path), pictures.folder, task)
        return score_labelled(float_detector(self.network, self.size), open_detector(path), pictures.folder, task)

    @torch.inference_mode()
    def _decibels(self, path: Path, pictures: DensePictures) -> float:
        """Signal-to-noise ratio of the raw outputs on some of the pictures."""
        module, _ = deployable(self.network, size=self.size)
        session = open_session(path)
        chosen = pictures.paths[:: -(-len(pictures) // _PROBE)]
        wanted, got = [], []
        for path_of_picture in chosen:
            batch = canvas_tensor([path_of_picture], self.network, self.size)
            wanted.append(module(batch))
            got.append([torch.from_numpy(np.asarray(output)) for output in session(batch.numpy())])
        return outputs_decibels(wanted, got)


def usable(network: DenseModel, size: int | tuple[int, int] | None) -> tuple[DenseModel, tuple[int, int]]:
    """The network as it goes into a file, without what only training needs, and the height and width of its input.

    Args:
        network: in deploy form; a copy that may be changed.
        size: what was asked for; None for its own.

    Raises:
        UserError: a Mask R-CNN, whose second stage is no network of convolutions, or a size that does not suit it.
    """
    if not hasattr(network, "box_rule") and network.task == "detect":
        raise UserError(
            f"{network.name} cannot be quantized: its second stage reads features where its first stage has found "
            "boxes, so its file always holds decoding, suppression and RoIAlign, which 8 bits would ruin; quantize an "
            "SSDLite or RetinaNet, or write this one with `phonecv export --decode final`"
        )
    changed: Any = network
    if network.task == "segment":
        changed.aux_head = None
        for module in network.modules():
            if isinstance(module, SegFormerHead):
                module.whole = True  # as in the file, whose ranges these will be
        if size is None and changed.windows is not None:
            size = changed.windows.crop
    shape = check_size(size, network)
    deployable(network, size=shape)  # refuses what the anchors were not made for
    return network, shape


#: Format -> beginnings of the architectures whose int8 files were made and judged there, where not all were:
#: RetinaNet's did not run in ExecuTorch.
INT8_HEADS = {"executorch": ("segformer", "unet", "ssdlite")}


def check_int8(network: DenseModel, formats: Sequence[str]) -> None:
    """These formats hold networks of this kind in 8 bits.

    Raises:
        UserError: one is known not to, or was never tried.
    """
    for format in formats:
        good = INT8_HEADS.get(format)
        if good is not None and not network.architecture.startswith(good):
            raise UserError(
                f"{format} files of {network.architecture} are not written in int8: what the toolkit makes of it is no "
                f"good or untried (there: {', '.join(good)}); take onnx, openvino or litert, or precision fp16"
            )


def batch_at(size: tuple[int, int]) -> int:
    """Pictures of a step of fine-tuning at this size."""
    return max(2, min(16, _BATCH_PIXELS // (size[0] * size[1])))


def label_maps(runner: SegmentRunner, pictures: DensePictures) -> list[Tensor]:
    """The classes of every pixel of every picture."""
    return [labels.cpu() for _, tensors in _read(pictures, _TOGETHER) for labels in runner(tensors)]


def detections(runner: DetectRunner, pictures: DensePictures) -> Detections:
    """All that a detector would show."""
    parts = []
    for places, tensors in _read(pictures, runner.batch):
        shown = [
            {name: column[found["scores"] >= SHOWN] for name, column in found.items()} for found in runner(tensors)
        ]
        parts.append(Detections.of(shown, places))
    every = Detections.joined(parts)
    return every[every.finite()]


def float_detector(network: Any, size: tuple[int, int], threshold: float = 0.0) -> DetectRunner:
    """The floating-point network as a runner that brings pictures to the file's size, as the file's own will."""
    network = copy.deepcopy(network).eval()
    network.score_threshold = max(network.score_threshold, threshold - 1e-6)
    names = network.class_names

    @torch.inference_mode()
    def run(pictures: Sequence[Tensor]) -> Any:
        prepared = prepare(pictures, network.preprocessing, canvas=size)
        return network.postprocess(network.network(prepared.batch), prepared)

    return DetectRunner(
        description=network.name,
        run=run,
        classes=tuple(names or map(str, range(network.num_classes))),
        named=names is not None,
        batch=_TOGETHER,
    )


def _read(pictures: DensePictures, together: int) -> Any:
    for part in read_pictures(pictures.paths, together):
        for place, error in zip(part.indices.tolist(), part.errors, strict=True):
            if error:
                raise UserError(f"{pictures.paths[place]}: {error}")
        yield part.indices.tolist(), part.tensors
