"""A segmenter ready to run: opened from wherever it is, on a device, with the way of inference that was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from phonecv.dense.exported import DenseFile, numbered
from phonecv.dense.windows import Windows, tile_windows
from phonecv.errors import UserError
from phonecv.exporting.opening import OpenedFile
from phonecv.opening import Placed, Runner, own_names
from phonecv.segment.create import create_segmenter
from phonecv.segment.exported import OUTPUTS, labeller
from phonecv.segment.inference import Label, label_tiles, predict_in_parts
from phonecv.segment.verbs import OpeningOptions

#: How weights make the network of a file, see `phonecv.weights.headed.Building`.
create = create_segmenter
#: See `phonecv.opening.OpeningRoom`.
names_in = own_names


@dataclass(frozen=True, slots=True)
class SegmentRunner(Runner[Sequence[Tensor], list[Tensor]]):
    """A segmenter ready to run: pictures (``3 H W`` bytes each, any sizes) -> ``H W`` uint8 classes for each.

    Label maps lie on `device`.
    """

    task: ClassVar[str] = "segment"


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
