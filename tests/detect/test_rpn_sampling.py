"""Random choice of positives and negatives."""

from __future__ import annotations

import pytest
import torch

from phonecv.detect.assign import IGNORED, NEGATIVE, Assigned
from phonecv.detect.sampling import Sampling, sample


def assigned(*counts: tuple[int, int], total: int = 100) -> Assigned:
    """Per picture so many positives and negatives among `total`, in random order; the rest is ignored."""
    generator = torch.Generator().manual_seed(0)
    index = torch.full((len(counts), total), IGNORED)
    for row, (positives, negatives) in zip(index, counts, strict=True):
        order = torch.randperm(total, generator=generator)
        row[order[:positives]] = torch.arange(positives) % 3
        row[order[positives : positives + negatives]] = NEGATIVE
    return Assigned(index)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ((50, 50), (10, 10)),  # enough of both
        ((4, 96), (4, 16)),  # negatives take the room that positives leave
        ((90, 5), (10, 5)),  # but not the other way round
        ((0, 100), (0, 20)),
        ((100, 0), (10, 0)),
        ((3, 2), (3, 2)),
        ((0, 0), (0, 0)),
    ],
)
def test_counts(there: tuple[int, int], wanted: tuple[int, int]) -> None:
    given = assigned(there, (30, 30))
    chosen = sample(given, Sampling(20, positive=0.5))
    assert (int(chosen.positive[0].sum()), int(chosen.negative[0].sum())) == wanted
    assert (int(chosen.positive[1].sum()), int(chosen.negative[1].sum())) == (10, 10)
    for picture in range(2):
        places = chosen.place[picture]
        assert (given.index[picture][places[chosen.positive[picture]]] >= 0).all()
        assert (given.index[picture][places[chosen.negative[picture]]] == NEGATIVE).all()
        filled = places[chosen.filled[picture]]
        assert len(filled.unique()) == len(filled)
    assert not (chosen.positive & chosen.negative).any()


def test_published_counts() -> None:
    given = assigned((600, 1400), (30, 1000), total=2000)
    for sampling, most in ((Sampling(256, 0.5), 128), (Sampling(512, 0.25), 128)):
        chosen = sample(given, sampling)
        assert sampling.count is not None
        assert chosen.positive.sum(1).tolist() == [most, 30]
        assert chosen.negative.sum(1).tolist() == [sampling.count - most, sampling.count - 30]


@pytest.mark.parametrize("sampling", [Sampling(None, 0.25), Sampling(10**6, 0.25)])
def test_all_of_them_without_drawing(sampling: Sampling) -> None:
    given = assigned((40, 30), (0, 100))
    state = torch.get_rng_state()
    chosen = sample(given, sampling)
    assert torch.equal(torch.get_rng_state(), state)
    for picture in range(2):
        assert sorted(chosen.place[picture][chosen.positive[picture]].tolist()) == (
            (given.index[picture] >= 0).nonzero()[:, 0].tolist()
        )
        assert int(chosen.negative[picture].sum()) == int((given.index[picture] == NEGATIVE).sum())


def test_the_generator_decides() -> None:
    given = assigned((50, 50))
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(sample(given, Sampling(20, 0.5)).place)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_every_candidate_is_equally_likely() -> None:
    torch.manual_seed(0)
    given = Assigned(torch.tensor([0] * 10 + [NEGATIVE] * 30).expand(4000, 40))
    chosen = sample(given, Sampling(8, 0.5))
    picked = torch.zeros(40).index_add(0, chosen.place[chosen.filled], torch.ones(4000 * 8))
    # 4 of 10 positives and 4 of 30 negatives; one standard deviation is 0.008 and 0.0054.
    torch.testing.assert_close(picked[:10] / 4000, torch.full((10,), 4 / 10), atol=0.04, rtol=0)
    torch.testing.assert_close(picked[10:] / 4000, torch.full((30,), 4 / 30), atol=0.03, rtol=0)
