"""Detectors as they go into a file: what it gives, and what a reader has to do with it.

| decoding | detectors of one stage | Mask R-CNN |
|---|---|---|
| raw | `class_logits` B N C', `box_codes` B N 4 | - |
| boxes | `scores` B N C, `boxes` B N 4 | - |
| final | `boxes` B M 4, `scores` B M, `labels` B M, `count` B | the same, and `masks` B M 28 28 |
| mediapipe | the same, boxes in shares of the input's sides, all of them float32 | - |

N counts the anchors of all levels, C the classes, M the most objects of a picture. Boxes are x1 y1 x2 y2 in pixels of
the network's input. After "boxes" the app only has to suppress doubles; "final" suppresses them too. Places without an
object have label -1 and score 0, and `count` says how many have one. A mask is to be stretched over its box.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.dense.exporting import MAX_DIFF, MAX_DIFF_FP16, input_batch
from phonecv.dense.model import DenseModel
from phonecv.detect.exporting_boxes import DecodedBoxes, FinalBoxes, RawBoxes, ShareBoxes
from phonecv.detect.exporting_checks import compare_choice, compare_objects, offered
from phonecv.detect.exporting_rcnn import FinalMasks
from phonecv.detect.mask_rcnn import MaskRCNN
from phonecv.errors import UserError
from phonecv.exporting.comparing import HINT, Compared, Sides, compare_numbers, unvaried
from phonecv.exporting.example import first_example as choose_example
from phonecv.exporting.formats import MEDIAPIPE
from phonecv.exporting.plain import inputs
from phonecv.models.headed import RawOutputs
from phonecv.text import counted

#: Outputs that only a file with suppression has.
OBJECTS = ("boxes", "scores", "labels", "count")


def as_module(network: Any, *, decode: str, size: tuple[int, int] | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The outputs of the table above; anchors are computed beforehand for a size (height, width), else in the file.

    Raises:
        UserError: a decoding that this detector does not have, or a size that its anchors were not made for.
    """
    if isinstance(network, MaskRCNN):
        if decode != "final":
            raise UserError(
                f"{network.name} finds boxes in its first stage and reads features there in its second, so a file of it"
                " always holds the decoding: decode 'final' (--decode final)"
            )
        if size is None:
            raise UserError(
                f"{network.name} goes through a fixed number of proposals, which hangs on the input's size; leave out"
                " dynamic_size"
            )
        return FinalMasks(network, map_sizes(network, size)), (*OBJECTS, "masks")
    if size is not None:
        _check_fixed(network, size)
    if decode == "raw":
        return RawBoxes(network), ("class_logits", "box_codes")
    boxes = DecodedBoxes(network, None if size is None else map_sizes(network, size))
    if decode == "boxes":
        return boxes, ("scores", "boxes")
    return (FinalBoxes if decode == "final" else ShareBoxes)(boxes), OBJECTS


def needs(network: DenseModel, decode: str) -> tuple[str, ...]:
    """Suppression is more than a backbone's operators."""
    return {"final": ("suppression",), "mediapipe": (MEDIAPIPE, "suppression")}.get(decode, ())


def decoding(network: Any, height: int, width: int, decode: str) -> dict[str, Any]:
    """With thresholds, and the rule that its outputs become boxes by."""
    found: dict[str, Any] = {"kind": decode}
    for name in ("score_threshold", "candidates", "nms_overlap", "max_detections"):
        found[name] = getattr(network, name)
    if network.class_agnostic:
        found["class_agnostic"] = True
    if network.tiles is not None:
        found["tiles"] = asdict(network.tiles)
    rule = getattr(network, "box_rule", None)
    if rule is not None:
        anchors = {name: list(value) if isinstance(value, tuple) else value for name, value in rule.anchors.items()}
        sizes = [list(size) for size in map_sizes(network, (height, width))]
        found |= {"activation": rule.activation, "stds": list(rule.stds), "anchors": anchors, "maps": sizes}
    return found


def _check_fixed(network: DenseModel, size: tuple[int, int]) -> None:
    """Refuse one other size for a detector whose anchors belong to its square."""
    spec = network.preprocessing
    if spec.longest is None and size != (spec.size, spec.size):
        raise UserError(
            f"{network.name} has anchors for {spec.size}x{spec.size} pixels, not for {size[0]}x{size[1]}; leave the"
            " size out, or train the detector at the size you want; a file of any size (dynamic_size, --any-size)"
            " keeps these anchors and takes other sizes all the same"
        )


def traceable(network: Any, batch: Tensor) -> tuple[Any, Tensor]:
    """A detector and pictures ``B 3 H W`` to trace it with when sizes are free; only those of one stage need care.

    Their coarsest maps are a single pixel in small pictures, where all layouts of a tensor are the same. PyTorch's
    tracer looks at that, and writes a graph for such maps alone, or for others alone. So the pictures are made so large
    that no map is a pixel, and neither the weights, in place, nor the backbone's maps, which windowed attention gives
    in layouts of its own, are laid out channels last: then it may suppose that no map is ever one, and the operators
    that it writes are right for both.
    """
    size = (batch.shape[2], batch.shape[3])
    if not hasattr(network, "box_rule"):
        return network, batch
    network = network.to(memory_format=torch.contiguous_format)
    network.backbone.register_forward_hook(_laid_out)
    while min(min(sides) for sides in map_sizes(network, size)) < 2:
        size = (2 * size[0], 2 * size[1])
    return network, batch if size == tuple(batch.shape[2:]) else F.interpolate(batch, size, mode="bilinear")


def _laid_out(module: nn.Module, given: Any, maps: Sequence[Tensor]) -> list[Tensor]:
    """A hook; at the top of the module, so that the process that writes a file finds it."""
    return [level.contiguous() for level in maps]


def map_sizes(network: DenseModel, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Height and width of the maps that a detector's outputs come from."""
    # Shapes alone: on the meta device nothing is computed.
    shapes: Any = copy.deepcopy(network).to("meta")
    with torch.no_grad():
        outputs = shapes.network(torch.zeros(1, network.in_chans, *size, device="meta"))
    return [(level.shape[2], level.shape[3]) for level in outputs[-1]]


def compare(sides: Sides, max_diff: float | None) -> Compared:
    """Sets of objects, whatever was chosen among equally sure ones; other outputs number by number."""
    if not set(sides.names) >= set(OBJECTS):
        return compare_numbers(sides, max_diff)
    ours, theirs = (dict(zip(sides.names, side, strict=True)) for side in (sides.wanted, sides.got))
    difference = compare_objects(ours, theirs)
    if max_diff is not None and not difference <= max_diff and sides.batch is not None:
        offer = offered(sides.module, sides.batch[0], theirs)
        if offer is not None:
            # However much a person allows: with scores that far apart as equals, no choice would be wrong.
            found = compare_choice(offer, theirs, min(max_diff, MAX_DIFF_FP16))
            difference = found if found < difference else difference
    return Compared(difference)


def nothing_compared(
    names: Sequence[str], wanted: Sequence[Sequence[np.ndarray]], got: Sequence[Sequence[np.ndarray]]
) -> str:
    """Where nobody found an object, or other outputs do not vary."""
    if not set(names) >= set(OBJECTS):
        return unvaried(names, wanted, got)
    place = list(names).index("count")
    if any(int(side[place].sum()) for batches in (wanted, got) for side in batches):
        return ""
    return f"no object was found in any of {counted(len(wanted[0][0]), 'pictures')}, by PyTorch or by the file; {HINT}"


def timed(network: DenseModel) -> tuple[nn.Module, str]:
    """From normalised pictures to the heads' raw outputs."""
    if isinstance(network, MaskRCNN):
        left_out = "backbone, pyramid and proposals are timed, not the second stage, which works on single boxes"
    else:
        left_out = "backbone and heads are timed, not the decoding of boxes and the suppression of doubles"
    return RawOutputs(network), left_out


__all__ = ["MAX_DIFF", "as_module", "choose_example", "compare", "decoding", "input_batch", "inputs", "needs",
           "nothing_compared", "timed", "traceable"]  # fmt: skip
