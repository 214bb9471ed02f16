"""One process's part of a training: everything is prepared, fitted, and summed up."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from phonecv.data.loading.workers import workers_explained
from phonecv.errors import UserError
from phonecv.files import NoRoom, write_json, write_text
from phonecv.models import VisionModel
from phonecv.models.catalog import MODELS
from phonecv.models.fusing import lay_out
from phonecv.models.headed import Network
from phonecv.report import write_report
from phonecv.settings import written
from phonecv.task import TASKS
from phonecv.text import counted, lasting
from phonecv.training.checks import part_size
from phonecv.training.config import TrainConfig
from phonecv.training.data_record import (
    changed_pictures,
    check_classes,
    check_moved,
    data_record,
    judged_by,
    settle_pictures,
)
from phonecv.training.ema import Ema
from phonecv.training.engine import Run, fit, later_settings, over, restore
from phonecv.training.folder import CONFIG, claimed
from phonecv.training.interrupt import Interrupted, Interrupts
from phonecv.training.introduction import introduce
from phonecv.training.loaders import write_bad_images
from phonecv.training.log import FIGURES_OF, RunLog
from phonecv.training.objective import Objective
from phonecv.training.optim import make_optimizer
from phonecv.training.run import SUMMARY
from phonecv.training.schedule import Schedule, rate, scaled_lr
from phonecv.training.setup import Setup, open_setup
from phonecv.training.speed import choose_speed, compiled, keeps_memory
from phonecv.training.state import FILE, Progress, read_state
from phonecv.training.threads import Threads, choose_threads, keep_freed_memory
from phonecv.training.trial import check_first_batch
from phonecv.training.uncertainty import caution, last_figures, score_text
from phonecv.training.world import World

#: Findings of the audit that are shown before training.
AUDIT_LINES = 8

GOES_ON = "the same command goes on from the last saved state"


def work(config: TrainConfig, world: World) -> None:
    """One process's part of a training."""
    folder = Path(config.run.out)
    threads = choose_threads(
        processes=world.local_size,
        cpu=world.device.type == "cpu",
        threads=config.run.threads,
        workers=config.data.workers,
    )
    if keeps_memory(config, world.device):
        keep_freed_memory()
    with torch_settings(threads, config), claimed(folder, config, world), Interrupts() as interrupts:
        run = prepare(config, world, threads, interrupts)
        if reason := over(config, run.at):
            run.log.say(
                f"{folder} is finished already: {reason}. It goes on with more schedule.epochs"
                f"{' or another schedule.patience' * ended_early(run)}; choose another --out to train again"
            )
            run.log.close(finished=True)
            return
        if world.first:  # it says that the run is finished, where that goes on
            (folder / SUMMARY).unlink(missing_ok=True)
        outcome = ""
        advice = f"set data.workers={max(0, threads.workers // 2)} or a smaller data.batch_size; {GOES_ON}"
        try:
            with workers_explained(advice):
                run.data.prepare(run)
                fit(run)
            outcome = "finished"
        except Interrupted:
            outcome = "stopped"
        except NoRoom as error:
            saved = "the last saved state is whole" if (folder / FILE).is_file() else "no state was saved yet"
            raise UserError(f"{error}; {saved}. With more room the same command goes on from there") from error
        finally:
            run.agreement.close()
            run.log.close(finished=outcome == "finished")
            if world.first and run.at.bad and folder.is_dir():
                with suppress(NoRoom):
                    write_bad_images(folder, run.at.bad)
        if world.first:
            conclude(run, outcome)
        world.barrier()  # afterwards every process may read the run folder


def prepare(config: TrainConfig, world: World, threads: Threads, interrupts: Interrupts) -> Run:
    """Everything a run needs, put where its last saved state was."""
    folder = Path(config.run.out)
    part_size(config, world.size)
    setup = open_first(config, world)
    log = RunLog(folder, world, progress=config.run.progress)
    if config.run.audit and world.first:
        look_over(log, setup)
    found = read_state(folder)
    at = found[1] if found else Progress()
    if len(set(world.gather((found is not None, at.step)))) > 1:
        raise UserError(
            f"the processes see different states of the run in {folder}; it has to lie where all machines see it"
        )
    if found:
        check_classes(found[0], folder, setup.classes)
        check_length(config, at)
    if found and config.run.threads is None:
        # The number of threads decides how sums are split, so it belongs to what makes a run repeatable.
        threads = replace(threads, torch=found[0]["threads"])
        torch.set_num_threads(threads.torch)

    torch.manual_seed(config.run.seed)
    net = setup.network().to(world.device)
    if depth := settle_pictures(net, setup.pictures, found[0].get("data") if found else None):
        log.say(f"note: {depth}; data.bits sets it")
    data = setup.data(net, world, threads.workers)
    known = MODELS.get(config.model.name)
    speed = choose_speed(
        config,
        world.device,
        family=known.family if known else "",
        steps=config.schedule.epochs * data.steps_per_epoch,
        before=found[0].get("speed") if found else None,
    )
    data.channels_last = speed.channels_last
    record = {}
    if world.first:
        labels = {"train": setup.divided.train.label_digest, "val": setup.divided.val.label_digest}
        record = data_record(setup.classes, data.files, setup.root, net.preprocessing.bits, labels)
    if setup.divided.division is not None:
        record["held_out"] = data.val_size
    if found and world.first:
        check_moved(found[0].get("data"), folder, record)
    if speed.channels_last:
        lay_out(net, torch.channels_last)
    net = with_shared_batches(net, config.run.bn, world)
    if config.run.checkpoint_activations:
        checkpoint_activations(net)
    objective, trained = setup.objective(net, world), setup.trained(net)
    check_first_batch(config, objective, net, trained, data, world)
    lr = scaled_lr(config.optimizer.lr, config.optimizer, config.data.batch_size)
    optimizer = make_optimizer(net, config.optimizer, lr, fused=speed.fused)
    schedule = Schedule(
        optimizer,
        config.schedule,
        config.optimizer,
        steps_per_epoch=data.steps_per_epoch,
        batch_size=config.data.batch_size,
    )
    run = Run(
        config=config,
        world=world,
        folder=folder,
        objective=objective,
        net=net,
        model=wrap(compiled(trained, sizes=len(config.sizes())) if speed.compile else trained, world),
        # After the wrapping: from there on every process holds the same parameters.
        ema=Ema(net, config.ema) if config.ema.enabled else None,
        optimizer=optimizer,
        schedule=schedule,
        scaler=torch.amp.GradScaler(world.device.type, enabled=speed.amp == "fp16"),
        speed=speed,
        data=data,
        log=log,
        interrupts=interrupts,
        data_record=record,
    )
    if world.first:  # not before everything is known to be usable: a mistake must not occupy the folder
        write_text(folder / CONFIG, config.to_yaml())
    introduce(run, lr, threads, setup)
    if found:
        log.say(f"going on from {folder / FILE}")
        restore(run, *found)
        go_on(run, found[0])
        # With fewer pictures an epoch may be over sooner than the run had got.
        run.at.batch = min(run.at.batch, data.steps_per_epoch)
    rows, seconds = (found[0]["rows"], found[0]["seconds"]) if found else ((0, 0), 0.0)
    log.open(objective.loss_names, figure_columns(config, objective), config, rows, seconds, at.step)
    return run


def check_length(config: TrainConfig, at: Progress) -> None:
    """Refuse fewer epochs than the run has done."""
    if at.epoch > config.schedule.epochs:
        raise UserError(
            f"schedule.epochs={config.schedule.epochs}, but {at.epoch} epochs are done in {config.run.out} already; go"
            f" on with schedule.epochs={at.epoch + 1} or more, or choose another --out (run.out) to train anew"
        )


def go_on(run: Run, state: Mapping[str, Any]) -> None:
    """Say, and remember, with what a run goes on that it did not have before."""
    at, then, now = run.at, state.get("settings", {}), later_settings(run.config)
    changed_settings = [name for name in now if name in then and then[name] != now[name]]
    if {"schedule.epochs", "schedule.patience"} & set(changed_settings):
        at.patient_from = at.epoch
    if not run.world.first:
        return
    before, record = state.get("data"), run.data_record
    if before and before["root"] == record["root"]:
        changed_settings = [name for name in changed_settings if name != "data.path"]  # the same folder, respelt
        if changes := changed_pictures(before, record):
            run.log.say(f"note: the data have changed since this run began: {changes}. It goes on with what there is")
    for name in changed_settings:
        value, old = (one if isinstance(one, str) else written(one) for one in (now[name], then[name]))
        line = f"{name}={value} from step {at.step + 1} on, {old} before"
        at.changes.append(line)
        run.log.say(f"note: {line}")
    if "schedule.epochs" in changed_settings and not over(run.config, at):
        last, following = rate(run.optimizer), run.schedule.set(at.step)
        run.log.say(
            f"note: each step has the learning rate that it has in a run of {run.config.schedule.epochs} epochs: the"
            f" next {following:.3g}, the last one had {last:.3g}"
        )


def open_first(config: TrainConfig, world: World) -> Setup:
    """The setup; the first process divides undivided data and writes the lists, by which the others do it."""
    if world.first:
        setup = open_setup(config)
        setup.divided.write(Path(config.run.out))
        world.barrier()
        return setup
    world.barrier()
    return open_setup(config)


def wrap(net: nn.Module, world: World) -> nn.Module:
    """The network as it is trained: itself, or PyTorch's DDP around it."""
    if world.size == 1:
        return net
    ids = [world.device.index] if world.device.type == "cuda" else None
    # Statistics are shared once per epoch (`share_buffers`), not sent with every step. torch has renamed the switch.
    ddp = nn.parallel.DistributedDataParallel
    renamed = "forward_sync_buffers" in inspect.signature(ddp.__init__).parameters
    switch: dict[str, Any] = {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
    return ddp(net, device_ids=ids, gradient_as_bucket_view=True, **switch)


def with_shared_batches(net: Network, how: str, world: World) -> Network:
    """The network with BatchNorm that takes its statistics from all processes, where `how` says so."""
    if how not in ("sync", "sync_heads") or world.size == 1:
        return net
    if world.device.type != "cuda":
        raise UserError(f"run.bn={how} works on GPUs only; use run.bn=average or none on the CPU")
    if how == "sync":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    if isinstance(net, VisionModel):
        others = " and ".join(f"{task.title}s" for name, task in TASKS.items() if name != net.task)
        raise UserError(f"run.bn=sync_heads is for {others}; {TASKS[net.task].noun}'s head has no BatchNorm")
    for name, part in net.named_children():
        if name != "backbone":
            setattr(net, name, nn.SyncBatchNorm.convert_sync_batchnorm(part))
    return net


def checkpoint_activations(net: Network) -> None:
    """Make the network, or its backbone, compute its activations again in the backward pass."""
    part = net if isinstance(net, VisionModel) else net.backbone
    if not hasattr(part, "checkpoint_activations"):
        raise UserError(f"run.checkpoint_activations works with our own networks, not with a {type(part).__name__}")
    part.checkpoint_activations = True  # type: ignore[assignment]


def figure_columns(config: TrainConfig, objective: Objective) -> list[str]:
    """Columns of metrics.csv that an evaluation fills."""
    nets = ("net", "ema") if config.ema.enabled else ("net",)
    return [f"{FIGURES_OF[net]}_{name}" for net in nets for name in objective.figures]


@contextmanager
def torch_settings(threads: Threads, config: TrainConfig) -> Iterator[None]:
    """Threads and kernels for the run, and as they were afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.set_num_threads(threads.torch)
    torch.backends.cudnn.benchmark = not config.run.deterministic
    if config.run.deterministic:
        # cuBLAS computes alike every time only with a work space of its own; PyTorch refuses it otherwise.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.benchmark = before[2]


def look_over(log: RunLog, setup: Setup) -> None:
    """What a quick look over the data finds is said, and left to the person."""
    findings = setup.findings()
    for finding in findings[:AUDIT_LINES]:
        log.say(finding)
    if len(findings) > AUDIT_LINES:
        log.say(f"and {len(findings) - AUDIT_LINES} more; `phonecv audit {setup.root}` lists them")


def ended_early(run: Run) -> bool:
    """Whether `schedule.patience` has ended the run."""
    return run.at.epoch < run.config.schedule.epochs and bool(over(run.config, run.at))


def conclude(run: Run, outcome: str) -> None:
    """Write the summary and the report, and say how it ended."""
    at, folder = run.at, run.folder
    last = last_figures(run.log.epochs.rows, run.objective)
    summary: dict[str, Any] = {
        "task": run.config.task,
        "finished": outcome == "finished",
        "epoch": at.epoch,
        "step": at.step,
        "score": run.objective.score,
        "images": run.data.val_size,
        "last_scores": {name: figures[run.objective.score] for name, figures in last.items()},
        "last_errors": {name: run.objective.error(figures) for name, figures in last.items()},
        "data": judged_by(run.data_record),
        "best_score": at.best,
        "best_epoch": at.best_epoch,
        "best_net": at.best_net,
        "stopped_early": ended_early(run),
        "changes": at.changes,
        "unreadable": len(at.bad),
        "seconds": round(run.log.seconds, 1),
    }
    device = run.world.device
    if device.type == "cuda":  # of this process, since it was started
        summary["gpu_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    write_json(folder / SUMMARY, summary)
    if at.bad:
        shown = "\n  ".join(list(at.bad.values())[:5])
        run.log.say(
            f"{counted(len(at.bad), run.data.noun)} could not be read ({folder / 'bad_images.csv'}):\n  {shown}"
        )
    if outcome == "finished":
        say, pictures = run.log.say, run.data.val_size
        if ended_early(run):
            say(over(run.config, at))
        scores = [f"last {run.objective.score} {score_text(run.objective, row)} ({net})" for net, row in last.items()]
        if at.best is not None:
            scores.append(f"best {run.objective.score} {at.best:.2f} ({at.best_net}, epoch {at.best_epoch})")
        on = counted(pictures, f"validation {run.data.noun}")
        say(f"finished in {lasting(run.log.seconds)}: {', '.join(scores)}, on {on}")
        note = caution(run.log.epochs.rows, run.objective, pictures)
        if note is not None:
            say(f"note: {note}")
        if at.best is not None:
            say(f"best: {folder / 'best.safetensors'}; last: {folder / 'last.safetensors'}")
    else:
        run.log.say(
            f"{run.interrupts.requested or 'stopped'}: saved after step {at.step}, epoch {at.epoch + 1}."
            " The same command goes on from here"
        )
    run.log.say(f"report: {write_report(folder)}")
