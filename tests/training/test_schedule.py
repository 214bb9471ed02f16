"""Learning rate and weight decay against the formulas and the published logs."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from phonecv.training import load_config
from phonecv.training.config import OptimizerConfig, ScheduleConfig
from phonecv.training.schedule import Schedule


def rates(schedule: ScheduleConfig, optimizer: OptimizerConfig, *, spe: int, batch: int, at: list[int]) -> list[float]:
    parameter = nn.Parameter(torch.zeros(1))
    lr = optimizer.lr * batch / optimizer.lr_batch
    made = Schedule(torch.optim.SGD([parameter], lr=lr), schedule, optimizer, steps_per_epoch=spe, batch_size=batch)
    return [made.set(step) for step in at]


def test_emov2_rates_of_the_logs() -> None:
    config = load_config("emov2_224")
    spe = 1251  # 1,281,167 pictures in steps of 1024
    ends = [25, 100, 200, 250]
    got = rates(config.schedule, config.optimizer, spe=spe, batch=1024, at=[spe * epoch - 1 for epoch in ends])
    assert got == pytest.approx([2.949e-3, 2.25e-3, 7.5e-4, 2.01e-4], rel=3e-3)


@pytest.mark.parametrize(("run", "recipe"), [("emov2_5m", "emov2_224"), ("emo_5m", "emo_224")])
def test_every_epoch_of_a_published_log(shared_dir: Path, run: str, recipe: str) -> None:
    with (shared_dir / "spec" / "reference_curves.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["model"], row["recipe"]) == (run, "base")]
    config, spe, batch = load_config(recipe), int(rows[0]["iters_per_epoch"]), int(rows[0]["batch"])
    # The log's value is that of the last step of the epoch whose number (from 1) divides by 50, in six decimals.
    steps = [(int(row["epoch"]) * spe) // 50 * 50 - 1 for row in rows]
    got = rates(config.schedule, config.optimizer, spe=spe, batch=batch, at=steps)
    assert got == pytest.approx([float(row["lr_end"]) for row in rows], rel=1e-3, abs=1e-6)


def test_warm_up_and_cosine_follow_the_formula() -> None:
    config = load_config("emov2_224")
    total, warmup, peak, first, last = 300 * 1251, 20 * 1251, 3e-3, 5e-7, 5e-7

    def formula(t: int) -> float:
        if t < warmup:
            return first + t * (peak - first) / warmup
        return last + (peak - last) * (1 + math.cos(math.pi * t / total)) / 2

    steps = [0, 1, warmup // 2, warmup - 1, warmup, warmup + 1, total // 2, total - 1]
    got = rates(config.schedule, config.optimizer, spe=1251, batch=1024, at=steps)
    assert got == pytest.approx([formula(t) for t in steps], rel=1e-9)
    # The cosine is not restarted: the rate falls where warm-up ends.
    assert got[4] / peak == pytest.approx(0.989, abs=5e-4)


def test_noise_lies_in_its_share_and_repeats() -> None:
    config = load_config("emo_224_lrnoise")
    total = 300 * 625
    start, end = round(0.42 * total), round(0.9 * total)
    quiet = ScheduleConfig(epochs=300)
    steps = [start - 1, *range(start, start + 200), end - 1, end]
    noisy = rates(config.schedule, config.optimizer, spe=625, batch=2048, at=steps)
    plain = rates(quiet, config.optimizer, spe=625, batch=2048, at=steps)
    ratios = [a / b for a, b in zip(noisy, plain, strict=True)]
    assert ratios[0] == ratios[-1] == 1
    assert all(ratio != 1 and abs(ratio - 1) < 0.67 for ratio in ratios[1:-1])
    assert noisy == rates(config.schedule, config.optimizer, spe=625, batch=2048, at=steps)
    # The first normal number of a generator seeded by 42 + t that is small enough.
    generator = torch.Generator().manual_seed(42 + start)
    draws = (torch.randn(1, generator=generator).item() for _ in range(100))
    assert ratios[1] - 1 == pytest.approx(next(n for n in draws if abs(n) < 0.67), rel=1e-6)


def test_mobileone_restarts_its_cosine_and_holds_it_within_an_epoch() -> None:
    config = load_config("mobileone_simple")
    spe = 100
    steps = [0, 1, 499, 500, 599, 600, 29_999]
    got = rates(config.schedule, config.optimizer, spe=spe, batch=256, at=steps)

    def cosine(epoch: int) -> float:
        return 1e-6 + (0.1 - 1e-6) * (1 + math.cos(math.pi * epoch / 295)) / 2

    rise = (0.1 - 1e-4) / 500
    assert got == pytest.approx([1e-4, 1e-4 + rise, 1e-4 + 499 * rise, 0.1, 0.1, cosine(1), cosine(294)], rel=1e-9)


def test_paddlevit_steps_by_epoch_and_leaves_its_ends_unscaled() -> None:
    config = load_config("mobileone_paddlevit")
    got = rates(config.schedule, config.optimizer, spe=10, batch=2048, at=[0, 9, 10, 299, 300])
    rise = (0.8 - 2e-4) / 30
    assert got == pytest.approx([2e-4, 2e-4, 2e-4 + rise, 2e-4 + 29 * rise, 0.8], rel=1e-9)


def test_weight_decay_falls_but_zero_stays_zero() -> None:
    config = load_config("mobileone_progressive")
    decaying, spared = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD(
        [{"params": [decaying], "weight_decay": 1e-4}, {"params": [spared], "weight_decay": 0.0}], lr=0.1
    )
    schedule = Schedule(optimizer, config.schedule, config.optimizer, steps_per_epoch=10, batch_size=256)
    seen = []
    for step in (0, 9, 1500, 2999):
        schedule.set(step)
        seen.append([group["weight_decay"] for group in optimizer.param_groups])

    def formula(epoch: int) -> float:
        return 1e-5 + (1e-4 - 1e-5) * (1 + math.cos(math.pi * epoch / 300)) / 2

    assert [pair[0] for pair in seen] == pytest.approx([1e-4, 1e-4, formula(150), formula(299)])
    assert [pair[1] for pair in seen] == [0.0] * 4
