"""Detectors and segmenters as they go into a file: what it gives, and what a reader has to do with it.

How much of the work after the network is in the file is the person's choice, `DECODINGS`:

| | detectors of one stage | Mask R-CNN | segmenters |
|---|---|---|---|
| raw | `class_logits` B N C', `box_codes` B N 4 | - | `logits` B C h w, at the head's own size |
| boxes | `scores` B N C, `boxes` B N 4 | - | - |
| final | `boxes` B M 4, `scores` B M, `labels` B M, `count` B | the same, and `masks` B M 28 28 | `classes` B H W |

N counts the anchors of all levels, C the classes, M the most objects of a picture. Boxes are x1 y1 x2 y2 in pixels of
the network's input. "raw" holds what accelerators and int8 are made for, and leaves to the app what the record
describes under "decoding"; after "boxes" the app only has to suppress doubles; "final" suppresses them too. Places
without an object have label -1 and score 0, and `count` says how many have one. A mask is to be stretched over its box.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.errors import UserError, did_you_mean
from phonecv.segment.parts import at_least_float32, resize

if TYPE_CHECKING:
    from phonecv.dense import DenseModel

#: How much of the decoding is in the file.
DECODINGS = ("raw", "boxes", "final")


def dense_module(
    network: DenseModel, *, decode: bool | str, size: tuple[int, int] | None = None
) -> tuple[nn.Module, tuple[str, ...]]:
    """A module that takes a normalised batch ``B 3 H W`` and gives a tuple of tensors, and their names.

    Args:
        network: a detector or segmenter, on the CPU, in evaluation mode.
        decode: of `DECODINGS`; True for "final", False for "raw".
        size: input height and width, for which anchors are computed beforehand; None to compute them in the file.

    Raises:
        UserError: an unknown decoding, or one that this network does not have.
    """
    from phonecv.detect.exporting_boxes import DecodedBoxes, FinalBoxes, RawBoxes
    from phonecv.detect.exporting_rcnn import FinalMasks
    from phonecv.detect.mask_rcnn import MaskRCNN

    kind = decoding_of(decode)
    if network.task == "segment":
        if kind == "boxes":
            raise UserError(f"{network.name} labels pixels, it has no boxes; decode 'raw' or 'final'")
        return (PixelLogits(network), ("logits",)) if kind == "raw" else (PixelClasses(network), ("classes",))
    if isinstance(network, MaskRCNN):
        if kind != "final":
            raise UserError(
                f"{network.name} finds boxes in its first stage and reads features there in its second, so a file of it"
                " always holds the decoding: decode 'final' (--decode final)"
            )
        if size is None:
            raise UserError(
                f"{network.name} goes through a fixed number of proposals, which hangs on the input's size; leave out"
                " dynamic_size"
            )
        return FinalMasks(network, map_sizes(network, size)), ("boxes", "scores", "labels", "count", "masks")
    if not hasattr(network, "box_rule"):
        raise UserError(f"{network.name} is no detector of this package; it says not how its outputs become boxes")
    if size is not None:
        check_fixed(network, size)
    if kind == "raw":
        return RawBoxes(network), ("class_logits", "box_codes")
    boxes = DecodedBoxes(network, None if size is None else map_sizes(network, size))
    if kind == "boxes":
        return boxes, ("scores", "boxes")
    return FinalBoxes(boxes), ("boxes", "scores", "labels", "count")


def decoding_of(decode: bool | str) -> str:
    """The decoding as one of `DECODINGS`.

    Raises:
        UserError: it is none.
    """
    if isinstance(decode, bool):
        return "final" if decode else "raw"
    if decode not in DECODINGS:
        raise UserError(
            f"decoding {decode!r} is not one of {', '.join(DECODINGS)}{did_you_mean(str(decode), DECODINGS)}"
        )
    return decode


def decoding_record(network: DenseModel, height: int, width: int, decode: bool | str) -> dict[str, Any]:
    """What a reader of the file has to know of its outputs, as JSON values.

    Args:
        network: as for `dense_module`.
        height: of the input.
        width: of the input.
        decode: as for `dense_module`.
    """
    any_network: Any = network
    kind = decoding_of(decode)
    if network.task == "segment":
        windows = any_network.windows
        return {"kind": kind, "windows": None if windows is None else [windows.crop, windows.stride]}
    record: dict[str, Any] = {"kind": kind}
    for name in ("score_threshold", "candidates", "nms_overlap", "max_detections"):
        record[name] = getattr(any_network, name, None)
    rule = getattr(any_network, "box_rule", None)
    if rule is not None:
        anchors = {name: list(value) if isinstance(value, tuple) else value for name, value in rule.anchors.items()}
        sizes = [list(size) for size in map_sizes(network, (height, width))]
        record |= {"activation": rule.activation, "stds": list(rule.stds), "anchors": anchors, "maps": sizes}
    return record


def check_fixed(network: DenseModel, size: tuple[int, int]) -> None:
    """Refuse one other size for a detector whose anchors belong to its square.

    Raises:
        UserError: it is another.
    """
    spec = network.preprocessing
    if spec.longest is None and size != (spec.size, spec.size):
        raise UserError(
            f"{network.name} has anchors for {spec.size}x{spec.size} pixels, not for {size[0]}x{size[1]}; leave the"
            " size out, or train the detector at the size you want; a file of any size (dynamic_size, --any-size)"
            " keeps these anchors and takes other sizes all the same"
        )


def traceable(network: Any, batch: Tensor) -> tuple[Any, Tensor]:
    """A network and pictures ``B 3 H W`` to trace it with when sizes are free; only detectors of one stage need care.

    Their coarsest maps are a single pixel in small pictures, where all layouts of a tensor are the same. PyTorch's
    tracer looks at that, and writes a graph for such maps alone, or for others alone. So the pictures are made so large
    that no map is a pixel, and the weights, in place, are no longer laid out channels last: then it may suppose that no
    map is ever one, and the operators that it writes are right for both.
    """
    size = (batch.shape[2], batch.shape[3])
    if not hasattr(network, "box_rule"):
        return network, batch
    network = network.to(memory_format=torch.contiguous_format)
    while min(min(sides) for sides in map_sizes(network, size)) < 2:
        size = (2 * size[0], 2 * size[1])
    return network, batch if size == tuple(batch.shape[2:]) else F.interpolate(batch, size, mode="bilinear")


def map_sizes(network: DenseModel, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Height and width of the maps that a detector's outputs come from."""
    # Shapes alone: on the meta device nothing is computed.
    shapes: Any = copy.deepcopy(network).to("meta")
    with torch.no_grad():
        outputs = shapes.network(torch.zeros(1, 3, *size, device="meta"))
    return [(level.shape[2], level.shape[3]) for level in outputs[-1]]


class PixelLogits(nn.Module):
    """A segmenter's logits at the size its head works at; whoever reads them makes them larger."""

    def __init__(self, network: DenseModel) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> ``B classes h w``."""
        return (self.network.network(batch, auxiliary=False)[0],)


class PixelClasses(PixelLogits):
    """A segmenter's class of every pixel of its input."""

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """``B 3 H W`` -> ``B H W``, int32."""
        (logits,) = super().forward(batch)
        whole = resize(at_least_float32(logits), (batch.shape[2], batch.shape[3]))
        return (whole.argmax(1).to(torch.int32),)
