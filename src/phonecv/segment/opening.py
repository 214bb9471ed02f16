"""A segmenter ready to run: opened from wherever it is, on a device, with the way of inference that was chosen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phonecv.classify.opening import check_opening, pick_device
from phonecv.create import load_network
from phonecv.errors import UserError
from phonecv.models.channels import check_takes_rgb
from phonecv.precision import low_precision
from phonecv.segment.base import Segmenter
from phonecv.segment.create import create_segmenter
from phonecv.segment.inference import Windows, predict_labels

#: How weights make the network of a file, see `phonecv.weights.headed.Building`.
create = create_segmenter

#: Logits of the pictures that go through a network together, in numbers: a quarter of a gigabyte on a CPU.
CPU_LOGITS, ACCELERATOR_LOGITS = 2**26, 2**29


@dataclass(frozen=True, slots=True)
class SegmentRunner:
    """A segmenter ready to run.

    Attributes:
        description: for people, such as "segformer on emov2_5m, training form, PyTorch on cpu".
        run: pictures (``3 H W`` bytes each, any sizes) -> ``H W`` uint8 classes for each, on `device`.
        classes: a name for every class.
        named: whether the names are the file's own; otherwise they are numbers.
        device: where it runs.
        details: whatever else is known, for reports.
    """

    task: ClassVar[str] = "segment"

    description: str
    run: Callable[[Sequence[Tensor]], list[Tensor]]
    classes: tuple[str, ...]
    named: bool
    device: torch.device
    details: dict[str, Any] = field(default_factory=dict)

    def __call__(self, pictures: Sequence[Tensor]) -> list[Tensor]:
        """Label maps of the pictures, at their own sizes."""
        return self.run(pictures)


def open_segmenter(
    model: Segmenter | SegmentRunner | Path | str,
    *,
    device: str | torch.device | None = None,
    amp: str = "none",
    slide: tuple[int, int] | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    **loading: Any,
) -> SegmentRunner:
    """Whatever names a segmenter -> a `SegmentRunner`; a network given stays as it was.

    Args:
        model: a segmenter, the path of a checkpoint of one or of an exported file, or a runner.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        slide: side and stride of sliding windows; None leaves it to the segmenter.
        scales: sizes of the input to average over.
        flip: average over mirrored pictures too.
        **loading: arguments of `load_checkpoint`.

    Raises:
        UserError: it labels nothing, cannot be used, or holds weights that are not numbers.
    """
    check_opening(model, device=device, amp=amp, loading=loading)
    if not scales or any(scale <= 0 for scale in scales):
        raise UserError(f"scales {list(scales)} have to be positive, and at least one; 1 is the model's own size")
    if isinstance(model, SegmentRunner):
        if slide is not None or flip or tuple(scales) != (1.0,):
            raise UserError("this runner has its way of inference already; give slide, scales and flip when opening it")
        return model
    if isinstance(model, Path | str):
        from phonecv.exporting import exporter_for

        if exporter_for(model) is not None:
            from phonecv.segment.exported import exported_segmenter

            return exported_segmenter(model, slide=slide, scales=scales, flip=flip)
    network = load_network(model, task="segment", **loading)
    check_takes_rgb(network.backbone, network.name)
    place = pick_device(device)
    low = low_precision(amp, place)
    network = copy.deepcopy(network).to(device=place, dtype=torch.float32).eval()
    broken = [name for name, value in network.state_dict().items() if not bool(value.isfinite().all())]
    if broken:
        raise UserError(f"{len(broken)} tensors of {network.name} hold values that are not numbers, first: {broken[0]}")
    if slide is not None:
        network.windows = Windows(*slide)

    @torch.inference_mode()
    def run(pictures: Sequence[Tensor]) -> list[Tensor]:
        found: list[Tensor] = []
        with torch.autocast(place.type, dtype=low, enabled=low is not None):
            for part in in_parts(network, pictures, max(scales)):
                found += predict_labels(network, part, scales=scales, flip=flip)
        return found

    names = network.class_names
    windows = network.windows
    return SegmentRunner(
        description=f"{network.name}, {network.form} form, PyTorch on {place}",
        run=run,
        classes=tuple(names) if names is not None else tuple(str(label) for label in range(network.num_classes)),
        named=names is not None,
        device=place,
        details={
            "architecture": network.architecture,
            "backbone": network.backbone_name,
            "form": network.form,
            "runtime": "pytorch",
            "device": str(place),
            "amp": amp,
            "windows": [windows.crop, windows.stride] if windows is not None else None,
            "scales": list(scales),
            "flip": flip,
            "preprocessing": network.preprocessing.to_dict(),
        },
    )


def in_parts(network: Segmenter, pictures: Sequence[Tensor], scale: float) -> Iterator[list[Tensor]]:
    """As many pictures at a time as the memory takes; at least one."""
    limit = CPU_LOGITS if next(network.parameters()).device.type == "cpu" else ACCELERATOR_LOGITS
    part: list[Tensor] = []
    numbers = 0.0
    for picture in pictures:
        height, width = network.preprocessing.target(picture.shape[1], picture.shape[2])
        own = network.num_classes * height * width * scale**2
        if part and numbers + own > limit:
            yield part
            part, numbers = [], 0.0
        part.append(picture)
        numbers += own
    if part:
        yield part
