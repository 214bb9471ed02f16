"""A segmenter ready to run: opened from wherever it is, on a device, with the way of inference that was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phonecv.dense.exported import DenseFile, names_of, numbered
from phonecv.dense.windows import Windows, tile_windows
from phonecv.errors import UserError
from phonecv.exporting.opening import OpenedFile
from phonecv.opening import Placed, Runner, open_runner
from phonecv.segment.base import Segmenter
from phonecv.segment.create import create_segmenter
from phonecv.segment.exported import OUTPUTS, labeller
from phonecv.segment.inference import Label, label_tiles, predict_in_parts
from phonecv.segment.verbs import OpeningOptions
from phonecv.verbs import Opening
from phonecv.weights import Loading

#: How weights make the network of a file, see `phonecv.weights.headed.Building`.
create = create_segmenter
#: See `phonecv.opening.OpeningRoom`.
names_in = names_of


@dataclass(frozen=True, slots=True)
class SegmentRunner(Runner[Sequence[Tensor], list[Tensor]]):
    """A segmenter ready to run: pictures (``3 H W`` bytes each, any sizes) -> ``H W`` uint8 classes for each.

    Label maps lie on `device`.
    """

    task: ClassVar[str] = "segment"


def open_segmenter(
    model: Segmenter | SegmentRunner | Path | str,
    *,
    device: str | torch.device | None = None,
    amp: str = "none",
    slide: tuple[int, int] | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    loading: Loading = Loading(),  # noqa: B008  (frozen)
) -> SegmentRunner:
    """Whatever names a segmenter -> a runner, see `phonecv.opening.open_runner`.

    Args:
        model: a segmenter, the path of a checkpoint of one or of an exported file, or a runner.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        slide: see `OpeningOptions`, as the next two.
        scales: sizes of the input.
        flip: mirrored pictures too.
        loading: what to take of a checkpoint.

    Raises:
        UserError: it labels nothing, cannot be used, or holds weights that are not numbers.
    """
    return open_runner(model, "segment", Opening(device, amp, loading), OpeningOptions(slide, tuple(scales), flip))


def _details(chosen: OpeningOptions, windows: Windows | None) -> dict[str, Any]:
    """For reports."""
    shown = None if windows is None else [windows.crop, windows.stride]
    tiles = {"tile": chosen.tile, "overlap": chosen.overlap} if chosen.tile else {}
    return {"windows": shown, "scales": list(chosen.scales), "flip": chosen.flip} | tiles


def _tiled(run: Label, chosen: OpeningOptions) -> Label:
    return partial(label_tiles, run, tile_windows(chosen.tile, chosen.overlap)) if chosen.tile else run


def network_runner(placed: Placed, options: OpeningOptions | None) -> SegmentRunner:
    """See `phonecv.opening.OpeningRoom`."""
    network, chosen = placed.network, options or OpeningOptions()
    broken = [name for name, value in network.state_dict().items() if not bool(value.isfinite().all())]
    if broken:
        raise UserError(f"{len(broken)} tensors of {network.name} hold values that are not numbers, first: {broken[0]}")
    if chosen.slide is not None:
        network.windows = Windows(*chosen.slide)

    @torch.inference_mode()
    def run(pictures: Sequence[Tensor]) -> list[Tensor]:
        with placed.computing():
            return predict_in_parts(network, pictures, scales=chosen.scales, flip=chosen.flip)

    details = placed.details | _details(chosen, network.windows)
    return SegmentRunner.of_network(placed, _tiled(run, chosen), numbered, details=details)


def file_runner(file: OpenedFile, options: OpeningOptions | None) -> SegmentRunner:
    """See `phonecv.opening.OpeningRoom`."""
    dense, chosen = DenseFile.of(file, OUTPUTS), options or OpeningOptions()
    run, windows = labeller(dense, slide=chosen.slide, scales=chosen.scales, flip=chosen.flip)
    details = dense.details | _details(chosen, windows)
    count, run = len(dense.classes), _tiled(run, chosen)
    return SegmentRunner.of_file(file, run, count, numbered, preprocessing=dense.spec, details=details)
