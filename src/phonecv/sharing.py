"""Evaluating and predicting by several processes: each takes its share of the pictures, the first has the whole."""

from __future__ import annotations

import os
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from phonecv.devices import usable_cores
from phonecv.errors import UserError

if TYPE_CHECKING:
    from phonecv.training.world import World

#: Most loader processes of each, as for one.
MOST_WORKERS = 8


def torchrun_processes() -> int:
    """How many processes torchrun has started, this one among them; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ and "WORLD_SIZE" in os.environ else 1


def share(work: str, model: Any, what: Any, own: Any, *more: Any) -> Any:
    """Call ``work(model, what, own, *more, world)`` in `own.devices` processes.

    Args:
        work: the function as "module:name".
        model: a file or a name, which every process opens for itself.
        what: the pictures.
        own: the options of the verb.
        *more: arguments that can travel to other processes.

    Returns:
        What the first process gives; None on the others, where torchrun has started them.

    Raises:
        UserError: a model that is open already, or whatever a process finds wrong.
    """
    from phonecv.training.launch import launch

    if not isinstance(model, Path | str):
        raise UserError(f"devices={own.devices}: every process opens the model, so give a file or a name")
    started = torchrun_processes()
    if started > 1 and own.devices != started:
        raise UserError(f"devices={own.devices}, but torchrun has started {started} processes; leave devices out")
    plain = replace(own, on_progress=None, **({"on_frame": None} if hasattr(own, "on_frame") else {}))
    with tempfile.TemporaryDirectory(prefix="phonecv-") as folder:
        answer = Path(folder, "answer")
        job = work, (model, what, plain, *more), answer
        launch("phonecv.sharing:part", job, 1 if started > 1 else own.devices, device=str(own.device or "auto"))
        return pickle.loads(answer.read_bytes()) if answer.is_file() else None


def part(job: tuple[str, tuple[Any, ...], Path], world: World) -> None:
    """One process's share; the first keeps what comes of all of them."""
    import torch

    work, (model, what, own, *more), answer = job
    cores = usable_cores() // world.local_size
    if world.device.type == "cpu":
        torch.set_num_threads(max(1, cores))
    chosen: dict[str, Any] = {"device": str(world.device)}
    if own.workers is None:
        chosen["workers"] = max(0, min(MOST_WORKERS, cores - 1))
    if own.runtime == "auto":  # it would be measured in each process, while the others compute
        chosen["runtime"] = "eager"
    result = resolve_name(work)(model, what, replace(own, **chosen), *more, world)
    if world.rank == 0:
        answer.write_bytes(pickle.dumps(result))
    world.barrier()  # no process leaves while another may still wait for its word
