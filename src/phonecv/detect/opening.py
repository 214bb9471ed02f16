"""Detectors ready to run: networks of ours, checkpoints, exported files of any runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from phonecv.dense.exported import DenseFile, numbered
from phonecv.detect.create import create_detector
from phonecv.detect.exported import OUTPUTS, finder
from phonecv.detect.tiling import WEAKER, Find, Tiles, find_in_tiles
from phonecv.detect.verbs import FindingOptions, OpeningOptions
from phonecv.devices import cpu_batch
from phonecv.errors import UserError
from phonecv.exporting.opening import OpenedFile
from phonecv.opening import Placed, Runner, own_names

#: How weights make the network of a file, see `phonecv.weights.headed.Building`.
create = create_detector
#: See `phonecv.opening.OpeningRoom`.
names_in = own_names


@dataclass(frozen=True, slots=True)
class DetectRunner(Runner[Sequence[Tensor], Sequence[Mapping[str, Any]]]):
    """A detector ready to run: pictures (``3 H W`` bytes each, any sizes, in main memory) -> what it finds in each.

    That is dictionaries of boxes, scores, labels and maybe masks (pixels or `phonecv.detect.masks.BoxMasks`), in
    pixels of the pictures, best first.

    Attributes:
        masks: whether it finds masks.
        batch: pictures at once that suit it.
        most: objects that it gives of a picture; None where that is not known, or without limit.
    """

    task: ClassVar[str] = "detect"

    masks: bool = False
    batch: int = 1
    most: int | None = None


def network_runner(placed: Placed, options: OpeningOptions | None) -> DetectRunner:
    """See `phonecv.opening.OpeningRoom`.

    A higher threshold than the detector's own changes nothing above it: weak boxes never suppress strong ones. But with
    masks, those of the weak would be most of the work and of the memory.
    """
    network, place, chosen = placed.network, placed.device, options or OpeningOptions()
    tiles = network.tiles = tiles_of(chosen, network.tiles)
    network.class_agnostic = network.class_agnostic or chosen.class_agnostic
    network.max_detections = chosen.max_objects or network.max_detections
    network.most_in_tiles = chosen.max_objects
    if network.masks:
        network.paste = False  # whole pictures of masks would fill the memory, and nobody asks for their pixels
    # Scores have to be above it, ours may equal the threshold.
    network.score_threshold = max(network.score_threshold, _least(chosen, tiles) - 1e-6)

    @torch.inference_mode()
    def run(pictures: Sequence[Tensor]) -> Sequence[Mapping[str, Any]]:
        with placed.computing():
            return network.look([picture.to(place) for picture in pictures])

    details = placed.details | told(tiles, chosen)
    # One large picture at a time is enough in memory, and its tiles fill the batches.
    batch = network.batch_for(place) if tiles is None else 1
    most = network.max_detections if tiles is None else chosen.max_objects
    return DetectRunner.of_network(placed, run, numbered, masks=network.masks, batch=batch, details=details, most=most)


def file_runner(file: OpenedFile, options: OpeningOptions | None) -> DetectRunner:
    """See `phonecv.opening.OpeningRoom`; whatever part of the decoding the file holds.

    Files with one size get pictures of other shapes smaller and padded where the detector keeps their aspect.
    """
    dense, chosen = DenseFile.of(file, OUTPUTS), options or OpeningOptions()
    spec, agnostic = dense.spec, chosen.class_agnostic or bool(dense.decoding.get("class_agnostic"))
    batch = cpu_batch(*(dense.size or (spec.size, spec.longest or spec.size)))
    own = dense.decoding.get("tiles") or {}
    tiles = tiles_of(chosen, Tiles(own["side"], own["overlap"], own["whole"]) if len(own) >= 3 else None)
    find = finder(dense, _least(chosen, tiles), most=chosen.max_objects, agnostic=agnostic)
    run: Find = find
    if tiles is not None:
        run = partial(
            find_in_tiles,
            find,
            tiles=tiles,
            together=batch,
            overlap=float(dense.decoding.get("nms_overlap") or 0.5),
            agnostic=agnostic,
            most=chosen.max_objects,
        )
    return DetectRunner.of_file(
        file,
        run,
        len(dense.classes),
        numbered,
        preprocessing=spec,
        details=dense.details | told(tiles, chosen),
        masks="masks" in dense.outputs,
        batch=batch if tiles is None else 1,
        most=chosen.max_objects or (dense.decoding.get("max_detections") if tiles is None else None),
    )


def _least(chosen: OpeningOptions, tiles: Tiles | None) -> float:
    return chosen.threshold if tiles is None else WEAKER * chosen.threshold


def tiles_of(chosen: FindingOptions, own: Tiles | None) -> Tiles | None:
    """How large pictures are looked at: as somebody wants it, or else in the detector's own way."""
    if chosen.tile is not None:
        return Tiles(chosen.tile, chosen.overlap, not chosen.tiles_only) if chosen.tile else None
    if chosen.overlap != FindingOptions().overlap or chosen.tiles_only:
        raise UserError("overlap and tiles_only are for pictures in tiles; give the side of the tiles too, tile=640")
    return own


def told(tiles: Tiles | None, chosen: FindingOptions) -> dict[str, Any]:
    """For reports: what is not as ever."""
    said: dict[str, Any] = {} if tiles is None else {"tiles": asdict(tiles)}
    said |= {} if chosen.max_objects is None else {"max_objects": chosen.max_objects}
    return said | ({"class_agnostic": True} if chosen.class_agnostic else {})
