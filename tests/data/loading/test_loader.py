from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from phonecv.data.folders.listing import Listing, Sample, read_split
from phonecv.data.folders.transforms import AugmentConfig, eval_transform, train_transform
from phonecv.data.loading.loader import (
    Batch,
    ClassificationDataset,
    SampleKey,
    TrainBatches,
    eval_batches,
    eval_indices,
    make_loader,
    seeded,
)
from phonecv.errors import UserError
from phonecv.preprocessing import Preprocessing

SMALL = Preprocessing(size=40)
AUGMENT = AugmentConfig(auto_augment="rand-m9-mstd0.5-inc1", erasing=0.5)


def train_set(root: Path, *, seed: int = 3, size: int = 40) -> ClassificationDataset:
    return ClassificationDataset(read_split(root, "train"), train_transform(AUGMENT, size, SMALL), seed)


def run(dataset: ClassificationDataset, batches: object, workers: int = 0) -> list[Batch]:
    return list(make_loader(dataset, batches, workers))  # type: ignore


def same(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.indices, b.indices)
        and a.errors == b.errors
        for a, b in zip(left, right, strict=True)
    )


@pytest.fixture
def broken_dir(dataset_dir: Path) -> Path:
    (dataset_dir / "train/cat/2.png").write_bytes(b"not a picture")
    return dataset_dir


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(broken_dir: Path, workers: int) -> None:
    dataset, batches = train_set(broken_dir), TrainBatches(10, 3, seed=1)
    for epoch in (0, 1):
        assert same(run(dataset, batches.epoch(epoch)), run(dataset, batches.epoch(epoch), workers))


def test_starting_in_the_middle_of_an_epoch(broken_dir: Path) -> None:
    dataset, batches = train_set(broken_dir), TrainBatches(10, 2, seed=1)
    whole = run(dataset, batches.epoch(4))
    assert len(whole) == len(batches) == 5
    for start in range(6):
        rest = batches.epoch(4, start)
        assert len(rest) == 5 - start
        assert same(whole[start:], run(dataset, rest))
    with pytest.raises(UserError, match="start batch 6"):
        batches.epoch(4, 6)


def test_seed_and_epoch_change_order_and_pixels(dataset_dir: Path) -> None:
    batches = TrainBatches(10, 10, seed=1)
    order = [batches.order(epoch).tolist() for epoch in range(3)] + [TrainBatches(10, 10, seed=2).order(0).tolist()]
    assert len({tuple(one) for one in order}) == 4
    assert all(sorted(one) == list(range(10)) for one in order)
    images = [
        train_set(dataset_dir, seed=seed)[SampleKey(0, epoch, 0, repeat)].image
        for seed, epoch, repeat in [(3, 0, 0), (4, 0, 0), (3, 1, 0), (3, 0, 1)]
    ]
    assert all(not torch.equal(images[0], other) for other in images[1:])
    assert torch.equal(images[0], train_set(dataset_dir, seed=3)[0].image)


def test_global_generators_stay_as_they_were(broken_dir: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    for source in (random.seed, np.random.seed, torch.manual_seed):
        source(0)
    expected = draw()
    dataset, batches = train_set(broken_dir), TrainBatches(10, 5, seed=1)
    for workers in (0, 1):
        for source in (random.seed, np.random.seed, torch.manual_seed):
            source(0)
        run(dataset, batches.epoch(0), workers)
        assert draw() == expected


def test_seeded_restores_after_an_error() -> None:
    random.seed(5)
    state = random.getstate()
    with pytest.raises(ZeroDivisionError), seeded(1, 2):
        random.seed(1 // 0)
    assert random.getstate() == state


def test_a_corrupt_file_is_replaced_and_reported(broken_dir: Path) -> None:
    dataset = train_set(broken_dir)
    bad = next(
        i for i, sample in enumerate(dataset.listing.samples) if sample.path.name == "2.png" and sample.label == 0
    )
    batch = next(iter(make_loader(dataset, [[SampleKey(i) for i in range(10)]])))
    assert batch.indices.tolist() == list(range(10))
    assert [bool(error) for error in batch.errors] == [i == bad for i in range(10)] == (~batch.good).tolist()
    assert "train/cat/2.png" in batch.errors[bad]
    # The stand-in differs from epoch to epoch, and its label is its own.
    labels = {dataset[SampleKey(bad, epoch)].label for epoch in range(20)}
    assert labels == {0, 1}


def test_evaluation_keeps_the_label_of_a_corrupt_file(broken_dir: Path) -> None:
    listing = read_split(broken_dir, "train")
    dataset = ClassificationDataset(listing, eval_transform(SMALL), substitute=False)
    batches = run(dataset, eval_batches(10, 4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert torch.cat([batch.labels for batch in batches]).tolist() == [0] * 6 + [1] * 4
    assert sum(int(batch.good.sum()) for batch in batches) == 9


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_corrupt_files_is_all_errors(tmp_path: Path, workers: int) -> None:
    paths = [tmp_path / f"{index}.jpg" for index in range(20)]
    for path in paths:
        path.write_bytes(b"")
    listing = Listing(tmp_path, "train", ("a",), tuple(Sample(path, 0) for path in paths))
    (batch,) = run(ClassificationDataset(listing, eval_transform(SMALL)), eval_batches(20, 20), workers)
    assert not batch.good.any()
    assert batch.errors == [f"{path}: empty file" for path in paths]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batches_of_one(world: int) -> None:
    whole = TrainBatches(100, 4 * world, seed=7)
    parts = [TrainBatches(100, 4, seed=7, rank=rank, world=world) for rank in range(world)]
    assert {len(part) for part in parts} == {len(whole)}
    for one, *shares in zip(whole.epoch(2), *(part.epoch(2) for part in parts), strict=True):
        assert sorted(one) == sorted(key for share in shares for key in share)
        assert {len(share) for share in shares} == {4}


@pytest.mark.parametrize(("n", "world"), [(10, 1), (10, 2), (11, 2), (12, 4), (13, 4), (2, 4)])
def test_keeping_the_last_batch(n: int, world: int) -> None:
    parts = [TrainBatches(n, 2, seed=0, rank=rank, world=world, drop_last=False) for rank in range(world)]
    keys = [[[key.index for key in keys] for keys in part.epoch(0)] for part in parts]
    assert len({tuple(map(len, one)) for one in keys}) == 1, "processes would wait for each other"
    assert all(keys[0])
    flat = [index for one in keys for batch in one for index in batch]
    assert set(flat) == set(range(n))
    assert len(flat) - n < world


def test_repeated_augmentation() -> None:
    batches = [TrainBatches(60, 5, seed=0, rank=rank, world=2, repeats=3) for rank in range(2)]
    keys = [key for one in batches for batch in one.epoch(0) for key in batch]
    assert len(keys) == 60
    assert len(set(keys)) == 60, "no two samples of an epoch may be augmented alike"
    assert len({key.index for key in keys}) == 20
    assert all(
        sorted(key.repeat for key in keys if key.index == index) == [0, 1, 2] for index in {k.index for k in keys}
    )


def test_stages_change_the_size(dataset_dir: Path) -> None:
    transforms = [train_transform(AUGMENT, size, SMALL) for size in (36, 48)]
    dataset = ClassificationDataset(read_split(dataset_dir), transforms)
    sizes = [run(dataset, TrainBatches(10, 5, seed=0).epoch(0, stage=stage))[0].images.shape[-1] for stage in (0, 1)]
    assert sizes == [36, 48]


@pytest.mark.parametrize(("n", "world"), [(10, 1), (10, 3), (2, 4), (0, 2)])
def test_evaluation_takes_each_sample_once(n: int, world: int) -> None:
    assert sorted(i for rank in range(world) for i in eval_indices(n, rank, world)) == list(range(n))
    keys = [key.index for rank in range(world) for batch in eval_batches(n, 3, rank, world) for key in batch]
    assert sorted(keys) == list(range(n))


def test_persistent_workers_move_to_the_next_epoch(dataset_dir: Path) -> None:
    dataset, batches = train_set(dataset_dir), TrainBatches(10, 4, seed=0)
    moving = batches.epoch(0)
    loader = make_loader(dataset, moving, 1, persistent=True)
    for epoch, start in ((0, 0), (1, 1), (2, 0)):
        moving.move_to(epoch, start)
        assert same(list(loader), run(dataset, batches.epoch(epoch, start)))  # type: ignore
    del loader
    assert not multiprocessing.active_children()


class _Threads(torch.utils.data.Dataset):
    def __getitem__(self, index: object) -> tuple[torch.Tensor, int, int, str]:
        return torch.zeros(1), torch.get_num_threads(), 0, ""


def test_workers_use_one_thread() -> None:
    torch.set_num_threads(2)
    try:
        batch = next(iter(make_loader(_Threads(), [[SampleKey(0)]], 1)))  # type: ignore
    finally:
        torch.set_num_threads(1)
    assert batch.labels.tolist() == [1]


@pytest.mark.parametrize(
    "arguments", [{"n": 3, "batch_size": 4}, {"n": 7, "batch_size": 4, "world": 2}, {"n": 0, "batch_size": 1}]
)
def test_too_few_pictures_for_a_batch(arguments: dict[str, int]) -> None:
    with pytest.raises(UserError, match="do not fill one batch"):
        TrainBatches(**arguments, seed=0)  # type: ignore
