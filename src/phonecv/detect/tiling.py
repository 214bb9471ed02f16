"""Large pictures in overlapping tiles: what is found in each becomes the objects of the picture.

The idea is that of slicing aided inference (Akyon et al. 2022, arXiv 2202.06934); the merging is our own. A box that
ends at a border between tiles is a piece: it belongs to the whole object where another tile, or the whole picture,
shows that. Pieces of an object that nothing shows whole are joined where two tiles agree on what both of them see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from phonecv.dense.windows import tile_windows
from phonecv.detect.boxes import area, common
from phonecv.detect.masks import RunMasks, placed_masks
from phonecv.detect.postprocess import Found, class_nms
from phonecv.errors import UserError

#: What finds objects in pictures ``3 H W``: dictionaries of boxes, scores, labels and maybe masks, one for each.
Find = Callable[[Sequence[Tensor]], Sequence[Mapping[str, Any]]]

#: A box that ends so near to a border between tiles, as a share of the tile's side, is a piece of an object: detectors
#: are some pixels wrong.
_BORDER = 1 / 64

#: Overlap, where two views both look, that makes what they show one object; and share of a piece within a surer object.
_SAME = 0.5

#: Share of a threshold from which on boxes are looked at before they are joined: an object is as sure as its surest
#: piece, and whole only where the weaker look at it is known, too.
WEAKER = 0.5

#: Least side: below it a photograph has thousands of tiles, which whoever means a number of tiles would wait for.
LEAST_SIDE = 32

#: Most that neighbouring tiles may share; beyond it the number of tiles grows without end.
MOST_OVERLAP = 0.9


@dataclass(frozen=True, slots=True)
class Tiles:
    """How large pictures are looked at.

    Attributes:
        side: of the tiles, pixels of the picture.
        overlap: share of a tile's side that the next one shows, too.
        whole: whether the whole picture is looked at as well, as the detector looks at any picture.

    Raises:
        UserError: a value out of range.
    """

    side: int
    overlap: float = 0.2
    whole: bool = True

    def __post_init__(self) -> None:
        if not (isinstance(self.side, int) and self.side >= LEAST_SIDE):
            raise UserError(f"tiles of {self.side!r} pixels: a whole number >= {LEAST_SIDE} is expected, such as 640")
        if not 0 <= self.overlap <= MOST_OVERLAP:
            raise UserError(f"tiles that overlap by {self.overlap!r} of their side: 0 .. {MOST_OVERLAP} is expected")

    def views(self, height: int, width: int) -> Tensor:
        """What is looked at of a picture: ``V 4`` (x1 y1 x2 y2, int64), the whole picture last; one view if it fits."""
        views = tile_windows(self.side, self.overlap).views(height, width)
        if self.whole and len(views) > 1:
            views.append((0, 0, width, height))
        return torch.tensor(views)


def find_in_tiles(
    find: Find,
    pictures: Sequence[Tensor],
    tiles: Tiles,
    *,
    together: int,
    overlap: float,
    agnostic: bool = False,
    most: int | None = None,
) -> list[Found]:
    """What is found in pictures that are looked at in tiles.

    Only so many tiles at a time become floats, whatever the size of the picture.

    Args:
        find: of pictures as they are.
        pictures: ``3 H W`` each.
        tiles: how they are cut.
        together: tiles at a time.
        overlap: intersection over union above which the weaker of two whole boxes goes.
        agnostic: whether boxes of different classes suppress each other, too.
        most: objects of a picture; None for all.

    Returns:
        Of each picture "boxes", "scores", "labels" and perhaps "masks" (`RunMasks`), best first, in main memory.
    """
    views = [tiles.views(picture.shape[1], picture.shape[2]) for picture in pictures]
    crops = [(number, *view) for number, own in enumerate(views) for view in own.tolist()]
    found: list[Mapping[str, Any]] = []
    for start in range(0, len(crops), together):
        some = crops[start : start + together]
        found += find([pictures[number][:, top:bottom, left:right] for number, left, top, right, bottom in some])
    results = []
    rest = iter(found)
    for picture, own in zip(pictures, views, strict=True):
        parts = [next(rest) for _ in own]
        if len(own) == 1:
            results.append(_as_found(parts[0]))
            continue
        size = (int(picture.shape[1]), int(picture.shape[2]))
        results.append(_joined(parts, own, size, overlap=overlap, agnostic=agnostic, most=most))
    return results


def _as_found(found: Mapping[str, Any]) -> Found:
    return found if isinstance(found, Found) else Found(found, found["scores"][:0])


def _joined(
    parts: Sequence[Mapping[str, Any]],
    views: Tensor,
    size: tuple[int, int],
    *,
    overlap: float,
    agnostic: bool,
    most: int | None,
) -> Found:
    """The objects of a picture from those of its views (``V 4``)."""
    counts = torch.tensor([len(part["scores"]) for part in parts])
    boxes, scores, labels = (torch.cat([part[name] for part in parts]).cpu() for name in ("boxes", "scores", "labels"))
    view = torch.arange(len(views)).repeat_interleave(counts)
    place = torch.cat([torch.arange(int(count)) for count in counts])  # within its view
    order = scores.argsort(descending=True, stable=True)
    boxes, scores, labels, view, place = (column[order] for column in (boxes, scores, labels, view, place))
    boxes = boxes.float() + views[view, :2].repeat(1, 2)
    kinds = torch.zeros_like(labels) if agnostic else labels
    owner = _owners(boxes, scores, kinds, view, views.float(), _cut(boxes, views[view], size), overlap)

    members = (owner >= 0).nonzero()[:, 0]
    rows, number = owner[members].unique(return_inverse=True)
    # An object that is shown whole keeps its box; pieces are as large as all of them together.
    whole = ~_cut(boxes[rows], views[view[rows]], size)
    shape = number[:, None].expand(-1, 2)
    low = boxes[rows, :2].scatter_reduce(0, shape, boxes[members, :2], "amin")
    high = boxes[rows, 2:].scatter_reduce(0, shape, boxes[members, 2:], "amax")
    box = torch.where(whole[:, None], boxes[rows], torch.cat([low, high], 1))
    score = scores[rows].scatter_reduce(0, number, scores[members], "amax")
    best = score.argsort(descending=True, stable=True)
    kept, beyond = best[:most], score[best[len(best) if most is None else most :]]
    columns: dict[str, Any] = {"boxes": box[kept], "scores": score[kept], "labels": labels[rows[kept]]}
    if all("masks" in part for part in parts):
        codes = []
        for chosen in kept.tolist():
            own = rows[chosen : chosen + 1] if whole[chosen] else members[number == chosen]
            codes.append([_placed(parts, views, size, int(view[row]), int(place[row])) for row in own])
        columns["masks"] = RunMasks.union(codes, *size)
    known = [part for part in parts if isinstance(part, Found)]
    surest = max((max([part.surest, *part.beyond.tolist()]) for part in known), default=0.0)
    text = f"a view of it may show more than the {int(counts.max())} that are kept; --max-objects" if surest else ""
    return Found(columns, beyond, text, surest)


def _placed(parts: Sequence[Mapping[str, Any]], views: Tensor, size: tuple[int, int], view: int, place: int) -> Any:
    """The mask of an object of a view, as run lengths of the whole picture."""
    left, top = views[view, :2].tolist()
    return placed_masks(parts[view]["masks"][torch.tensor([place])], left, top, *size)[0]


def _cut(boxes: Tensor, views: Tensor, size: tuple[int, int]) -> Tensor:
    """Which boxes end at a border of their view (``N 4`` both) that is none of the picture's: N bool."""
    limits = torch.tensor([size[1], size[0]])
    near = (views[:, 2:] - views[:, :2]) * _BORDER
    first = (boxes[:, :2] - views[:, :2] < near) & (views[:, :2] > 0)
    last = (views[:, 2:] - boxes[:, 2:] < near) & (views[:, 2:] < limits)
    return (first | last).any(1)


def _owners(
    boxes: Tensor, scores: Tensor, kinds: Tensor, view: Tensor, views: Tensor, cut: Tensor, overlap: float
) -> Tensor:
    """For each box (best first) the row that stands for its object, itself or a better one; -1 where it goes."""
    owner = torch.full_like(view, -1)
    whole = (~cut).nonzero()[:, 0]
    whole = whole[class_nms(boxes[whole], scores[whole], kinds[whole], overlap)]
    owner[whole] = whole
    for number in view[cut].unique():
        pieces = (cut & (view == number)).nonzero()[:, 0]
        near = whole[_touching(boxes[whole], views[number])]
        if not len(near):
            continue
        own, seen = boxes[pieces, None], common(boxes[near], views[number])
        agreed = _agreement(own, seen)
        # A weak box that covers more than a sure piece is another object, and mostly none.
        inside = area(common(own, boxes[near])) / area(own).clamp(min=1e-6)
        agreed = torch.where(scores[near] >= scores[pieces, None], torch.maximum(agreed, inside), agreed)
        most, which = agreed.masked_fill(kinds[pieces, None] != kinds[near], 0.0).max(1)
        owner[pieces] = torch.where(most >= _SAME, near[which], -1)
    rest = (cut & (owner < 0)).nonzero()[:, 0]
    owner[rest] = rest
    pairs = [_continued(boxes, kinds, view, views, rest, number) for number in view[rest].unique()]
    if pairs:
        one, other = torch.cat(pairs).unbind(1)
        while True:  # the best of all that hang together stands for them
            low = torch.minimum(owner[one], owner[other]).repeat(2)
            linked = owner.scatter_reduce(0, torch.cat([one, other]), low, "amin")
            if torch.equal(linked, owner):
                break
            owner = linked
    return owner


def _continued(boxes: Tensor, kinds: Tensor, view: Tensor, views: Tensor, rest: Tensor, number: Tensor) -> Tensor:
    """Pairs ``P 2`` of pieces, the first of one view, the second of a later one, that show one object."""
    own, later = rest[view[rest] == number], rest[view[rest] > number]
    later = later[_touching(boxes[later], views[number])]
    both = common(views[number], views[view[later]])  # L 4: where both views look
    first, second = common(boxes[own, None], both), common(boxes[later], both)  # O L 4, L 4
    same = (_agreement(first, second) >= _SAME) & (kinds[own, None] == kinds[later])
    one, other = same.nonzero(as_tuple=True)
    return torch.stack([own[one], later[other]], 1)


def _agreement(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, ``... 4`` each, by broadcasting."""
    shared = area(common(boxes, others))
    return shared / (area(boxes) + area(others) - shared).clamp(min=1e-6)


def _touching(boxes: Tensor, view: Tensor) -> Tensor:
    return area(common(boxes, view)) > 0
