"""Detectors ready to run: networks of ours, checkpoints, exported files, and whatever else maps pictures to boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phonecv.dense.exported import DenseFile, names_of, numbered
from phonecv.dense.model import DenseModel
from phonecv.detect.create import create_detector
from phonecv.detect.exported import OUTPUTS, finder
from phonecv.detect.verbs import OpeningOptions
from phonecv.devices import cpu_batch
from phonecv.exporting.opening import OpenedFile
from phonecv.opening import Placed, Runner, open_runner
from phonecv.verbs import Opening
from phonecv.weights import Loading

#: How weights make the network of a file, see `phonecv.weights.headed.Building`.
create = create_detector
#: See `phonecv.opening.OpeningRoom`.
names_in = names_of

#: Pictures that an accelerator takes at once.
ACCELERATOR_BATCH = 8


@dataclass(frozen=True, slots=True)
class DetectRunner(Runner[Sequence[Tensor], Sequence[Mapping[str, Any]]]):
    """A detector ready to run: pictures (``3 H W`` bytes each, any sizes, in main memory) -> what it finds in each.

    That is dictionaries of boxes, scores, labels and maybe masks (pixels or `phonecv.detect.masks.BoxMasks`), in
    pixels of the pictures, best first.

    Attributes:
        masks: whether it finds masks.
        batch: pictures at once that suit it.
    """

    task: ClassVar[str] = "detect"

    masks: bool = False
    batch: int = 1


def open_detector(
    model: DenseModel | DetectRunner | Path | str,
    *,
    device: str | torch.device | None = None,
    amp: str = "none",
    threshold: float = 0.0,
    loading: Loading = Loading(),  # noqa: B008  (frozen)
) -> DetectRunner:
    """Whatever names a detector -> a runner, see `phonecv.opening.open_runner`.

    Args:
        model: a detector, the path of a checkpoint of one or of an exported file, or a runner.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        threshold: see `OpeningOptions`.
        loading: what to take of a checkpoint.

    Raises:
        UserError: it detects nothing, or cannot be used.
    """
    return open_runner(model, "detect", Opening(device, amp, loading), OpeningOptions(threshold))


def network_runner(placed: Placed, options: OpeningOptions | None) -> DetectRunner:
    """See `phonecv.opening.OpeningRoom`.

    A higher threshold than the detector's own changes nothing above it: weak boxes never suppress strong ones. But with
    masks, those of the weak would be most of the work and of the memory.
    """
    network, place = placed.network, placed.device
    threshold = (options or OpeningOptions()).threshold
    masks = bool(getattr(network, "masks", False))
    if hasattr(network, "score_threshold"):  # scores have to be above it, ours may equal the threshold
        network.score_threshold = max(network.score_threshold, threshold - 1e-6)
    if masks:
        network.paste = False  # whole pictures of masks would fill the memory, and nobody asks for their pixels

    @torch.inference_mode()
    def run(pictures: Sequence[Tensor]) -> Sequence[Mapping[str, Any]]:
        with placed.computing():
            return network([picture.to(place) for picture in pictures])

    spec = network.preprocessing
    batch = cpu_batch(spec.size, spec.longest or spec.size) if place.type == "cpu" else ACCELERATOR_BATCH
    return DetectRunner.of_network(placed, run, numbered, masks=masks, batch=batch)


def file_runner(file: OpenedFile, options: OpeningOptions | None) -> DetectRunner:
    """See `phonecv.opening.OpeningRoom`; whatever part of the decoding the file holds.

    Files with one size get pictures of other shapes smaller and padded where the detector keeps their aspect.
    """
    dense = DenseFile.of(file, OUTPUTS)
    spec = dense.spec
    return DetectRunner.of_file(
        file,
        finder(dense, (options or OpeningOptions()).threshold),
        len(dense.classes),
        numbered,
        preprocessing=spec,
        details=dense.details,
        masks="masks" in dense.outputs,
        batch=cpu_batch(*(dense.size or (spec.size, spec.longest or spec.size))),
    )
