"""Learning rate and weight decay as functions of the step, on timm's scheduler base.

Both are stateless: step t always gets the same values, so a resumed run needs nothing but its step number.
"""

from __future__ import annotations

import math

from timm.scheduler.scheduler import Scheduler
from torch.optim import Optimizer

from phonecv.errors import UserError
from phonecv.training.config import OptimizerConfig, ScheduleConfig


def scaled_lr(lr: float, optimizer: OptimizerConfig, batch_size: int) -> float:
    """The rate for this batch size: linear scaling from `lr_batch`, or unchanged when that is 0."""
    return lr * batch_size / optimizer.lr_batch if optimizer.lr_batch else lr


def rate(optimizer: Optimizer) -> float:
    """The learning rate as it is set now, without the factors of single groups."""
    group = optimizer.param_groups[0]
    return float(group["lr"] / group.get("lr_scale", 1.0))


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

    def update_groups(self, values: float | list[float]) -> None:
        """Set the decay of each group; timm's base would multiply it by the group's factor on the rate."""
        assert isinstance(values, list)
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            group[self.param_group_field] = value


class Curve(Scheduler):
    """Linear rise, then constant, then cosine or polynomial decay from step `begin` to `total`.

    Attributes:
        hold: a step; from the end of warm-up on the decay has its value, as where it is held within an epoch. None for
            a value of its own in each step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        config: ScheduleConfig,
        *,
        warmup: int,
        begin: int,
        total: int,
        first: float,
        last: float,
    ) -> None:
        self.config, self.warmup, self.begin, self.total = config, warmup, begin, total
        self.first, self.last = first, last
        self.hold: int | None = None
        noise = config.noise
        super().__init__(
            optimizer,
            param_group_field="lr",
            t_in_epochs=False,
            noise_range_t=[round(share * total) for share in noise] if noise else None,
            noise_seed=config.noise_seed,
        )

    def _get_lr(self, t: int) -> list[float]:
        if t < self.warmup:
            return [self.first + t * ((peak - self.first) / self.warmup) for peak in self.base_values]
        t = max(0, (t if self.hold is None else self.hold) - self.begin)
        length = self.total - self.begin
        if t >= length:
            return [self.last for _ in self.base_values]
        if self.config.decay == "poly":
            share = (1 - t / length) ** self.config.power
            return [self.last + (peak - self.last) * share for peak in self.base_values]
        return [
            self.last + 0.5 * (peak - self.last) * (1 + math.cos(math.pi * t / length)) for peak in self.base_values
        ]


class Schedule:
    """Sets each step's learning rate and weight decay in the optimizer.

    With T steps in all, Wm of warm-up, and t steps done: ``t < Wm: w0 + t (lr - w0) / Wm``, otherwise
    ``lr_min + (lr - lr_min)(1 + cos(pi t / T)) / 2`` with the *same* t, so the rate falls a little where warm-up
    ends (to 0.989 of the peak for 20 of 300 epochs). ``cosine: after_warmup`` restarts t there instead, and
    `decay_start` at its share of T, with the peak rate until then. ``decay: poly`` is
    ``lr_min + (lr - lr_min)(1 - t / T) ** power``. Groups with an `lr_scale` get that multiple of it all.
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
        steps = config.warmup_steps
        self.warmup = round(config.warmup_epochs * steps_per_epoch) if steps is None else steps
        if self.warmup >= self.total:
            raise UserError(
                f"warm-up takes {self.warmup} of {self.total} steps in all; set"
                f" schedule.warmup_steps={self.total // 10}, or more schedule.epochs"
            )
        ends = batch_size if config.scale_ends else optimizer_config.lr_batch
        first = scaled_lr(config.warmup_lr, optimizer_config, ends)
        if config.warmup_factor is not None:
            first = config.warmup_factor * scaled_lr(optimizer_config.lr, optimizer_config, batch_size)
        self.lr = Curve(
            optimizer,
            config,
            warmup=self.warmup,
            begin=self.warmup if config.cosine == "after_warmup" else round(config.decay_start * self.total),
            total=self.total,
            first=first,
            last=scaled_lr(config.min_lr, optimizer_config, ends),
        )
        self.decay = (
            CosineWeightDecay(optimizer, self.total, config.weight_decay_end)
            if config.weight_decay_end is not None
            else None
        )

    def set(self, step: int) -> float:
        """Prepare the optimizer for the step after `step` done ones; returns `rate`."""
        by_epoch = self.config.by_epoch
        start = step // self.steps_per_epoch * self.steps_per_epoch  # of this epoch
        # Warm-up may end within an epoch: from there to the epoch's end the rate is the one the epoch began with.
        self.lr.hold = None if by_epoch == "no" else start
        self.lr.step_update(start if by_epoch == "all" else step)
        if self.decay is not None:
            self.decay.step_update(step if by_epoch == "no" else start)
        return rate(self.optimizer)
