"""The training loop: `fit`, `train_one_epoch`, `evaluate`.

Read top to bottom. Everything is prepared by `phonecv.training.job`; what a batch means is the task's business.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from phonecv.models.headed import Network
from phonecv.settings import to_plain
from phonecv.text import counted, lasting
from phonecv.training.config import LATER, TrainConfig
from phonecv.training.ema import Ema
from phonecv.training.guard import FiniteGuard
from phonecv.training.interrupt import Interrupted, Interrupts
from phonecv.training.loaders import SplitData, TaskBatch
from phonecv.training.log import LossMeter, RunLog
from phonecv.training.objective import Objective, Settles
from phonecv.training.optim import train_mode
from phonecv.training.schedule import Schedule
from phonecv.training.speed import Speed
from phonecv.training.state import Progress, write_state
from phonecv.training.uncertainty import score_text
from phonecv.training.world import Agreement, World, share_buffers
from phonecv.weights import save_checkpoint

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: What is shown while the networks are evaluated.
EVALUATION = "evaluation"


@dataclass
class Run:
    """All parts of a training, and how far it is.

    Attributes:
        model: `net`, compiled where that pays, and wrapped for several processes where there are several.
        optimizer: over the trained parameters of `net`.
        scaler: loss scaling; does nothing unless fp16 is on.
        data_record: what the run remembers of its data.
    """

    config: TrainConfig
    world: World
    folder: Path
    objective: Objective
    net: Network
    model: nn.Module
    ema: Ema | None
    optimizer: Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    speed: Speed
    data: SplitData
    log: RunLog
    interrupts: Interrupts
    at: Progress = field(default_factory=Progress)
    data_record: Mapping[str, Any] = field(default_factory=dict)
    losses: LossMeter = field(init=False)
    guard: FiniteGuard = field(init=False)
    agreement: Agreement = field(init=False)
    saved_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.losses = LossMeter(self.world.device)
        self.guard = FiniteGuard()
        self.agreement = Agreement(self.world)

    def nets(self) -> dict[str, Network]:
        """The networks to evaluate: "net", and "ema" where there is one."""
        return {"net": self.net} | ({"ema": cast("Network", self.ema.module)} if self.ema else {})


def fit(run: Run) -> None:
    """Train from where `run.at` is to the last epoch, or until `schedule.patience` is at an end.

    Raises:
        Interrupted: somebody asked to stop; the state is saved.
        NonFiniteLoss: the files in the run folder are from before.
        UserError: too many unreadable images.
    """
    while not over(run.config, run.at):
        train_one_epoch(run)
        share_buffers(run.nets().values(), run.world, run.config.run.bn)
        scores: dict[str, dict[str, float]] = {}
        if evaluation_due(run.config, run.at.epoch + 1):
            if run.config.run.precise_bn:
                precise_statistics(run)
            scores = evaluate(run)
            if run.world.first:
                run.objective.illustrate(run.nets(), run.folder, run.at.epoch + 1)
        finish_epoch(run, scores)


def train_one_epoch(run: Run) -> None:
    """The rest of the epoch under way: `run.at.batch` of its optimizer steps are done."""
    config, at, spe = run.config, run.at, run.data.steps_per_epoch
    accumulate = config.optimizer.accumulate
    train_mode(run.model, config.model.mode)
    show = run.log.bar_for(f"epoch {at.epoch + 1}/{config.schedule.epochs}", spe, at.batch, later=still_to_do(run, 1))
    window, since = at.step, time.monotonic()
    parts = iter(run.data.train_loader(at.epoch, at.batch * accumulate))
    while at.batch < spe:
        lr = run.schedule.set(at.step)
        losses = train_step(run, islice(parts, accumulate), lr)
        at.batch, at.step = at.batch + 1, at.step + 1
        if run.ema:
            run.ema.update(run.net, at.step)
        run.losses.add(losses)
        show(at.batch)
        if at.step % config.run.log_every == 0 or at.batch == spe:
            speed = (at.step - window) * config.data.batch_size / max(1e-9, time.monotonic() - since)
            row = run.losses.average(run.world)
            run.log.write_step(at.step, at.step / spe, {"lr": lr, **row, "images_per_second": speed})
            window, since = at.step, time.monotonic()
        save_or_stop(run)


def train_step(run: Run, parts: Iterable[TaskBatch], lr: float) -> dict[str, Tensor]:
    """One optimizer step over its `accumulate` parts; returns the mean of each loss."""
    config, world = run.config, run.world
    accumulate = config.optimizer.accumulate
    total: dict[str, Tensor] = {}
    count = 0
    for part, cpu_batch in enumerate(parts):
        count += 1
        run.data.note_errors(cpu_batch, run.at.bad, "train")
        batch = run.data.placed(cpu_batch)
        seed_step(config.run.seed, run.at.step, part, world.rank)
        # Gradients travel between processes with the last part only.
        with no_sync(run.model) if part + 1 < accumulate else nullcontext():
            with autocast(world.device, run.speed.amp):
                losses = run.objective.losses(run.model, batch)
            run.guard.watch(run.at.step + 1, lr, losses, batch.images)
            run.scaler.scale(torch.stack(list(losses.values())).sum() / accumulate).backward()
        for name, loss in losses.items():
            total[name] = total.get(name, 0.0) + loss.detach() / accumulate
    if count != accumulate:
        raise RuntimeError(f"the loader gave {count} of {accumulate} parts of step {run.at.step + 1}")
    if config.optimizer.clip is not None:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.net.parameters(), config.optimizer.clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad(set_to_none=True)
    return total


@torch.no_grad()
def precise_statistics(run: Run) -> None:
    """Compute the BatchNorm statistics of every network in `run.nets()` anew, from `run.precise_bn` training pictures.

    Running statistics lag behind the weights and come from the few pictures of each step; those of averaged weights are
    averages that belong to no network (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, arXiv 2105.07576,
    section 3). torch's `update_bn` would also reset frozen statistics, and leaves out how much batches differ.
    """
    config, at, nets = run.config, run.at, list(run.nets().values())
    train_mode(run.net, config.model.mode)
    for net in nets:  # what trains in the network, in the moving average too, where nothing has a gradient
        for module, own in zip(net.modules(), run.net.modules(), strict=True):
            module.training = own.training
    modules = [module for net in nets for module in net.modules()]
    norms = [each for each in modules if isinstance(each, _BatchNorm) and each.training and each.track_running_stats]
    if not norms:
        return
    statistics = [(cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)) for norm in norms]
    # Steps of training alone are counted: a run that is stopped in its evaluation comes here twice.
    counters = [cast("Tensor", norm.num_batches_tracked) for norm in norms]
    counted = [counter.clone() for counter in counters]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # it then holds what the last batch had
    means: list[Tensor] = []
    variances: list[Tensor] = []
    count = math.ceil(config.run.precise_bn / config.data.batch_size) * config.optimizer.accumulate
    for part, cpu_batch in enumerate(islice(run.data.train_loader(at.epoch, 0), count)):
        run.data.note_errors(cpu_batch, at.bad, "train")
        batch = run.data.placed(cpu_batch)
        seed_step(config.run.seed, at.step, part, run.world.rank)
        with autocast(run.world.device, run.speed.amp):
            for net in nets:
                run.objective.losses(net, batch)
        means.append(torch.cat([mean for mean, _ in statistics]))
        variances.append(torch.cat([variance for _, variance in statistics]))
    # Of all pictures together: the variance within batches and that between them.
    batches = len(means) * run.world.size
    mean = run.world.sum(torch.stack(means).sum(0)) / batches
    spread = torch.stack(variances) + (torch.stack(means) - mean).square()
    variance = run.world.sum(spread.sum(0)) / batches
    for norm, momentum, counter, before in zip(norms, momenta, counters, counted, strict=True):
        norm.momentum = momentum
        counter.copy_(before)
    sizes = [norm.num_features for norm in norms]
    for (old, _), new in zip(statistics, mean.split(sizes), strict=True):
        old.copy_(new)
    for (_, old), new in zip(statistics, variance.split(sizes), strict=True):
        old.copy_(new)


@torch.no_grad()
def evaluate(run: Run) -> dict[str, dict[str, float]]:
    """Figures of every network in `run.nets()` on the validation split, each image once over all processes.

    All networks see a batch before the next is read: reading and resizing images is half of the work.
    """
    device = run.world.device
    nets = run.nets()
    meters = {name: run.objective.meter(device) for name in nets}
    for net in nets.values():
        net.eval()
    show = run.log.bar_for(EVALUATION, run.data.eval_steps, later=still_to_do(run, 1, evaluated=True))
    for count, cpu_batch in enumerate(run.data.eval_loader(), start=1):
        if run.interrupts.requested and run.world.size == 1:  # several processes finish it together
            save(run)
            raise Interrupted
        run.data.note_errors(cpu_batch, run.at.bad, "val")
        batch = run.data.placed(cpu_batch)
        for name, net in nets.items():
            meters[name].update(run.objective.predict(net, batch), batch)
        show(count)
    figures = {name: meter.result(run.world) for name, meter in meters.items()}
    for name, meter in meters.items():
        if isinstance(meter, Settles):
            meter.settle(nets[name])
    # Not a number: nothing there that it could be a figure of, such as small objects.
    return {name: {key: value for key, value in row.items() if not math.isnan(value)} for name, row in figures.items()}


def still_to_do(run: Run, done: int = 0, *, evaluated: bool = False) -> dict[str, int]:
    """Steps of every kind that a run has before it when `done` more epochs are, the last of them evaluated or not."""
    epochs = range(run.at.epoch + 1, run.config.schedule.epochs + 1)
    evaluations = sum(evaluation_due(run.config, epoch) for epoch in epochs) - evaluated
    return {
        "epoch": run.data.steps_per_epoch * max(0, len(epochs) - done),
        EVALUATION: run.data.eval_steps * max(0, evaluations),
    }


def over(config: TrainConfig, at: Progress) -> str:
    """Why nothing is left to train; empty while something is."""
    if at.epoch >= config.schedule.epochs:
        return f"{counted(at.epoch, 'epochs are', of=config.schedule.epochs)} done"
    patience = config.schedule.patience
    since = max(at.best_epoch, at.patient_from)
    if patience is not None and at.best is not None and at.evaluated - since >= patience:
        return (
            f"stopped early after epoch {at.epoch} of {config.schedule.epochs}: none since epoch {at.best_epoch} was"
            f" better (schedule.patience={patience})"
        )
    return ""


def evaluation_due(config: TrainConfig, epoch: int) -> bool:
    """Whether the networks are evaluated after this epoch, counted from 1."""
    each_from = config.run.eval_each_from
    return (
        epoch % config.run.eval_every == 0
        or epoch == config.schedule.epochs
        or (each_from is not None and epoch >= each_from)
    )


def finish_epoch(run: Run, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Record the epoch's figures, keep the best network, and save."""
    at, world = run.at, run.world
    run.guard.flush()
    run.guard.check_weights(run.net, at.step)
    at.epoch, at.batch = at.epoch + 1, 0
    run.log.write_epoch(at.step, at.epoch, scores)
    if scores:
        at.evaluated = at.epoch
        # The first of equals: the live network, the earlier epoch.
        counted = [net for net in scores if run.objective.score in scores[net]]
        best = max(counted, key=lambda net: scores[net][run.objective.score], default=None)
        if best is not None and (at.best is None or scores[best][run.objective.score] > at.best):
            at.best, at.best_epoch, at.best_net = scores[best][run.objective.score], at.epoch, best
            save_network(run, best, "best", scores)
    keep = run.config.run.keep_every
    for name in run.nets():
        save_network(run, name, "last" if name == "net" else f"last_{name}", scores)
        if keep and at.epoch % keep == 0:
            save_network(run, name, f"epoch-{at.epoch:04d}" + ("" if name == "net" else f"_{name}"), scores)
    save(run)
    run.log.say(epoch_line(run, scores))
    ended = over(run.config, at)
    run.log.draw(run.objective.score, final=bool(ended))
    if run.interrupts.requested and world.size == 1 and not ended:
        raise Interrupted


def save_or_stop(run: Run) -> None:
    """After a step: save when it is time, and stop when asked to; all processes after the same step."""
    config = run.config.run
    due = config.save_every > 0 and run.at.step % config.save_every == 0
    timed = run.world.first and 0 < config.save_minutes * 60 < time.monotonic() - run.saved_at
    if timed:
        run.saved_at = time.monotonic()  # asked once, also where the answer comes a step later
    stop, agreed = run.agreement.settle(stop=bool(run.interrupts.requested), save=timed)
    if stop or agreed or due:
        save(run)
    if stop:
        raise Interrupted


def save(run: Run) -> None:
    """Write the resume state; every process takes part."""
    run.guard.flush()
    run.guard.check_weights(run.net, run.at.step)
    own: dict[str, Any] = {"losses": run.losses.state(), "bad": run.at.bad}
    if run.config.run.bn == "average":  # each process has statistics of its own until the epoch ends
        own["buffers"] = {
            name: {key: value.cpu() for key, value in net.named_buffers()} for name, net in run.nets().items()
        }
    everyone = run.world.gather(own)
    for other in everyone:
        run.at.bad |= other.pop("bad")
    run.saved_at = time.monotonic()
    if not run.world.first:
        return
    state = {
        "threads": torch.get_num_threads(),
        "speed": run.speed.to_plain(),
        "data": dict(run.data_record),
        "settings": later_settings(run.config),
        "net": run.net.state_dict(),
        "ema": run.ema.module.state_dict() if run.ema else None,
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "ranks": everyone,
        "rows": [len(run.log.epochs.rows), len(run.log.steps.rows)],
        "seconds": run.log.seconds,
    }
    write_state(run.folder, state, run.at)


def restore(run: Run, state: Mapping[str, Any], at: Progress) -> None:
    """Put a run where a saved state was."""
    run.at = at
    run.net.load_state_dict(state["net"])
    if run.ema:
        run.ema.module.load_state_dict(state["ema"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.scaler.load_state_dict(state["scaler"])
    ranks, world = state["ranks"], run.world
    if len(ranks) != world.size:
        run.log.say(
            f"note: this run had {counted(len(ranks), 'processes')} and goes on with {world.size}; "
            "its numbers will be close to, not equal to, those of an unbroken run"
        )
        return
    run.losses.load(ranks[world.rank]["losses"])
    for name, buffers in ranks[world.rank].get("buffers", {}).items():
        run.nets()[name].load_state_dict(buffers, strict=False)


def later_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that a run may go on with other values of."""
    flat = config.flat()
    return {name: flat[name] for name in sorted(LATER)}


def save_network(run: Run, which: str, name: str, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write one of the networks as `name`.safetensors, with its figures in the record."""
    if not run.world.first:
        return
    training = {"epoch": run.at.epoch, "step": run.at.step, "weights": which, "figures": dict(scores.get(which, {}))}
    training["config"] = to_plain(run.config)
    if held_out := run.data_record.get("held_out"):
        training["held_out"] = held_out
    save_checkpoint(run.objective.kept(run.nets()[which]), run.folder / f"{name}.safetensors", training=training)


def epoch_line(run: Run, scores: Mapping[str, Mapping[str, float]]) -> str:
    """One line about the epoch just finished."""
    last = run.log.epochs.rows[-1] if run.log.epochs.rows else {}
    text = f"epoch {run.at.epoch}/{run.config.schedule.epochs}  loss {float(last.get('train_loss') or 'nan'):.4f}"
    for name, figures in scores.items():
        text += f"  {name} {run.objective.score} {score_text(run.objective, figures)}"
    if run.at.best is not None:
        text += f"  best {run.at.best:.2f} ({run.at.best_net}, epoch {run.at.best_epoch})"
    left = run.log.pace.left(still_to_do(run)) if run.at.epoch < run.config.schedule.epochs else None
    return f"{text}  {lasting(run.log.seconds)}" + (f", {lasting(left)} left" if left else "")


def autocast(device: torch.device, amp: str) -> AbstractContextManager[Any]:
    """Autocast to "bf16" or "fp16", or none."""
    return torch.autocast(device.type, dtype=AMP[amp]) if amp in AMP else nullcontext()


def no_sync(model: nn.Module) -> AbstractContextManager[Any]:
    """Keep gradients in this process for now."""
    return model.no_sync() if isinstance(model, nn.parallel.DistributedDataParallel) else nullcontext()


def seed_step(seed: int, step: int, part: int, rank: int) -> None:
    """Make all random numbers of a step follow from its number, so that a resumed run draws the same."""
    words = np.random.SeedSequence((seed, step, part, rank)).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])  # noqa: NPY002 - timm's mixup draws from the global generator
    torch.manual_seed(int(words[2]))
