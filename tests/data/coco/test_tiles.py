"""Training pictures in tiles: which tiles, and what is on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from detect.scenes import write_scenes
from phonecv.data.coco.loading import VISIBLE, DetectionBatch, DetectionDataset, plan_tiles
from phonecv.data.coco.reader import CocoSplit, find_coco, read_coco
from phonecv.data.coco.transforms import LightTransform
from phonecv.detect.tiling import Tiles

TILES = Tiles(40, 0.25)


def scenes(root: Path) -> CocoSplit:
    """Pictures of 64 to 120 pixels, the second without an object."""
    return read_coco(find_coco(write_scenes(root, 8, crowds=False), "val"), masks=True)


def test_tiles_show_what_the_picture_shows(tmp_path: Path) -> None:
    split = scenes(tmp_path)
    plan = plan_tiles(split, TILES.views, empty=True, seed=0)
    dataset = DetectionDataset(split, substitute=False, masks=True, tiles=plan)
    whole = DetectionDataset(split, substitute=False)
    shown: set[tuple[int, int]] = set()
    for number, (place, view) in enumerate(zip(plan.pictures.tolist(), plan.views.tolist(), strict=True)):
        left, top, right, bottom = view
        item, picture = dataset[number], whole[place]
        assert not item.error
        assert torch.equal(item.image, picture.image[:, top:bottom, left:right])
        boxes = picture.targets["boxes"] - torch.tensor([left, top, left, top])
        cut = torch.minimum(boxes.clamp(min=0), torch.tensor([right - left, bottom - top] * 2))
        there = (cut[:, 2:] > cut[:, :2]).all(1)
        assert torch.equal(item.targets["boxes"], cut[there])
        areas = [(one[:, 2:] - one[:, :2]).prod(1)[there] for one in (cut, boxes)]
        assert item.targets["ignored"].tolist() == (areas[0] / areas[1] < VISIBLE).tolist()
        assert item.targets["masks"].sum((1, 2)).tolist() == areas[0].tolist()  # every mask is its box
        shown |= {(place, int(row)) for row in there.nonzero()[:, 0][~item.targets["ignored"]]}
    # Every object is learnt from somewhere.
    assert shown == {(place, row) for place in range(8) for row in range(split.object_counts[place])}


def test_tiles_without_objects_are_few_and_drawn(tmp_path: Path) -> None:
    split = scenes(tmp_path)
    bare = plan_tiles(split, TILES.views, empty=False, seed=0)
    first, again, other = (plan_tiles(split, TILES.views, empty=True, seed=seed) for seed in (0, 0, 1))
    assert bare.empty == 0
    assert first.empty == len(first) - len(bare) == round(0.1 * len(bare)) > 0
    assert np.array_equal(first.views, again.views)
    assert not np.array_equal(first.views, other.views)
    assert 1 not in bare.pictures  # shows no object


def test_small_pictures_are_one_tile(tmp_path: Path) -> None:
    split = scenes(tmp_path)
    plan = plan_tiles(split, Tiles(120).views, empty=False, seed=0)
    assert plan.pictures.tolist() == list(range(8))
    assert plan.lying.tolist() == split.images.lying.tolist()


def test_what_augmentation_cuts_further_is_ignored_too(tmp_path: Path) -> None:
    split = scenes(tmp_path)
    plan = plan_tiles(split, TILES.views, empty=False, seed=0)
    transform = LightTransform(40, scale=(2.0, 3.0))
    sets = [DetectionDataset(split, transform, seed, substitute=False, tiles=plan) for seed in range(3)]
    items = [dataset[place] for dataset in sets for place in range(len(plan))]
    ignored = torch.cat([item.targets["ignored"] for item in items])
    assert 0.1 < ignored.float().mean() < 0.9
    batch = DetectionBatch.of(items[:4])
    for target, item in zip(batch.targets, items, strict=False):
        assert torch.equal(target["ignored"], item.targets["ignored"])
