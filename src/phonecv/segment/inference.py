"""From pictures to logits and label maps: the whole picture or sliding windows, flips and scales at test time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor, nn

from phonecv.dense.inputs import prepare
from phonecv.dense.model import DenseModel
from phonecv.dense.windows import Windows
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing
from phonecv.segment.layers import at_least_float32, resize

#: Logits of the pictures that go through a network together, in numbers: a quarter of a gigabyte on a CPU.
CPU_LOGITS, ACCELERATOR_LOGITS = 2**26, 2**29

#: Numbers that one piece of the final resizing may hold; logits of many classes at a photo's size fill gigabytes.
PIECE = 2**26

#: Tiles of a picture that are labelled together.
_TILES = 8

#: Pictures ``3 H W`` of any sizes -> a label map of each.
Label = Callable[[Sequence[Tensor]], list[Tensor]]


class Labelling(DenseModel):
    """What inference knows of a segmenter; `windows` are slid over pictures, None looks at them as wholes."""

    head: nn.Module
    windows: Windows | None

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.head.parameters()).dtype


def whole(model: Labelling, batch: Tensor) -> Tensor:
    """Logits of a normalised batch in one pass, ``B 3 H W -> B classes H W``."""
    return resize(at_least_float32(model.network(batch)[0]), (batch.shape[2], batch.shape[3]))


def slide(model: Labelling, batch: Tensor, crop: int, stride: int, *, together: int = 8) -> Tensor:
    """Logits of a normalised batch, averaged where windows overlap, ``B 3 H W -> B classes H W``.

    Args:
        model: in evaluation mode.
        batch: normalised pictures; smaller ones than a window are one window.
        crop: see `Windows`.
        stride: see `Windows`.
        together: windows per pass of the network.
    """
    windows = Windows(crop, stride)
    B, _, H, W = batch.shape
    h, w = min(crop, H), min(crop, W)
    corners = [(y, x) for y in windows.starts(H) for x in windows.starts(W)]
    total = at_least_float32(batch.new_zeros(B, model.num_classes, H, W))
    count = total.new_zeros(H, W)
    per_pass = max(1, together // B)
    for first in range(0, len(corners), per_pass):
        group = corners[first : first + per_pass]
        parts = whole(model, torch.cat([batch[:, :, y : y + h, x : x + w] for y, x in group]))
        for (y, x), part in zip(group, parts.chunk(len(group)), strict=True):
            total[:, :, y : y + h, x : x + w] += part
            count[y : y + h, x : x + w] += 1
    return total / count


def logits(
    model: Labelling, images: Tensor | Sequence[Tensor], *, scale: float = 1.0, flip: bool = False, final: bool = True
) -> Tensor:
    """Logits of pictures of one size, ``B classes H W``.

    Resizes by the model's preprocessing, goes by windows where the model has them, resizes the logits to the network's
    input and from there to the pictures' size: twice, as the published evaluation does.

    Args:
        model: in evaluation mode.
        images: bytes or floats in 0..1, all of one size.
        scale: of the input, on top of the preprocessing.
        flip: show the network the mirrored pictures, and mirror its answer back.
        final: whether to resize to the pictures' size, rather than leave the logits at the network's input.
    """
    prepared = prepare(images, _scaled(model.preprocessing, scale), canvas=model.canvas)
    batch = prepared.batch.to(model.dtype)
    if flip:
        batch = batch.flip(3)
    windows = model.windows
    out = whole(model, batch) if windows is None else slide(model, batch, windows.crop, windows.stride)
    if flip:
        out = out.flip(3)
    height, width = prepared.sizes[0]
    out = out[:, :, :height, :width]
    return resize(out, prepared.originals[0]) if final else out


def predict_labels(
    model: Labelling, images: Tensor | Sequence[Tensor], *, scales: Sequence[float] = (1.0,), flip: bool = False
) -> list[Tensor]:
    """Class per pixel, one ``H W`` uint8 map per picture at the picture's own size.

    Args:
        model: any mode; it predicts in evaluation mode and is left as it was.
        images: ``B 3 H W``, or ``3 H W`` each and of any sizes; bytes or floats in 0..1, on any device.
        scales: sizes of the input to average over, relative to the preprocessing's.
        flip: average over mirrored pictures too.

    Returns:
        The maps, on the model's device. With several views of a picture, the class of the highest mean probability.
    """
    views = [(scale, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))]
    if not views or any(scale <= 0 for scale in scales):
        raise UserError(f"scales {list(scales)} have to be positive, and at least one")
    device = next(model.parameters()).device
    was_training = model.training
    labels: list[Tensor] = [torch.empty(0)] * len(images)
    try:
        model.train(False)
        with torch.inference_mode():
            for group in same_size(images):
                batch = torch.stack([images[index] for index in group]).to(device)
                size = (batch.shape[2], batch.shape[3])
                if views == [(1.0, False)]:
                    found = largest(logits(model, batch, final=False), size)
                else:
                    shares = (logits(model, batch, scale=scale, flip=both).softmax(1) for scale, both in views)
                    found = reduce(Tensor.add_, shares).argmax(1)
                for index, one in zip(group, found.to(torch.uint8), strict=True):
                    labels[index] = one
    finally:
        model.train(was_training)
    return labels


def predict_in_parts(
    model: Labelling, pictures: Sequence[Tensor], *, scales: Sequence[float], flip: bool
) -> list[Tensor]:
    """`predict_labels` for as many pictures at a time as the memory takes; at least one."""
    limit = CPU_LOGITS if next(model.parameters()).device.type == "cpu" else ACCELERATOR_LOGITS
    found: list[Tensor] = []
    part: list[Tensor] = []
    numbers = 0.0
    for picture in pictures:
        height, width = model.preprocessing.target(picture.shape[1], picture.shape[2])
        own = model.num_classes * height * width * max(scales) ** 2
        if part and numbers + own > limit:
            found += predict_labels(model, part, scales=scales, flip=flip)
            part, numbers = [], 0.0
        part.append(picture)
        numbers += own
    return found + (predict_labels(model, part, scales=scales, flip=flip) if part else [])


def label_tiles(label: Label, windows: Windows, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Label maps of pictures in windows; where these overlap, each has what is nearer to its middle.

    Args:
        label: of pictures as they are.
        windows: over each picture.
        pictures: ``3 H W``, of any sizes.
    """
    found = []
    for picture in pictures:
        height, width = int(picture.shape[1]), int(picture.shape[2])
        views, whole = windows.views(height, width), torch.zeros(0)
        for first in range(0, len(views), _TILES):
            some = views[first : first + _TILES]
            maps = label([picture[:, top:bottom, left:right] for left, top, right, bottom in some])
            if not first:
                whole = maps[0].new_zeros(height, width)
            for (left, top, right, bottom), one in zip(some, maps, strict=True):
                x, y = _own(left, right, windows.starts(width)), _own(top, bottom, windows.starts(height))
                whole[y, x] = one[y.start - top : y.stop - top, x.start - left : x.stop - left]
        found.append(whole)
    return found


def _own(start: int, stop: int, starts: Sequence[int]) -> slice:
    """What is a window's own along an axis: up to the middle of what it shares with its neighbours."""
    place, length = list(starts).index(start), stop - start
    first = (starts[place - 1] + length + start) // 2 if place else start
    last = (starts[place + 1] + stop) // 2 if place + 1 < len(starts) else stop
    return slice(first, last)


def largest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``resize(x, size).argmax(1)``, some classes at a time so that the memory stays bounded."""
    per_piece = max(1, PIECE // (x.shape[0] * size[0] * size[1]))
    best, place = resize(x[:, :per_piece], size).max(1)
    for first in range(per_piece, x.shape[1], per_piece):
        value, index = resize(x[:, first : first + per_piece], size).max(1)
        better = value > best
        best = torch.where(better, value, best)
        place = torch.where(better, index + first, place)
    return place


def same_size(images: Tensor | Sequence[Tensor]) -> list[list[int]]:
    """Positions of pictures that have the same size.

    Pictures of different sizes are not padded into one batch: the heads pool over the whole map, padding included.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(tuple(image.shape), []).append(index)
    return list(groups.values())


def _scaled(spec: DensePreprocessing, scale: float) -> DensePreprocessing:
    if scale == 1.0:
        return spec
    size = max(1, round(spec.size * scale))
    longest = None if spec.longest is None else max(size, round(spec.longest * scale))
    return replace(spec, size=size, longest=longest)
