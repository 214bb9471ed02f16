"""The first batch is tried where its size may not do, before anything is written."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from phonecv.errors import UserError
from phonecv.models.headed import Network, check_takes_pictures
from phonecv.text import counted
from phonecv.training.checks import part_size
from phonecv.training.config import TrainConfig
from phonecv.training.loaders import SplitData
from phonecv.training.objective import Objective
from phonecv.training.optim import train_mode
from phonecv.training.world import World

#: What BatchNorm says to a single value per channel.
_ALONE = "Expected more than 1 value per channel"


def check_first_batch(
    config: TrainConfig, objective: Objective, net: Network, trained: nn.Module, data: SplitData, world: World
) -> None:
    """Refuse a network that cannot take the pictures, or BatchNorm that would see a single value.

    A picture alone in its part of a batch is enough wherever maps are larger than 1 x 1 when they are normalised, so
    that is tried, at every size of a curriculum.
    """
    check_takes_pictures(net, config.model.name)
    if part_size(config, world.size) > 1:
        return
    copied = copy.deepcopy(trained)
    train_mode(copied, config.model.mode)
    if not any(isinstance(module, _BatchNorm) and module.training for module in copied.modules()):
        return
    workers, data.workers = data.workers, 0
    try:
        for epoch in config.sizes():
            batch: Any = data.placed(next(iter(data.train_loader(epoch, 0))))
            with torch.no_grad():
                objective.losses(copied, batch)
    except ValueError as error:
        if _ALONE not in str(error):
            raise
        parts = world.size * config.optimizer.accumulate
        shared = (
            f" in {counted(world.size, 'processes')} and {counted(config.optimizer.accumulate, 'parts')}"
            if parts > 1
            else ""
        )
        raise UserError(
            f"data.batch_size={config.data.batch_size}{shared} gives BatchNorm one picture at a time, and of a map"
            f" of one pixel one value; set data.batch_size={2 * parts} or more, a larger data.size, or"
            " model.mode=norm_eval"
        ) from error
    finally:
        data.workers = workers
