"""Pictures of any sizes with their objects, as one step takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from phonecv.errors import UserError


class DetectionItem(NamedTuple):
    """One sample.

    Attributes:
        image: 3 H W; bytes, or floats with 1 for white.
        targets: boxes N 4 (xyxy in the picture's pixels), labels N, crowd N, masks N H W if asked for, and of tiles
            ignored N: too little of the object is seen.
        index: place in the split.
        error: empty, or why the file could not be used.
    """

    image: Tensor
    targets: dict[str, Tensor]
    index: int
    error: str


class Packed(NamedTuple):
    """A batch end to end in a few tensors: each of them costs a message between processes and a copy to the GPU.

    Attributes:
        pixels: all pictures flattened, one after the other.
        masks: the same of all masks, bool; None without masks.
        boxes: 4 columns, the objects of all pictures.
        labels: of the same.
        crowd: of the same.
        ignored: of the same; None where nothing is cut.
        sizes: height and width of every picture.
        counts: objects of every picture.
    """

    pixels: Tensor
    masks: Tensor | None
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    ignored: Tensor | None
    sizes: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]


class DetectionBatch:
    """Samples of one step.

    Args:
        images: 3 H W each; bytes, or floats with 1 for white.
        targets: per picture boxes N 4 (xyxy), labels N, crowd N and ignored N (all False if left out), and
            masks N H W or none.
        indices: B, int64, places in the split (of the sample asked for, also where another one stands in for it).
        errors: one text per sample, empty where all is well.
    """

    __slots__ = ("_images", "_packed", "_targets", "errors", "indices")

    def __init__(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]], indices: Tensor, errors: list[str]
    ) -> None:
        self._take(_pack(images, targets), indices, errors)

    def _take(self, packed: Packed, indices: Tensor, errors: list[str]) -> None:
        self._packed, self.indices, self.errors = packed, indices, errors
        self._images: list[Tensor] | None = None
        self._targets: list[dict[str, Tensor]] | None = None

    @classmethod
    def of(cls, items: Sequence[DetectionItem]) -> DetectionBatch:
        """The batch of some samples."""
        return cls(
            [item.image for item in items],
            [item.targets for item in items],
            torch.tensor([item.index for item in items]),
            [item.error for item in items],
        )

    @classmethod
    def _from(cls, packed: Packed, indices: Tensor, errors: list[str]) -> DetectionBatch:
        batch = cls.__new__(cls)
        batch._take(packed, indices, errors)
        return batch

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def images(self) -> list[Tensor]:
        """The pictures, 3 H W each."""
        if self._images is None:
            self._images = _cut(self._packed.pixels, [(3, *size) for size in self._packed.sizes])
        return self._images

    @property
    def targets(self) -> list[dict[str, Tensor]]:
        """Boxes, labels, crowd, and ignored and masks if there are any, of every picture."""
        if self._targets is None:
            packed, counts = self._packed, list(self._packed.counts)
            columns: dict[str, Sequence[Tensor]] = {
                name: getattr(packed, name).split(counts)
                for name in ("boxes", "labels", "crowd", "ignored")
                if getattr(packed, name) is not None
            }
            if packed.masks is not None:
                shapes = [(count, *size) for count, size in zip(counts, packed.sizes, strict=True)]
                columns["masks"] = _cut(packed.masks, shapes)
            self._targets = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return self._targets

    @property
    def good(self) -> Tensor:
        """B, bool: False where the file could not be used."""
        return torch.tensor([not error for error in self.errors], dtype=torch.bool)

    def pin_memory(self) -> DetectionBatch:
        """For the loader, which calls it when asked for pinned memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> DetectionBatch:
        """Pictures and targets on `device`; the rest stays where it is."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def _each(self, change: Any) -> DetectionBatch:
        changed: dict[str, Any] = {
            name: change(part) for name, part in self._packed._asdict().items() if isinstance(part, Tensor)
        }
        return DetectionBatch._from(self._packed._replace(**changed), self.indices, self.errors)

    def __reduce__(self) -> tuple[Any, ...]:
        # From a worker process: every tensor would travel as a file descriptor of its own, which takes longer than the
        # few numbers of all but pixels and masks.
        packed = self._packed
        small = [
            None if (column := getattr(packed, name)) is None else column.numpy()
            for name in ("boxes", "labels", "crowd", "ignored")
        ]
        large = packed.pixels, packed.masks
        return _unpack, (*large, *small, packed.sizes, packed.counts, self.indices.tolist(), self.errors)


def _unpack(
    pixels: Tensor,
    masks: Tensor | None,
    boxes: np.ndarray,
    labels: np.ndarray,
    crowd: np.ndarray,
    ignored: np.ndarray | None,
    sizes: tuple[tuple[int, int], ...],
    counts: tuple[int, ...],
    indices: list[int],
    errors: list[str],
) -> DetectionBatch:
    small = (
        torch.from_numpy(boxes),
        torch.from_numpy(labels),
        torch.from_numpy(crowd),
        None if ignored is None else torch.from_numpy(ignored),
    )
    return DetectionBatch._from(Packed(pixels, masks, *small, sizes, counts), torch.tensor(indices), errors)


def _pack(images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> Packed:
    if len({image.dtype for image in images}) > 1:
        raise UserError("pictures of one batch are bytes and floats; let the transform always give the same")
    boxes = [target["boxes"] for target in targets]
    crowd, ignored = (
        [target.get(name, torch.zeros(len(target["labels"]), dtype=torch.bool)) for target in targets]
        for name in ("crowd", "ignored")
    )
    masks = None
    if all("masks" in target for target in targets):
        masks = torch.cat([target["masks"].to(torch.bool).reshape(-1) for target in targets])
    return Packed(
        torch.cat([image.reshape(-1) for image in images]),
        masks,
        torch.cat(boxes),
        torch.cat([target["labels"] for target in targets]),
        torch.cat(crowd),
        torch.cat(ignored) if any("ignored" in target for target in targets) else None,
        tuple((int(image.shape[1]), int(image.shape[2])) for image in images),
        tuple(map(len, boxes)),
    )


def _cut(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Pieces of a flat tensor in these shapes, one after the other, without copying."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    return [piece.view(shape) for piece, shape in zip(flat.split(sizes), shapes, strict=True)]
