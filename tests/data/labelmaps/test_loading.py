"""Batches of pictures with label maps."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data.label_folders import SIZE, save_map, squares, write_labels
from data.picture_files import noise
from phonecv.data.labelmaps.listing import IGNORE, read_label_split
from phonecv.data.labelmaps.loading import SegmentationBatch, SegmentationDataset, make_segmentation_loader
from phonecv.data.labelmaps.transforms import light_transform, train_transform
from phonecv.data.loading.loader import Batches, SampleKey, TrainBatches, eval_batches
from phonecv.preprocessing import DensePreprocessing

SMALL = DensePreprocessing(size=24, longest=96)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten training pictures, one of whose label maps is broken, and three for validation, one of another size."""
    root = write_labels(tmp_path / "data", counts={"train": 10, "val": 3})
    (root / "annotations/train/4.png").write_bytes(b"nonsense")
    noise((50, 40), 7).save(root / "images/val/2.jpg")
    save_map(squares(7, size=(40, 50)), root / "annotations/val/2.png")
    return root


def train_set(root: Path, seed: int = 3, *, light: bool = False) -> SegmentationDataset:
    make = light_transform if light else train_transform
    return SegmentationDataset(read_label_split(root), make(20, SMALL), seed, substitute=True)


def batches_of(dataset: SegmentationDataset, batches: Batches, workers: int = 0) -> list[SegmentationBatch]:
    return list(make_segmentation_loader(dataset, batches, workers))  # type: ignore


def same(left: list[SegmentationBatch], right: list[SegmentationBatch]) -> bool:
    def equal(one: Tensor | list[Tensor], other: Tensor | list[Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    return len(left) == len(right) and all(
        equal(a.images, b.images)
        and equal(a.labels, b.labels)
        and a.indices.tolist() == b.indices.tolist()
        and a.errors == b.errors
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("light", [False, True])
def test_workers_change_nothing(root: Path, light: bool) -> None:
    dataset, batches = train_set(root, light=light), TrainBatches(10, 3, seed=1)
    for epoch in (0, 1):
        alone = batches_of(dataset, batches.epoch(epoch))
        assert same(alone, batches_of(dataset, batches.epoch(epoch), 2))
        assert same(alone[1:], batches_of(dataset, batches.epoch(epoch, 1)))
    evaluation = SegmentationDataset(read_label_split(root, "val"), None, substitute=False)
    assert same(*(batches_of(evaluation, eval_batches(3, 2), workers) for workers in (0, 1)))


def test_the_key_decides_everything(root: Path) -> None:
    keys = [SampleKey(0), SampleKey(0, 1), SampleKey(0, 0, 0, 1)]
    images = [train_set(root)[key].image for key in keys] + [train_set(root, 4)[0].image]
    assert all(not torch.equal(images[0], other) for other in images[1:])
    assert torch.equal(images[0], train_set(root)[0].image)


def test_global_generators_stay_as_they_were(root: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    def reset() -> None:
        for source in (random.seed, np.random.seed, torch.manual_seed):
            source(0)

    reset()
    expected = draw()
    for workers in (0, 1):
        reset()
        batches_of(train_set(root), TrainBatches(10, 5, seed=1).epoch(0), workers)
        assert draw() == expected


def test_training_batches(root: Path) -> None:
    for batch in batches_of(train_set(root), TrainBatches(10, 5, seed=1).epoch(0)):
        assert isinstance(batch.images, Tensor)
        assert isinstance(batch.labels, Tensor)
        assert (batch.images.dtype, batch.images.shape) == (torch.uint8, (5, 3, 20, 20))
        assert (batch.labels.dtype, batch.labels.shape) == (torch.int64, (5, 20, 20))
        assert type(batch.images) is type(batch.labels) is Tensor
        assert set(batch.labels.unique().tolist()) <= {0, 1, 2, IGNORE}


def test_a_broken_label_map_is_replaced_and_reported(root: Path) -> None:
    dataset = train_set(root)
    items = [dataset[SampleKey(4, epoch)] for epoch in range(8)]
    assert all("annotations/train/4.png: text, not a picture" in item.error for item in items)
    assert all((item.labels != IGNORE).any() for item in items)
    # Not the same stand-in every time.
    assert len({item.image.numpy().tobytes() for item in items}) > 1
    good = [dataset[index].error for index in range(10) if index != 4]
    assert not any(good)


def test_nothing_but_broken_label_maps(root: Path) -> None:
    for path in (root / "annotations/train").iterdir():
        path.write_bytes(b"")
    item = train_set(root)[0]
    assert "empty file" in item.error
    assert item.labels.shape == item.image.shape[1:] == (20, 20)
    assert (item.labels == IGNORE).all()


def test_evaluation_gives_what_is_in_the_files(root: Path) -> None:
    split = read_label_split(root, "val")
    (root / "annotations/val/0.png").write_bytes(b"")
    (batch,) = batches_of(SegmentationDataset(split, None, substitute=False), eval_batches(3, 3))
    assert isinstance(batch.images, list)
    assert isinstance(batch.labels, list)
    assert batch.good.tolist() == [False, True, True]
    assert batch.sizes[1:] == [SIZE, (40, 50)]
    for index in (1, 2):
        with Image.open(split.images[index]) as image:
            np.testing.assert_array_equal(batch.images[index].permute(1, 2, 0), np.asarray(image))
        np.testing.assert_array_equal(batch.labels[index], split.read_label(index))
    assert (batch.labels[0] == IGNORE).all()
    moved = batch.to("cpu")
    assert same([moved], [batch])
    assert len(moved) == 3


def test_batches_hold_what_they_are_made_of() -> None:
    images, labels = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8), torch.randint(3, (2, 4, 5))
    batch = SegmentationBatch(images, labels, torch.arange(2), ["", "x"])
    assert torch.equal(torch.as_tensor(batch.images), images)
    assert torch.equal(torch.as_tensor(batch.labels), labels)
    assert batch.good.tolist() == [True, False]
    # Of unequal sizes but equally many pixels.
    mixed = SegmentationBatch([images[0], images[1].mT], [labels[0], labels[1].T], torch.arange(2), ["", ""])
    assert [tuple(image.shape) for image in mixed.images] == [(3, 4, 5), (3, 5, 4)]
    assert torch.equal(mixed.labels[1], labels[1].T)
