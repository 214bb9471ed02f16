"""Starting the processes of a run: one, several on this machine, or those that torchrun has started."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, ProcessRaisedException

from phonecv.errors import UserError
from phonecv.task import TASKS, Task
from phonecv.training.checks import check_processes
from phonecv.training.interrupt import Interrupts
from phonecv.training.world import World

#: Seconds that the other processes get to end after one has failed.
GRACE = 5.0


def under_torchrun() -> bool:
    """Whether torchrun, or something like it, has started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(work: str, job: Any, devices: int = 1, *, device: str = "auto") -> None:
    """Call ``work(job, world)`` in every process of a job and wait for all of them.

    Args:
        work: the function as "module:name", imported by the processes that call it and no other.
        job: a training's configuration, or what else `work` takes; it has to travel to other processes.
        devices: processes on this machine. Under torchrun this must stay 1: torchrun has started them.
        device: what they compute on, such as "auto", "cpu" or "cuda".

    Raises:
        UserError: more devices than there are, or a mistake found by any process.
        RuntimeError: a process failed otherwise; the message holds its traceback.
    """
    check_processes(device, devices)
    if under_torchrun():
        if devices > 1:
            raise UserError(f"devices={devices} under torchrun: torchrun has started the processes, leave devices out")
        _join_torchrun(work, job, device)
    elif devices == 1:
        resolve_name(work)(job, World(device=pick_device(device, 0, 1)))
    else:
        if pick_device(device, devices - 1, devices).type == "cpu":
            check_processes("cpu", devices)
        _spawn(work, job, devices, device)


def pick_device(name: str, local_rank: int, local_size: int) -> torch.device:
    """The device of one process."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"run.device={name!r} is no device; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if count == 0:
            raise UserError(f"run.device={name}, but torch sees no GPU; use run.device=cpu or auto")
        if device.index is None:
            device = torch.device("cuda", local_rank)
        elif local_size > 1:
            raise UserError(
                f"run.device={name} names one GPU, but there are {local_size} processes; use run.device=cuda"
            )
        if device.index >= count:
            raise UserError(f"{max(local_size, device.index + 1)} GPUs were asked for and {count} are there")
        torch.cuda.set_device(device)
    return device


def _join(world: World, **where: object) -> World:
    """Join the group; `where` says how its members find each other."""
    cuda = world.device.type == "cuda"
    # A device id binds NCCL's communicators at once, so a mistake shows at the start.
    extra = {"device_id": world.device} if cuda else {}
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", **where, **extra)  # pyrefly: ignore
    return replace(world, control=dist.new_group(backend="gloo"))


def _join_torchrun(work: str, job: Any, device: str) -> None:
    local_rank, local_size = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    world = World(
        rank=int(os.environ["RANK"]),
        size=int(os.environ["WORLD_SIZE"]),
        local_size=local_size,
        device=pick_device(device, local_rank, local_size),
    )
    world = _join(world)
    try:
        resolve_name(work)(job, world)
    finally:
        dist.destroy_process_group()


def _spawn(work: str, job: Any, devices: int, device: str) -> None:
    # The processes meet at a file: no port is opened for it, so nothing on the network can be in the way or listen.
    method = mp.get_start_method()
    with tempfile.TemporaryDirectory(prefix="phonecv-") as folder:
        context = mp.start_processes(
            _child, (work, job, device, devices, folder, method, TASKS), devices, join=False, start_method="spawn"
        )
        assert isinstance(context, ProcessContext)
        try:
            with Interrupts() as interrupts:
                _wait(context, interrupts)
        except (ProcessExitedException, ProcessRaisedException) as error:
            raise _explained(error, Path(folder), devices) from None
        finally:
            for process in context.processes:
                if process.is_alive():
                    process.kill()
                process.join()


def _wait(context: ProcessContext, interrupts: Interrupts) -> None:
    told = False
    while not context.join(timeout=0.2, grace_period=GRACE):
        if interrupts.requested and not told:
            told = True
            for process in context.processes:
                if process.pid and process.is_alive():
                    os.kill(process.pid, signal.SIGTERM)  # a terminal sends Ctrl-C to them itself; this adds up to once


def _child(
    local_rank: int,
    work: str,
    job: Any,
    device_name: str,
    devices: int,
    folder: str,
    method: str,
    tasks: Mapping[str, Task],
) -> None:
    TASKS.update(tasks)  # rows that were added at run time
    _die_with_parent()
    # A spawned process spawns its own, too: every loader process would load torch anew, 8 s at each epoch's start.
    mp.set_start_method(method, force=True)
    # One machine: nothing needs to be reachable from outside.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    try:
        device = pick_device(device_name, local_rank, devices)
        world = World(rank=local_rank, size=devices, local_size=devices, device=device)
        world = _join(world, init_method=f"file://{folder}/meeting", rank=local_rank, world_size=devices)
        resolve_name(work)(job, world)
        dist.destroy_process_group()
    except Exception as error:
        kind = "user" if isinstance(error, UserError) else "crash"
        text = str(error) if kind == "user" else traceback.format_exc()
        report = {"time": time.time(), "kind": kind, "text": text}
        Path(folder, f"error-{local_rank}.json").write_text(json.dumps(report), encoding="utf-8")
        # No orderly end: the others may wait for this process in a reduction.
        os._exit(1)


def _die_with_parent() -> None:
    """Make the kernel kill this process when the one that started it is killed (Linux).

    Left alone it would write into the run folder while the next start of the same command does so, too.
    """
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def _explained(error: ProcessExitedException | ProcessRaisedException, folder: Path, devices: int) -> Exception:
    """What really happened: the first report of all processes, or the signal that ended one without a report."""
    reports = []
    for path in sorted(folder.glob("error-*.json")):
        rank = int(path.stem.removeprefix("error-"))
        reports.append((rank, json.loads(path.read_text(encoding="utf-8"))))
    killed = getattr(error, "signal_name", None)
    if killed and killed != "SIGTERM":
        return UserError(
            f"process {error.error_index + 1} of {devices} was ended by {killed}; if the machine ran out of memory,"
            " lower data.batch_size or raise optimizer.accumulate. The same command goes on from the last saved state"
        )
    # The others fail a moment later for want of their partner; a mistake by the person explains more than a crash.
    reports.sort(key=lambda item: (item[1]["kind"] != "user", item[1]["time"]))
    if not reports:
        return RuntimeError(f"process {error.error_index + 1} of {devices} ended without a word ({error})")
    rank, report = reports[0]
    if report["kind"] == "user":
        return UserError(report["text"])
    return RuntimeError(f"process {rank + 1} of {devices} failed:\n{report['text']}")
