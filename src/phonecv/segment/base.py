"""The contract of every segmenter: pictures in, losses or logits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.dense.inputs import prepare
from phonecv.dense.model import Further
from phonecv.dense.windows import Windows
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing
from phonecv.segment import inference
from phonecv.segment.losses import IGNORE, pixel_cross_entropy


class Segmenter(inference.Labelling):
    """A backbone, a decode head and, for training, an auxiliary head.

    In training pictures are taken at the size they come in, since cropping and scaling belong to the data. In
    evaluation they are resized by `preprocessing` first, and the logits are resized back.

    Args:
        architecture: see `phonecv.list_segmenters`.
        backbone: gives the list of maps that the heads take.
        num_classes: classes, 2..255; label 255 means ignored.
        preprocessing: of evaluation.
        head: maps to logits.
        neck: maps to maps, before the head.
        aux_head: maps to logits, at training alone.
        aux_weight: of its loss.
        windows: evaluate by sliding windows rather than the whole picture.
    """

    task = "segment"

    def __init__(
        self,
        architecture: str,
        backbone: nn.Module,
        num_classes: int,
        preprocessing: DensePreprocessing,
        *,
        head: nn.Module,
        neck: nn.Module | None = None,
        aux_head: nn.Module | None = None,
        aux_weight: float = 0.4,
        windows: Windows | None = None,
    ) -> None:
        super().__init__(architecture, backbone, num_classes, preprocessing)
        self.neck = neck
        self.head = head
        self.aux_head = aux_head
        self.aux_weight = aux_weight
        self.windows = windows
        # Of the training alone, so no part of what is saved.
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None, persistent=False)
        self.class_factors: Tensor | None
        self.register_buffer("class_factors", None, persistent=False)

    def network(self, batch: Tensor, *, auxiliary: bool | None = None) -> tuple[Tensor, Tensor | None]:
        """Raw logits of a normalised batch, at the heads' resolution.

        Args:
            batch: ``B 3 H W``.
            auxiliary: whether to run the auxiliary head, where there is one; None: in training mode.

        Returns:
            Logits ``B num_classes h w`` of the decode head, and of the auxiliary head or None.
        """
        maps = self.backbone(batch)
        wanted = self.training if auxiliary is None else auxiliary
        aux = self.aux_head(maps) if wanted and self.aux_head is not None else None
        return self.head(maps if self.neck is None else self.neck(maps)), aux

    def losses(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Tensor | Sequence[Tensor],
        further: Further | None = None,
    ) -> dict[str, Tensor]:
        """{"ce": ..., "aux": ...}, weights included, in whatever mode the model is.

        Args:
            images: as for `forward`; pictures of different sizes are padded with the mean colour.
            targets: label maps of the pictures' sizes, ``B H W`` or ``H W`` each: 0..classes-1, 255 for ignored.
            further: adds losses of its own, such as a teacher's.

        Raises:
            UserError: sizes or labels that do not fit, or a batch of one with a head that cannot learn from it.
        """
        batch, labels = self._batch(images), self._labels(images, targets)
        logits, aux = self.network(batch, auxiliary=True)
        weights = self.class_weights, self.class_factors
        named = {"ce": pixel_cross_entropy(logits, labels, *weights)}
        if aux is not None:
            named["aux"] = self.aux_weight * pixel_cross_entropy(aux, labels, *weights)
        return named if further is None else named | further(logits, batch)

    if TYPE_CHECKING:

        @overload
        def __call__(self, images: Tensor) -> Tensor: ...
        @overload
        def __call__(self, images: Sequence[Tensor]) -> list[Tensor]: ...
        @overload
        def __call__(
            self,
            images: Tensor | Sequence[Tensor],
            targets: Tensor | Sequence[Tensor],
            further: Further | None = ...,
        ) -> dict[str, Tensor]: ...
        def __call__(self, images: Any, targets: Any = None, further: Any = None) -> Any:
            """As `forward`."""

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Tensor | Sequence[Tensor] | None = None,
        further: Further | None = None,
    ) -> dict[str, Tensor] | Tensor | list[Tensor]:
        """Losses in training mode, logits in evaluation mode.

        Args:
            images: RGB, ``B 3 H W``, or ``3 H W`` each and of any sizes; bytes, or floats in 0..1.
            targets: see `losses`, as for `further`; ignored in evaluation mode.
            further: adds losses.

        Returns:
            In training mode `losses`. In evaluation mode logits at the pictures' sizes: ``B num_classes H W`` for a
            tensor, a list of ``num_classes H W`` for a list.
        """
        if self.training:
            if targets is None:
                raise UserError("training mode needs label maps, model(images, labels); call .eval() for predictions")
            return self.losses(images, targets, further)
        if isinstance(images, Tensor):
            return inference.logits(self, images)
        found: dict[int, Tensor] = {}
        for group in inference.same_size(images):
            found |= zip(group, inference.logits(self, [images[index] for index in group]), strict=True)
        return [found[index] for index in range(len(images))]

    def _batch(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Normalised and stacked, not resized; zeros, the mean colour, where pictures end before others do."""
        if len(inference.same_size(images)) <= 1:
            return prepare(images, self._as_it_comes(images)).batch.to(self.dtype)
        singles = [self._batch([image]) for image in images]
        height, width = (max(single.shape[axis] for single in singles) for axis in (2, 3))
        return torch.cat([_padded(single, height, width, 0.0) for single in singles])

    def _as_it_comes(self, images: Tensor | Sequence[Tensor]) -> DensePreprocessing:
        """Preprocessing that leaves pictures of this size as large as they are."""
        sides = [max(1, int(side)) for side in images[0].shape[-2:]] if len(images) else []
        return replace(self.preprocessing, size=min(sides, default=1), longest=max(sides, default=1), multiple=1)

    def _labels(self, images: Tensor | Sequence[Tensor], targets: Tensor | Sequence[Tensor]) -> Tensor:
        if len(images) != len(targets):
            raise UserError(f"{len(images)} pictures came with {len(targets)} label maps")
        for image, labels in zip(images, targets, strict=True):
            if image.shape[-2:] != labels.shape:
                raise UserError(
                    f"a picture of {tuple(image.shape[-2:])} came with a label map of {tuple(labels.shape)};"
                    " both need the same height and width"
                )
        if not isinstance(targets, Tensor):
            height, width = (max(labels.shape[axis] for labels in targets) for axis in (0, 1))
            targets = torch.stack([_padded(labels, height, width, IGNORE) for labels in targets])
        return targets.long()


def _padded(x: Tensor, height: int, width: int, value: float) -> Tensor:
    return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]), value=value)
