"""What every detector does, whatever its heads."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, overload

import torch
from torch import Tensor, nn

from phonecv.dense.inputs import Prepared, prepare
from phonecv.dense.model import DenseModel, Further
from phonecv.detect.assign import pad_targets
from phonecv.detect.postprocess import Found
from phonecv.detect.tiling import Tiles, find_in_tiles
from phonecv.devices import cpu_batch
from phonecv.errors import UserError
from phonecv.models.factory import check_known
from phonecv.preprocessing import DensePreprocessing

Targets = Sequence[Mapping[str, Tensor]]

#: Pictures that an accelerator takes at once.
ACCELERATOR_BATCH = 8

#: So many labels without a single 0 tell that somebody counts from 1.
_TELLING = 1000

#: Options of every detector: how its final boxes are chosen.
CHOOSING = ("score_threshold", "candidates", "nms_overlap", "max_detections", "class_agnostic", "tiles")

#: Sets of anchors that a detector remembers; pictures of unequal shapes need one per shape of batch.
_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Truth:
    """Objects of a batch in the pixels of the prepared pictures.

    Attributes:
        boxes: ``B G 4``, float32, zeros where there is no object.
        labels: ``B G``, int64.
        valid: ``B G``, bool: an object to learn from.
        ignored: of each picture the boxes ``I 4`` where background is not to be learnt; empty where there are none.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor
    ignored: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class BoxRule:
    """How the numbers that a one-stage detector gives per anchor become scores and boxes; data, for records of files.

    Attributes:
        activation: "softmax" over the classes and the background behind them, or a "sigmoid" per class.
        stds: of the box codes, see `phonecv.detect.boxes`.
        anchors: see `phonecv.detect.anchors.anchors_by_rule`.
    """

    activation: str
    stds: tuple[float, float, float, float]
    anchors: Mapping[str, Any]

    def scores(self, logits: Tensor) -> Tensor:
        """``B N values`` -> ``B N classes``, 0..1."""
        return logits.softmax(-1)[..., :-1] if self.activation == "softmax" else logits.sigmoid()


class Detector(DenseModel):
    """A backbone with heads that find objects.

    Pictures are resized, normalised and padded inside, as `preprocessing` says; boxes are always in pixels of the
    pictures given.

    Attributes:
        score_threshold: predictions have a higher score.
        candidates: pairs of anchor and class per level that enter the suppression of doubles.
        nms_overlap: intersection over union above which the weaker of two boxes of a class goes.
        max_detections: boxes per picture, of one in tiles per tile.
        class_agnostic: whether boxes of different classes suppress each other, too.
        tiles: how large pictures are looked at, as an option ``{"side": 640, "overlap": 0.2}``; None: as wholes.
        most_in_tiles: boxes per picture that is looked at in tiles; None: as many as there are.
    """

    task = "detect"
    choosing = CHOOSING
    masks: ClassVar[bool] = False
    score_threshold: float = 0.05
    candidates: int = 1000
    nms_overlap: float = 0.5
    max_detections: int = 100
    class_agnostic: bool = False
    tiles: Tiles | None = None
    most_in_tiles: int | None = None

    def __init__(
        self, architecture: str, backbone: nn.Module, num_classes: int, preprocessing: DensePreprocessing
    ) -> None:
        super().__init__(architecture, backbone, num_classes, preprocessing)
        self._remembered: dict[Any, tuple[Tensor, ...]] = {}
        #: Objects without label 0 so far, -1 once there was one; and batches.
        self._labels_above_0, self._batches_checked = 0, 0

    if TYPE_CHECKING:

        @overload
        def __call__(self, images: Sequence[Tensor] | Tensor) -> list[dict[str, Tensor]]: ...
        @overload
        def __call__(
            self, images: Sequence[Tensor] | Tensor, targets: Targets, further: Further | None = ...
        ) -> dict[str, Tensor]: ...
        def __call__(self, images: Any, targets: Any = None, further: Any = None) -> Any:
            """As `forward`."""

    def forward(
        self, images: Sequence[Tensor] | Tensor, targets: Targets | None = None, further: Further | None = None
    ) -> Any:
        """Losses in train mode, predictions in evaluation mode.

        Args:
            images: RGB ``3 H W`` of any sizes (or ``B 3 H W``), bytes or floats in 0..1.
            targets: per picture "boxes" (``N 4``, x1 y1 x2 y2 in its pixels), "labels" (``N``, counted from 0: there is
                no number for the background, unlike in torchvision, where the first class is 1), "masks" (``N H W``)
                where the detector has masks, and perhaps "crowd" and "ignored" (``N``, bool): neither is an object to
                learn from, and an ignored one is no background either.
            further: adds losses of its own, such as a teacher's.

        Returns:
            Train mode: a dict of named scalar losses. Evaluation mode: per picture a dict of "boxes", "scores",
            "labels" and perhaps "masks" (``M 1 H W``, 0..1), best first.

        Raises:
            UserError: train mode without targets, or unusable pictures or targets.
        """
        if self.training:
            if targets is None:
                raise UserError("a detector in train mode needs targets; call .eval() first for predictions")
            return self.losses(images, targets, further)
        return [dict(found) for found in self.look(images)]  # plain ones, which tree_map and others see into

    @torch.no_grad()
    def look(self, images: Sequence[Tensor] | Tensor) -> list[Found]:
        """Predictions, with what is known of objects that a picture may not have."""
        return self.find(images) if self.tiles is None else self.in_tiles(images, self.tiles)

    def find(self, images: Sequence[Tensor] | Tensor) -> list[Found]:
        """Predictions for pictures as wholes."""
        prepared = self.prepare(images)
        return self.postprocess(self.network(prepared.batch), prepared)

    def in_tiles(self, images: Sequence[Tensor] | Tensor, tiles: Tiles) -> list[Found]:
        """Predictions for pictures that are looked at in tiles, some at a time."""
        return find_in_tiles(
            self.find,
            list(images),
            tiles,
            together=self.batch_for(next(self.parameters()).device),
            overlap=self.nms_overlap,
            agnostic=self.class_agnostic,
            most=self.most_in_tiles,
        )

    def batch_for(self, device: torch.device) -> int:
        """Pictures at once that suit a device."""
        spec = self.preprocessing
        return cpu_batch(spec.size, spec.longest or spec.size) if device.type == "cpu" else ACCELERATOR_BATCH

    def choose_boxes(self, options: Mapping[str, Any]) -> None:
        """Set how final boxes are chosen where that is not the published way: those of `options` that are `CHOOSING`.

        Raises:
            UserError: a value out of range.
        """
        for name in CHOOSING:
            setattr(self, name, options.get(name, getattr(self, name)))
        if not 0 <= self.score_threshold < 1:
            raise UserError(f"score_threshold {self.score_threshold!r} is not in 0 .. 1 (1 excluded)")
        if not 0 <= self.nms_overlap <= 1:
            raise UserError(f"nms_overlap {self.nms_overlap!r} is not in 0 .. 1")
        for name, value in (("candidates", self.candidates), ("max_detections", self.max_detections)):
            if not (isinstance(value, int) and value >= 1):
                raise UserError(f"{name} {value!r} is not a whole number >= 1")
        self.class_agnostic = bool(self.class_agnostic)
        if (tiles := options.get("tiles")) is not None:
            check_known("tiles", "setting", tiles, [one.name for one in fields(Tiles)])
            self.tiles = Tiles(**tiles)

    @abstractmethod
    def losses(
        self, images: Sequence[Tensor] | Tensor, targets: Targets, further: Further | None = None
    ) -> dict[str, Tensor]:
        """Named scalar losses, in whatever mode the detector is; `further` adds some."""

    @abstractmethod
    def network(self, batch: Tensor) -> Any:
        """Raw outputs for a normalised and padded ``B 3 H W``: tensors alone, so that it can be exported."""

    @abstractmethod
    def postprocess(self, outputs: Any, prepared: Prepared) -> list[Found]:
        """Predictions from what `network` returned, in pixels of the pictures given."""

    @abstractmethod
    def make_anchors(self, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Anchors of maps of these heights and widths, per level; `anchors` remembers them."""

    def anchors(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> tuple[Tensor, ...]:
        """Anchors per level, ``N 4`` each, on a device; made once per set of sizes."""
        key = (tuple(sizes), device)
        found = self._remembered.pop(key, None)
        if found is None:
            # Tensors made under inference mode could never take part in a training afterwards.
            with torch.inference_mode(False):
                found = tuple(level.to(device) for level in self.make_anchors(sizes))
        self._remembered[key] = found  # the latest stands last
        if len(self._remembered) > _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return found

    def prepare(self, images: Sequence[Tensor] | Tensor) -> Prepared:
        """Resized, normalised and padded pictures, in the number format of the weights."""
        prepared = prepare(images, self.preprocessing, canvas=self.canvas)
        return replace(prepared, batch=prepared.batch.to(next(self.parameters()).dtype))

    def truth(self, targets: Targets, prepared: Prepared) -> Truth:
        """Targets as padded tensors, their boxes scaled along with the pictures."""
        if len(targets) != len(prepared.sizes):
            raise UserError(f"{len(prepared.sizes)} pictures came with {len(targets)} targets; one each is expected")
        self._check_labels(targets)
        boxes, labels, valid = pad_targets(targets, prepared.batch.device)
        scales, ignored = prepared.scales.repeat(1, 2), ()
        if any("ignored" in target for target in targets):
            ignored = tuple(
                target["boxes"][target["ignored"]].to(scales) * scale if "ignored" in target else scales[:0]
                for target, scale in zip(targets, scales, strict=True)
            )
        return Truth(boxes * scales[:, None], labels, valid, ignored)

    def _check_labels(self, targets: Targets) -> None:
        """Refuse labels beyond the classes, and tell of labels that seem to count from 1, as torchvision's do."""
        self._batches_checked += 1
        for number, target in enumerate(targets):
            label = target.get("labels")
            if label is None or not label.numel():
                continue
            # On a GPU a look makes the training wait, so it is taken less and less often.
            if label.is_cuda and self._batches_checked & (self._batches_checked - 1):
                continue
            low, high = int(label.min()), int(label.max())
            if low < 0 or high >= self.num_classes:
                raise UserError(
                    f"target {number} has label {low if low < 0 else high}; labels are 0..{self.num_classes - 1}: they"
                    " count from 0 and the background has none, unlike torchvision's, whose first class is 1"
                    " (subtract 1 from those)"
                )
            self._labels_above_0 = -1 if low == 0 or self._labels_above_0 < 0 else self._labels_above_0 + label.numel()
        # Networks with class names got their labels from a reader of ours.
        if self._labels_above_0 >= _TELLING and self.class_names is None:
            self._labels_above_0 = -1
            warnings.warn(
                f"none of the first {_TELLING:,} labels is 0, the first class. Labels count from 0 here, and the"
                " background has no number; torchvision's count from 1: subtract 1 if yours do",
                stacklevel=2,
            )


def flatten_level(level: Tensor, values: int) -> Tensor:
    """``B A*values H W`` -> ``B H*W*A values``, in the order of the anchors."""
    return level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, values)


def full_precision(x: Tensor) -> Tensor:
    """Float32 where `x` is of a lower precision: scores, box codes and losses need it."""
    return x if x.dtype == torch.float64 else x.float()
