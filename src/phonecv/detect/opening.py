"""One face for everything that detects: networks of ours, checkpoints, and whatever else maps pictures to boxes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phonecv.classify.opening import CPU_PIXELS, check_opening, pick_device
from phonecv.create import load_network
from phonecv.dense.model import DenseModel
from phonecv.detect.create import create_detector
from phonecv.models.channels import check_takes_rgb
from phonecv.precision import low_precision

#: How weights make the network of a file, see `phonecv.weights.headed.Building`.
create = create_detector

#: Pictures that an accelerator takes at once.
ACCELERATOR_BATCH = 8


@dataclass(frozen=True, slots=True)
class DetectRunner:
    """A detector ready to run, whatever runs it.

    Attributes:
        description: for people, such as "ssdlite320 on emov2_5m, deploy form, PyTorch on cpu".
        run: pictures (``3 H W`` bytes each, any sizes, in main memory) -> dictionaries of boxes, scores, labels and
            maybe masks (pixels or `phonecv.detect.box_masks.BoxMasks`), in pixels of the pictures, best first.
        classes: a name for every label.
        named: whether the names are the file's own; otherwise they are numbers.
        masks: whether it finds masks.
        batch: pictures at once that suit it.
        details: whatever else is known, for reports.
    """

    task: ClassVar[str] = "detect"

    description: str
    run: Callable[[Sequence[Tensor]], Sequence[Mapping[str, Any]]]
    classes: tuple[str, ...]
    named: bool = True
    masks: bool = False
    batch: int = 1
    details: dict[str, Any] = field(default_factory=dict)

    def __call__(self, pictures: Sequence[Tensor]) -> Sequence[Mapping[str, Any]]:
        """Predictions for each of the pictures."""
        return self.run(pictures)


def open_detector(
    model: DenseModel | DetectRunner | Path | str,
    *,
    device: str | torch.device | None = None,
    amp: str = "none",
    threshold: float = 0.0,
    **loading: Any,
) -> DetectRunner:
    """Whatever names a detector -> a `DetectRunner`.

    Args:
        model: a detector, the path of a checkpoint of one or of an exported file, or a runner.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        threshold: detections with lower scores are not wanted; a network then spends nothing on them.
        **loading: arguments of `load_checkpoint`.

    Raises:
        UserError: it detects nothing, or cannot be used.
    """
    check_opening(model, device=device, amp=amp, loading=loading)
    if isinstance(model, DetectRunner):
        return model
    if isinstance(model, Path | str):
        from phonecv.exporting import exporter_for

        if exporter_for(model) is not None:
            from phonecv.detect.exported import exported_detector

            return exported_detector(model, threshold=threshold)
    network = load_network(model, task="detect", **loading)
    return torch_detector(network, device=device, amp=amp, threshold=threshold)


def torch_detector(
    model: DenseModel, *, device: str | torch.device | None = None, amp: str = "none", threshold: float = 0.0
) -> DetectRunner:
    """A detector of ours as a runner, in float32 unless `amp` says otherwise; the one given stays as it was.

    A higher threshold than the detector's own changes nothing above it: weak boxes never suppress strong ones. But with
    masks, those of the weak would be most of the work and of the memory.
    """
    check_takes_rgb(model.backbone, model.name)
    place = pick_device(device)
    low = low_precision(amp, place)
    network: Any = copy.deepcopy(model).to(device=place, dtype=torch.float32).eval()
    if hasattr(network, "score_threshold"):  # scores have to be above it, ours may equal the threshold
        network.score_threshold = max(network.score_threshold, threshold - 1e-6)
    if getattr(model, "masks", False):
        network.paste = False  # whole pictures of masks would fill the memory, and nobody asks for their pixels

    @torch.inference_mode()
    def run(pictures: Sequence[Tensor]) -> Sequence[Mapping[str, Any]]:
        with torch.autocast(place.type, dtype=low, enabled=low is not None):
            return network([picture.to(place) for picture in pictures])

    masks = bool(getattr(model, "masks", False))
    names = model.class_names
    return DetectRunner(
        description=f"{model.name}, {model.form} form, PyTorch on {place}",
        run=run,
        classes=tuple(names) if names is not None else tuple(str(label) for label in range(model.num_classes)),
        named=names is not None,
        masks=masks,
        batch=_batch(model, place),
        details={
            "architecture": model.architecture,
            "backbone": model.backbone_name,
            "form": model.form,
            "runtime": "pytorch",
            "device": str(place),
            "amp": amp,
            "preprocessing": model.preprocessing.to_dict(),
        },
    )


def _batch(model: DenseModel, place: torch.device) -> int:
    """How many pictures at once suit the device."""
    if place.type != "cpu":
        return ACCELERATOR_BATCH
    spec = model.preprocessing
    return max(1, CPU_PIXELS // (spec.size * (spec.longest or spec.size)))
