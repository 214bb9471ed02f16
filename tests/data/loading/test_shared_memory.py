"""Shared memory that is used again: nothing is overwritten that somebody still holds."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset

from phonecv.data.loading.loader import Batch, Item, SampleKey, make_loader
from phonecv.data.pictures.normalising import Normalise


class Numbered(Dataset[Item]):
    """Pictures that hold their own number."""

    normalise = Normalise((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    picture_bytes = 3 * 8 * 8

    def __getitem__(self, key: SampleKey) -> Item:  # pyrefly: ignore[bad-override-param-name]
        return Item(torch.full((3, 8, 8), key.index, dtype=torch.uint8), key.index, key.index, "")


def keys(count: int, size: int) -> list[list[SampleKey]]:
    return [[SampleKey(index) for index in range(start, start + size)] for start in range(0, count, size)]


def check(batch: Batch) -> None:
    wanted = batch.labels.float()[:, None, None, None].expand(-1, 3, 8, 8)
    assert torch.allclose(batch.images, wanted, atol=1e-3)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_that_are_kept_keep_their_pixels(workers: int, channels_last: bool) -> None:
    loader = make_loader(Numbered(), keys(120, 4), workers, channels_last=channels_last)
    batches = list(loader)  # many more than there are slots, none of them finished yet
    for batch in batches:
        check(batch)  # type: ignore
    assert [int(batch.labels[0]) for batch in batches] == list(range(0, 120, 4))  # type: ignore


def test_finished_and_dropped_batches_free_their_slots() -> None:
    loader = make_loader(Numbered(), keys(200, 4), 1)
    slots = loader.collate_fn.collate.keywords["slots"]  # type: ignore
    for number, batch in enumerate(loader):
        if number % 2:
            check(batch)  # type: ignore
    del batch
    assert not slots._memory[:, :, 0].any()


def test_a_batch_too_large_for_the_slots_travels_all_the_same() -> None:
    dataset = Numbered()
    dataset.picture_bytes = 1
    for batch in make_loader(dataset, keys(40, 4), 1):
        check(batch)  # type: ignore


def test_moving_a_batch_keeps_its_slot() -> None:
    batches = [batch.to("cpu") for batch in make_loader(Numbered(), keys(80, 4), 1)]  # type: ignore
    for batch in batches:
        check(batch)
