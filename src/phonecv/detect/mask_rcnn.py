"""Mask R-CNN with a feature pyramid (He et al. 2017), as EMOv2 publishes it.

It departs from torchvision's model of that name: aligned RoIAlign with adaptive sampling, plain L1 for boxes,
background as the last class and without a box or mask of its own, and losses normalised over the batch. From the
published code it departs in one point: final boxes without width or height are dropped, which that shows too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from phonecv.dense.backbone import feature_channels
from phonecv.dense.fpn import FPN
from phonecv.dense.inputs import Prepared
from phonecv.dense.model import Further
from phonecv.detect.anchors import grid_anchors, usable_anchors
from phonecv.detect.base import Detector, Targets, flatten_level, full_precision
from phonecv.detect.boxes import SSD_STDS, decode
from phonecv.detect.masks import BoxMasks, crop_masks, target_masks
from phonecv.detect.postprocess import Found, suppressed
from phonecv.detect.roi import pool, with_picture
from phonecv.detect.roi_heads import (
    BOX_BINS,
    MASK_BINS,
    MASK_SIDE,
    BoxHead,
    MaskHead,
    box_losses,
    choose_regions,
    mask_loss,
    own_class,
)
from phonecv.detect.rpn import ProposalHead, proposal_losses, propose
from phonecv.detect.sampling import Sampling
from phonecv.detect.tiling import Tiles
from phonecv.errors import UserError
from phonecv.preprocessing import COARSEST_STRIDE, DensePreprocessing

_STRIDES = (4, 8, 16, 32, 64)
#: Of the maps that boxes are pooled from; the coarsest level only proposes.
_POOLED = _STRIDES[:-1]
#: Size of the anchors in strides, and their height / width.
_SCALES = (8.0,)
_RATIOS = (0.5, 1.0, 2.0)

#: Masks that the head computes at a time when predicting, which bounds its memory (1.1 MB each) in large batches.
_MASKS_AT_A_TIME = 400

Outputs = tuple[list[Tensor], list[Tensor], list[Tensor]]


class MaskRCNN(Detector):
    """The detector, on maps at strides 4, 8, 16 and 32; pictures keep their aspect.

    Args:
        architecture: as for `phonecv.detect.retinanet.RetinaNet`, like all that is not named here.
        channels: of the pyramid, the first stage and the masks.
        hidden: width of the two layers that tell class and box.
        proposals: boxes per picture that reach the second stage.
        train_candidates: boxes per level before near duplicates among the proposals are dropped, while training.
        rpn_samples: anchors per picture that the first stage learns from, half of them positive at most; None for all.
        roi_samples: proposals per picture that the second stage learns from, a quarter positive at most; None for all.

    Attributes:
        candidates: the same in predictions.
        paste: predictions hold masks as large as the pictures; False leaves them small, as `BoxMasks`, for whoever
            needs no pixels.
    """

    masks: ClassVar[bool] = True
    paste: bool = True

    def __init__(
        self,
        architecture: str,
        backbone: nn.Module,
        num_classes: int,
        *,
        size: int = 800,
        longest: int | None = 1333,
        channels: int = 256,
        hidden: int = 1024,
        proposals: int = 1000,
        train_candidates: int = 2000,
        rpn_samples: int | None = 256,
        roi_samples: int | None = 512,
    ) -> None:
        preprocessing = DensePreprocessing(size=size, longest=longest, multiple=COARSEST_STRIDE)
        super().__init__(architecture, backbone, num_classes, preprocessing)
        for name, value in (("proposals", proposals), ("train_candidates", train_candidates)):
            if not (isinstance(value, int) and value >= 1):
                raise UserError(f"{name} {value!r} is not a whole number >= 1")
        for name, value in (("rpn_samples", rpn_samples), ("roi_samples", roi_samples)):
            # Below that the share of positives would round to none.
            if value is not None and not (isinstance(value, int) and value >= 4):
                raise UserError(f"{name} {value!r} is neither a whole number >= 4 nor None (all)")
        self.proposals, self.train_candidates = proposals, train_candidates
        self.rpn_sampling = Sampling(rpn_samples, positive=0.5)
        self.roi_sampling = Sampling(roi_samples, positive=0.25)
        self.neck = FPN(feature_channels(backbone, _POOLED), channels, extra="pool")
        self.rpn = ProposalHead(channels, len(_SCALES) * len(_RATIOS))
        self.box_head = BoxHead(channels, num_classes, hidden)
        self.mask_head = MaskHead(channels, num_classes)

    def make_anchors(self, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Three per cell and level."""
        return grid_anchors(sizes, strides=_STRIDES, scales=_SCALES, ratios=_RATIOS)

    def network(self, batch: Tensor) -> Outputs:
        """What does not depend on proposals.

        Args:
            batch: ``B 3 H W``, prepared.

        Returns:
            The maps that boxes are pooled from (strides 4 to 32, ``B channels H W``); then for five levels (strides 4
            to 64) the logits of "an object" (``B 3 H W``) and the codes of its box (``B 12 H W``).
        """
        levels = self.neck(self.backbone(batch))
        scores, codes = self.rpn(levels)
        return levels[: len(_POOLED)], scores, codes

    def losses(
        self, images: Sequence[Tensor] | Tensor, targets: Targets, further: Further | None = None
    ) -> dict[str, Tensor]:
        """ "rpn_cls" and "rpn_box" of the first stage, "cls", "box" and "mask" of the second."""
        prepared = self.prepare(images)
        truth = self.truth(targets, prepared)
        given = target_masks(targets, prepared.originals)
        levels, scores, codes = self.network(prepared.batch)

        usable = usable_anchors(
            [(x.shape[2], x.shape[3]) for x in scores],
            pictures=prepared.padded(self.preprocessing.multiple),
            strides=_STRIDES,
            per_cell=len(_SCALES) * len(_RATIOS),
            device=prepared.batch.device,
        )
        scores, codes, anchors = self._per_anchor(scores, codes)
        losses = proposal_losses(
            torch.cat(scores, 1), torch.cat(codes, 1), torch.cat(anchors), truth, self.rpn_sampling, usable
        )

        sizes = _sizes(prepared)
        proposals = propose(scores, codes, anchors, sizes, candidates=self.train_candidates, keep=self.proposals)
        regions = choose_regions(proposals, truth, sizes, self.num_classes, self.roi_sampling)
        logits, box_codes = self.box_head(pool(levels, regions.rois, BOX_BINS, _POOLED))
        losses |= box_losses(logits, box_codes, regions, truth)

        place = regions.positive.nonzero()[:, 0]
        rois, labels, number = regions.rois[place], regions.labels[place], regions.object[place]
        picture = rois[:, 0].long()
        # Read from the masks as given: these need not be resized along with the pictures.
        boxes = rois[:, 1:] / prepared.scales.to(rois.dtype).repeat(1, 2)[picture]
        wanted = crop_masks(given, boxes, picture, number, MASK_SIDE)
        losses["mask"] = mask_loss(self.mask_head(pool(levels, rois, MASK_BINS, _POOLED)), labels, wanted)
        return losses if further is None else losses | further(levels, prepared.batch)

    def in_tiles(self, images: Sequence[Tensor] | Tensor, tiles: Tiles) -> list[Found]:
        """As of every detector; with `paste`, pixels of masks are 0 and 1."""
        before, self.paste = self.paste, False
        try:
            found = super().in_tiles(images, tiles)
        finally:
            self.paste = before
        for one in found if before else ():
            one["masks"] = one["masks"].paste()
        return found

    def postprocess(self, outputs: Outputs, prepared: Prepared) -> list[Found]:
        """Predictions from what `network` returned: second stage, suppression of doubles, masks."""
        levels, scores, codes = outputs
        sizes = _sizes(prepared)
        scores, codes, anchors = self._per_anchor(scores, codes)
        proposals = propose(scores, codes, anchors, sizes, candidates=self.candidates, keep=self.proposals)
        picture, slot = proposals.valid.nonzero(as_tuple=True)
        boxes = proposals.boxes[picture, slot]

        logits, box_codes = self.box_head(pool(levels, with_picture(picture, boxes), BOX_BINS, _POOLED))
        score = full_precision(logits).softmax(1)[:, :-1]
        row, label = (score > self.score_threshold).nonzero(as_tuple=True)
        picture = picture[row]
        boxes = decode(boxes[row], full_precision(box_codes[row, label]), SSD_STDS, clip=sizes[picture])
        results = suppressed(
            boxes,
            score[row, label],
            label,
            picture,
            prepared.scales,
            overlap=self.nms_overlap,
            keep=self.max_detections,
            agnostic=self.class_agnostic,
        )
        squares = self._squares(levels, results, prepared.scales)
        # Picture by picture: they differ in size.
        for result, square, (height, width) in zip(results, squares, prepared.originals, strict=True):
            masks = BoxMasks(square, result["boxes"], height, width)
            result["masks"] = masks.paste() if self.paste else masks
        return results

    def _per_anchor(
        self, scores: Sequence[Tensor], codes: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, ...]]:
        """What the first stage says per level as ``B N`` and ``B N 4``, and its anchors ``N 4``."""
        return (
            [full_precision(flatten_level(x, 1))[..., 0] for x in scores],
            [full_precision(flatten_level(x, 4)) for x in codes],
            self.anchors([(x.shape[2], x.shape[3]) for x in scores], scores[0].device),
        )

    def _squares(
        self, levels: Sequence[Tensor], results: Sequence[dict[str, Tensor]], scales: Tensor
    ) -> Sequence[Tensor]:
        """Per picture the masks of its objects within their boxes, ``M 28 28``, 0..1."""
        counts = [len(result["labels"]) for result in results]
        picture = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(scales.device)
        labels = torch.cat([result["labels"] for result in results])
        boxes = torch.cat([result["boxes"] for result in results])
        rois = with_picture(picture, boxes * scales.to(boxes.dtype).repeat(1, 2)[picture])
        parts = [
            own_class(self.mask_head(pool(levels, some, MASK_BINS, _POOLED)), kinds)
            for some, kinds in zip(rois.split(_MASKS_AT_A_TIME), labels.split(_MASKS_AT_A_TIME), strict=True)
        ]
        return full_precision(torch.cat(parts)).sigmoid().split(counts)


def _sizes(prepared: Prepared) -> Tensor:
    """Height and width of the prepared pictures, ``B 2``."""
    return torch.tensor(prepared.sizes, device=prepared.batch.device)
