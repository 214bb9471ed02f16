from __future__ import annotations

import itertools
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from conftest import mostly_long
from data.coco_files import HEIGHT, WIDTH, content, write_coco
from data.coco_files import coco_dir as coco_dir
from data.picture_files import noise
from phonecv.data.coco.loading import DetectionBatch, DetectionDataset, make_detection_loader
from phonecv.data.coco.reader import CocoSplit, find_coco, read_coco
from phonecv.data.coco.transforms import LightTransform, ResizeTransform, SSDTransform
from phonecv.data.loading.loader import SampleKey, TrainBatches, eval_batches
from phonecv.data.pictures.opening import open_image
from phonecv.dense.inputs import prepare
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing


@pytest.fixture
def split(coco_dir: Path) -> CocoSplit:
    return read_coco(find_coco(coco_dir, "train"), masks=True)


@pytest.fixture
def broken(coco_dir: Path) -> CocoSplit:
    split = read_coco(find_coco(coco_dir, "train"), masks=True)
    (coco_dir / "images/train/a.png").write_bytes(b"not a picture")
    return split


def run(dataset: DetectionDataset, batches: Any, workers: int = 0) -> list[DetectionBatch]:
    return list(make_detection_loader(dataset, batches, workers))


def same(left: list[DetectionBatch], right: list[DetectionBatch]) -> bool:
    return len(left) == len(right) and all(
        a.errors == b.errors
        and torch.equal(a.indices, b.indices)
        and all(torch.equal(x, y) for x, y in zip(a.images, b.images, strict=True))
        and all(
            x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
            for x, y in zip(a.targets, b.targets, strict=True)
        )
        for a, b in zip(left, right, strict=True)
    )


TRANSFORMS = {
    "ssd": SSDTransform(40),
    "light": LightTransform(40, 60),
    "resize": ResizeTransform(40, 60),
}


@pytest.mark.parametrize(
    ("name", "workers"),
    mostly_long(itertools.product(TRANSFORMS, (1, 2)), ("ssd", 2), ("light", 1), ("resize", 2)),
)
def test_workers_change_nothing(broken: CocoSplit, name: str, workers: int) -> None:
    dataset = DetectionDataset(broken, TRANSFORMS[name], 3, substitute=True, masks=True)
    batches = TrainBatches(3, 2, seed=1, drop_last=False)
    for epoch in (0, 1):
        one, other = run(dataset, batches.epoch(epoch)), run(dataset, batches.epoch(epoch), workers)
        assert same(one, other)
        assert [len(batch) for batch in one] == [2, 1]


def test_seed_epoch_and_repeat_change_the_sample(split: CocoSplit) -> None:
    def image(seed: int, *key: int) -> torch.Tensor:
        return DetectionDataset(split, TRANSFORMS["ssd"], seed, substitute=True)[SampleKey(1, *key)].image

    first = image(3)
    assert torch.equal(first, image(3, 0))
    assert all(not torch.equal(first, other) for other in (image(4), image(3, 1), image(3, 0, 0, 1)))


def test_global_generators_stay_as_they_were(split: CocoSplit) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    for source in (random.seed, np.random.seed, torch.manual_seed):
        source(0)
    expected = draw()
    for workers in (0, 1):
        for source in (random.seed, np.random.seed, torch.manual_seed):
            source(0)
        run(DetectionDataset(split, TRANSFORMS["light"], substitute=True), [[SampleKey(1)]], workers)
        assert draw() == expected


def test_evaluation_gives_the_picture_as_it_is(split: CocoSplit) -> None:
    batches = run(DetectionDataset(split, substitute=False, masks=True), eval_batches(3, 2))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1], [2]]
    assert all(batch.good.all() for batch in batches)
    for place, (image, targets) in enumerate(
        pair for batch in batches for pair in zip(batch.images, batch.targets, strict=True)
    ):
        assert image.dtype == torch.uint8
        assert torch.equal(image, torch.from_numpy(np.array(open_image(split.path(place)))).permute(2, 0, 1))
        expected = split.targets(place)
        assert all(torch.equal(targets[name], expected[name]) for name in ("boxes", "labels", "crowd", "masks"))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_picture_in_evaluation(broken: CocoSplit, workers: int) -> None:
    (batch,) = run(DetectionDataset(broken, substitute=False), eval_batches(3, 3), workers)
    assert batch.good.tolist() == [True, False, True]
    assert "a.png: text, not a picture" in batch.errors[1]
    assert len(batch.targets[1]["boxes"]) == 0
    assert batch.images[1].shape == (3, 64, 64)


def test_an_unreadable_picture_in_training(broken: CocoSplit) -> None:
    dataset = DetectionDataset(broken, TRANSFORMS["resize"], substitute=True)
    items = [dataset[SampleKey(1, epoch)] for epoch in range(20)]
    assert all(item.index == 1 and "a.png" in item.error for item in items)
    # Another picture stands in, with its own objects: the empty one or that with one box.
    assert {len(item.targets["boxes"]) for item in items} == {0, 1}


def test_nothing_but_unreadable_pictures(broken: CocoSplit) -> None:
    for name, transform in TRANSFORMS.items():
        dataset = DetectionDataset(broken.select([1]), transform, substitute=True, masks=True)
        item = dataset[0]
        assert item.error, name
        assert len(item.targets["boxes"]) == len(item.targets["masks"]) == 0
        assert item.targets["masks"].shape[1:] == item.image.shape[1:]


def test_a_picture_of_another_size_is_not_used(coco_dir: Path, split: CocoSplit) -> None:
    noise((30, 20)).save(coco_dir / "images/train/a.png")
    noise((HEIGHT, WIDTH)).save(coco_dir / "images/train/c.png")
    dataset = DetectionDataset(split, substitute=False)
    assert f"has 30 x 20 pixels, but its annotations are for {WIDTH} x {HEIGHT}" in dataset[1].error
    assert "turned by its EXIF orientation" in dataset[0].error


def test_data_sets_travel_to_workers_that_are_started_afresh(split: CocoSplit) -> None:
    dataset = DetectionDataset(split, TRANSFORMS["ssd"], 3, substitute=True, masks=True)
    other = pickle.loads(pickle.dumps(dataset))
    ours, theirs = dataset[1], other[1]
    assert torch.equal(ours.image, theirs.image)
    assert torch.equal(ours.targets["masks"], theirs.targets["masks"])


def test_stages(split: CocoSplit) -> None:
    dataset = DetectionDataset(split, [ResizeTransform(40), ResizeTransform(24)], substitute=True)
    assert [dataset[SampleKey(1, 0, stage)].image.shape[-1] for stage in (0, 1)] == [40, 24]


def test_any_torchvision_pipeline_serves(split: CocoSplit) -> None:
    pipeline = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.Resize((24, 32), antialias=True)])
    item = DetectionDataset(split, pipeline, substitute=True, masks=True)[1]
    assert item.image.shape == (3, 24, 32)
    assert type(item.image) is type(item.targets["boxes"]) is torch.Tensor
    assert item.targets["boxes"].tolist() == [[20, 2.5, 30, 7.5], [0, 0, 17, 24]]
    assert item.targets["masks"].dtype == torch.bool
    assert item.targets["masks"][1, :, :17].all()
    assert not item.targets["masks"][1, :, 17:].any()
    assert item.targets["labels"].tolist() == [1, 0]


def test_boxes_that_leave_the_picture_are_left_out(split: CocoSplit) -> None:
    class Left(v2.Transform):
        def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
            return v2.functional.crop(inpt, 0, 0, HEIGHT, 30)

    item = DetectionDataset(split, v2.Compose([Left()]), substitute=True, masks=True)[1]
    assert item.targets["boxes"].tolist() == [[4, 5, 24, 15]]
    assert [len(item.targets[name]) for name in ("labels", "crowd", "masks")] == [1, 1, 1]


def test_batches_move_and_can_be_made_by_hand() -> None:
    images = [torch.rand(3, 4, 5), torch.rand(3, 6, 2)]
    targets = [
        {"boxes": torch.rand(2, 4), "labels": torch.tensor([1, 2]), "masks": torch.ones(2, 4, 5, dtype=torch.uint8)},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": torch.zeros(0, 6, 2)},
    ]
    batch = DetectionBatch(images, targets, torch.tensor([4, 7]), ["", "bad"])
    for moved in (batch, batch.to("cpu"), batch.to("meta").to("meta")):
        assert len(moved) == 2
        assert [tuple(image.shape) for image in moved.images] == [(3, 4, 5), (3, 6, 2)]
        assert [tuple(target["masks"].shape) for target in moved.targets] == [(2, 4, 5), (0, 6, 2)]
        assert [target["crowd"].dtype for target in moved.targets] == [torch.bool] * 2
    assert batch.to("meta").images[0].device.type == batch.to("meta").targets[0]["boxes"].device.type == "meta"
    assert torch.equal(batch.to("cpu").images[1], images[1])
    assert batch.targets[0]["labels"].tolist() == [1, 2]
    assert batch.good.tolist() == [True, False]
    with pytest.raises(UserError, match="bytes and floats"):
        DetectionBatch([images[0], images[1].byte()], targets, torch.tensor([4, 7]), ["", ""])


def test_detectors_do_not_resize_again(coco_dir: Path, split: CocoSplit) -> None:
    spec = DensePreprocessing(40, 60, multiple=32)
    dataset = DetectionDataset(split, ResizeTransform(40, 60), substitute=True)
    items = [dataset[index] for index in range(3)]
    prepared = prepare([item.image for item in items], spec)
    assert prepared.sizes == prepared.originals == ((40, 53), (40, 53), (53, 40))
    assert prepared.batch.shape[-2:] == (64, 64)
    square = DetectionDataset(split, SSDTransform(40), substitute=True)[1].image
    assert prepare([square], DensePreprocessing(40)).sizes == ((40, 40),)


@pytest.mark.parametrize("name", mostly_long(["nuclei", "coco-ccby"], "coco-ccby"))
def test_reference_sets(shared_dir: Path, name: str) -> None:
    split = read_coco(find_coco(shared_dir / "data" / name, "train"), masks=True).trainable()
    for transform in (SSDTransform(96), LightTransform(96, 160), ResizeTransform(96, 160)):
        dataset = DetectionDataset(split, transform, substitute=False, masks=True)
        for batch in make_detection_loader(dataset, TrainBatches(len(split), 8, seed=0).epoch(0)):
            assert batch.good.all()
            for image, targets in zip(batch.images, batch.targets, strict=True):
                height, width = image.shape[1:]
                boxes = targets["boxes"]
                assert (boxes[:, 2:] > boxes[:, :2]).all()
                assert (boxes >= 0).all()
                assert (boxes <= torch.tensor([width, height] * 2)).all()
                assert targets["masks"].shape == (len(boxes), height, width)


def test_an_epoch_of_empty_pictures(tmp_path: Path) -> None:
    split = read_coco(write_coco(tmp_path, content(annotations=[])))
    with pytest.raises(UserError, match="has an object"):
        split.trainable()
    for transform in TRANSFORMS.values():
        (batch,) = run(DetectionDataset(split, transform, substitute=True), eval_batches(3, 3))
        assert [len(target["boxes"]) for target in batch.targets] == [0, 0, 0]
