"""Learning rate and weight decay as functions of the step, through timm's schedulers.

Both are stateless: step t always gets the same values, so a resumed run needs nothing but its step number.
"""

from __future__ import annotations

import math

from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch.optim import Optimizer

from phonecv.train.config import OptimizerConfig, ScheduleConfig


def scaled_lr(lr: float, optimizer: OptimizerConfig, batch_size: int) -> float:
    """The rate for this batch size: linear scaling from `lr_batch`, or unchanged when that is 0."""
    return lr * batch_size / optimizer.lr_batch if optimizer.lr_batch else lr


class CosineWeightDecay(Scheduler):
    """Weight decay from its first value down to `end` on a half cosine; groups without decay keep none.

    The generic form ``end + (wd0 - end)(1 + cos) / 2`` would raise a zero group to `end`.
    """

    def __init__(self, optimizer: Optimizer, total: int, end: float) -> None:
        self.total, self.end = total, end
        super().__init__(optimizer, param_group_field="weight_decay", t_in_epochs=False)

    def _get_lr(self, t: int) -> list[float]:
        share = 0.5 * (1 + math.cos(math.pi * min(t, self.total) / self.total))
        return [self.end + (value - self.end) * share if value else 0.0 for value in self.base_values]


class Schedule:
    """Sets each step's learning rate and weight decay in the optimizer.

    With T steps in all, Wm of warm-up, and t steps done: ``t < Wm: w0 + t (lr - w0) / Wm``, otherwise
    ``lr_min + (lr - lr_min)(1 + cos(pi t / T)) / 2`` with the *same* t, so the rate falls a little where warm-up
    ends (to 0.989 of the peak for 20 of 300 epochs). ``cosine: after_warmup`` restarts t there instead.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        config: ScheduleConfig,
        optimizer_config: OptimizerConfig,
        *,
        steps_per_epoch: int,
        batch_size: int,
    ) -> None:
        self.config, self.steps_per_epoch = config, steps_per_epoch
        self.optimizer = optimizer
        self.total = config.epochs * steps_per_epoch
        self.warmup = round(config.warmup_epochs * steps_per_epoch)
        ends = batch_size if config.scale_ends else optimizer_config.lr_batch
        restarted = config.cosine == "after_warmup"
        noise = config.noise
        self.lr = CosineLRScheduler(
            optimizer,
            t_initial=self.total - (self.warmup if restarted else 0),
            lr_min=scaled_lr(config.min_lr, optimizer_config, ends),
            warmup_t=self.warmup,
            warmup_lr_init=scaled_lr(config.warmup_lr, optimizer_config, ends),
            warmup_prefix=restarted,
            t_in_epochs=False,
            noise_range_t=[round(share * self.total) for share in noise] if noise else None,
            noise_seed=config.noise_seed,
        )
        self.decay = (
            CosineWeightDecay(optimizer, self.total, config.weight_decay_end)
            if config.weight_decay_end is not None
            else None
        )

    def set(self, step: int) -> float:
        """Prepare the optimizer for the step after `step` done ones; returns its learning rate."""
        by_epoch = self.config.by_epoch
        start = step // self.steps_per_epoch * self.steps_per_epoch  # of this epoch
        held = by_epoch == "all" or (by_epoch == "cosine" and start >= self.warmup)
        self.lr.step_update(start if held else step)
        if self.decay is not None:
            self.decay.step_update(step if by_epoch == "no" else start)
        return float(self.optimizer.param_groups[0]["lr"])
