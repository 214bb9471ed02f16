"""What the processes of `test_processes` do; the server that they are forked from imports it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from phonecv.timm_bridge import defer

defer("wandb")  # as in the command line, see conftest

import torch  # noqa: E402

import phonecv.classify.training  # noqa: E402, F401 - what a training imports late
from phonecv import plots  # noqa: E402
from phonecv.errors import UserError  # noqa: E402
from phonecv.training import engine, job  # noqa: E402
from phonecv.training.config import TrainConfig  # noqa: E402
from phonecv.training.folder import claimed  # noqa: E402
from phonecv.training.interrupt import Interrupts  # noqa: E402
from phonecv.training.threads import Threads  # noqa: E402
from phonecv.training.world import Agreement, World  # noqa: E402

plots.save_curves = lambda csv_path, png_path, **_: Path(png_path)  # see conftest


def compare(config: TrainConfig, world: World) -> None:
    """Train, and report what the processes hold."""
    torch.set_num_threads(1)
    with claimed(Path(config.run.out), config, world), Interrupts() as interrupts:
        run = job.prepare(config, world, Threads(1, 0), interrupts)
        run.log.active = world.first
        mine = [key.index for part in run.data.val_batches for key in part]
        engine.fit(run)
    sums = {
        name: [float(value.double().sum()) for value in net.state_dict().values()] for name, net in run.nets().items()
    }
    batches = [key.index for part in run.data.batches.epoch(0) for key in part]
    asked = Agreement(world)
    agreed = [asked.settle(stop=world.rank == 1 and step == 1, save=False) for step in range(4)]
    asked.close()
    report = world.gather({"sums": sums, "val": mine, "train": batches, "agreed": agreed})
    if world.first:
        Path(config.run.out, "report.json").write_text(json.dumps(report), encoding="utf-8")


def mistake(config: TrainConfig, world: World) -> None:
    """The second process finds a mistake while the first waits for it."""
    if world.rank == 1:
        raise UserError("the data are unusable; get others")
    world.sum(torch.ones(1))


def crash(config: TrainConfig, world: World) -> None:
    """The second process fails."""
    if world.rank == 1:
        raise ZeroDivisionError("something else")
    world.barrier()


def killed(config: TrainConfig, world: World) -> None:
    """The second process disappears."""
    if world.rank == 1:
        os.kill(os.getpid(), 9)
    world.barrier()
