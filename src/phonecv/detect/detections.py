"""What a detector found, in main memory and small: columns of numbers, and masks as run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from phonecv.detect.masks import MASK_THRESHOLD, BoxMasks, RunMasks, plain_code

#: A mask as COCO writes it: {"size": [height, width], "counts": text}.
RunLengths = dict[str, Any]

#: What a COCO evaluation compares.
Kind = Literal["bbox", "segm"]


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections of any number of pictures, those of one picture next to each other and best first.

    Attributes:
        pictures: N int64, place of the picture in its list.
        boxes: N 4 float32, xyxy in pixels of the picture.
        scores: N float32.
        labels: N int64.
        masks: N run lengths, or None without masks.
    """

    pictures: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[RunLengths, ...] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(cls, predictions: Sequence[Mapping[str, Any]], places: Sequence[int]) -> Detections:
        """A batch of a detector's predictions brought to main memory.

        Masks are cut and encoded here, a picture at a time, so that none is kept as pixels.

        Args:
            predictions: dictionaries of boxes, scores, labels and maybe masks (pixels or `BoxMasks`), one for each
                picture.
            places: of the pictures.
        """
        counts = [len(found["scores"]) for found in predictions]
        if not predictions:
            return cls.none()
        # One transfer for each column of the batch, not for each picture.
        boxes, scores, labels = (
            torch.cat([found[name].detach() for found in predictions]).cpu() for name in ("boxes", "scores", "labels")
        )
        masks = None
        if all("masks" in found for found in predictions):
            masks = tuple(code for found in predictions for code in encode_masks(found["masks"]))
        return cls(
            np.repeat(np.asarray(places, dtype=np.int64), counts),
            boxes.float().reshape(-1, 4).numpy(),
            scores.float().numpy(),
            labels.long().numpy(),
            masks,
        )

    @classmethod
    def none(cls) -> Detections:
        """No detections at all."""
        whole, real = np.zeros(0, np.int64), np.zeros(0, np.float32)
        return cls(whole, real.reshape(0, 4), real, whole)

    @classmethod
    def joined(cls, parts: Sequence[Detections]) -> Detections:
        """All parts as one, ordered by picture."""
        # Nothing found says nothing of masks: an empty part must not cost the others theirs.
        full = [part for part in parts if len(part)] or list(parts[:1])
        if not full:
            return cls.none()
        masks: tuple[RunLengths, ...] | None = None
        if all(part.masks is not None for part in full):
            masks = tuple(code for part in full for code in part.masks or ())
        every = cls(
            np.concatenate([part.pictures for part in full]),
            np.concatenate([part.boxes for part in full]),
            np.concatenate([part.scores for part in full]),
            np.concatenate([part.labels for part in full]),
            masks,
        )
        return every[np.argsort(every.pictures, kind="stable")]

    def __getitem__(self, rows: np.ndarray | slice) -> Detections:
        """Some rows, by numbers, by truth values or by a slice."""
        masks = None
        if self.masks is not None:
            masks = tuple(self.masks[row] for row in np.arange(len(self))[rows])
        return Detections(self.pictures[rows], self.boxes[rows], self.scores[rows], self.labels[rows], masks)

    def of_picture(self, place: int) -> Detections:
        """Those of one picture."""
        start, end = np.searchsorted(self.pictures, (place, place + 1))
        return self[int(start) : int(end)]

    def finite(self) -> np.ndarray:
        """N bool: rows whose numbers are numbers."""
        return np.isfinite(self.scores) & np.isfinite(self.boxes).all(1)

    def records(self, image_ids: Sequence[int], category_ids: Sequence[int], kind: Kind) -> list[dict[str, Any]]:
        """COCO results of one kind.

        Results of masks come without boxes: where both are given, COCO's evaluation takes the sizes of the boxes for
        those of the masks, and small, medium and large are mistaken.

        Args:
            image_ids: of every picture, by place.
            category_ids: of every class, by label.
            kind: "bbox" or "segm".
        """
        images = np.asarray(image_ids, dtype=np.int64)[self.pictures].tolist()
        categories = np.asarray(category_ids, dtype=np.int64)[self.labels].tolist()
        scores = self.scores.astype(np.float64).tolist()
        shapes: Sequence[Any]
        if kind == "bbox":
            name, shapes = "bbox", self.boxes_xywh().tolist()
        else:
            name, shapes = "segmentation", self.masks or ()
        return [
            {"image_id": image, "category_id": category, name: shape, "score": score}
            for image, category, shape, score in zip(images, categories, shapes, scores, strict=True)
        ]

    def boxes_xywh(self) -> np.ndarray:
        """N 4 float64: left, top, width, height."""
        boxes = self.boxes.astype(np.float64)
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def encode_masks(masks: Tensor | BoxMasks | RunMasks) -> list[RunLengths]:
    """Probabilities or truth values ``M 1 H W`` (or ``M H W``) as run lengths; one call for all of a picture."""
    from faster_coco_eval.core import mask as coder

    if not isinstance(masks, Tensor):
        return masks.encode()
    if not len(masks):
        return []
    if masks.ndim == 4:
        masks = masks[:, 0]
    inside = masks if masks.dtype == torch.bool else masks >= MASK_THRESHOLD
    # Run lengths go down the columns, so the coder wants H W M in Fortran's order: that is M W H in ours.
    columns = inside.transpose(1, 2).contiguous().to(torch.uint8).cpu().numpy()
    return [plain_code(code) for code in coder.encode(columns.transpose(2, 1, 0))]


def decode_masks(codes: Sequence[RunLengths]) -> Tensor:
    """Run lengths of one picture as ``M H W`` bool."""
    from faster_coco_eval.core import mask as coder

    return torch.from_numpy(np.ascontiguousarray(coder.decode(list(codes)).transpose(2, 0, 1))).bool()


def with_boxes(found: Detections) -> Detections:
    """The same with a box around every mask that came without one."""
    if found.masks is None or not len(found):
        return found
    from faster_coco_eval.core import mask as coder

    bare = np.flatnonzero(~found.boxes.any(1))
    boxes = found.boxes.copy()
    if len(bare):
        around = np.asarray(coder.toBbox([found.masks[row] for row in bare])).reshape(-1, 4)
        around[:, 2:] += around[:, :2]
        boxes[bare] = around
    return Detections(found.pictures, boxes, found.scores, found.labels, found.masks)
