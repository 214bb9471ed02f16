"""Loader processes: how they start, how their batches travel, and what to say when one is gone."""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from phonecv.data.pictures import turbojpeg as turbo
from phonecv.errors import UserError

log = logging.getLogger("phonecv")

#: Where Linux keeps shared memory; a container has 64 MiB there unless told otherwise.
SHARED = Path("/dev/shm")
#: What is left there for the queues between the processes.
RESERVE = 4 << 20


def open_loader(
    dataset: Dataset[Any],
    batches: Any,
    workers: int = 0,
    *,
    collate: Callable[[Any], Any],
    pin_memory: bool = False,
    prefetch: int = 2,
    persistent: bool = False,
) -> DataLoader[Any]:
    """torch's loader as all tasks use it: it touches no global generator, and needs no shared memory.

    Args:
        dataset: what to load.
        batches: keys batch by batch.
        workers: processes that read and transform; 0 does it in this one, with the same result.
        collate: from samples to a batch.
        pin_memory: for copies to a GPU that overlap with its work.
        prefetch: batches each worker holds ready.
        persistent: keep the workers from one iteration to the next.
    """
    turbo.load()  # found once, here, and not by every worker
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=Shipping(collate) if workers else collate,
        pin_memory=pin_memory,
        # Without a generator of its own, starting an iteration draws from torch's global one.
        generator=torch.Generator().manual_seed(0),
        worker_init_fn=_start_worker if workers else None,
        prefetch_factor=prefetch if workers else None,
        persistent_workers=persistent and workers > 0,
    )


def _start_worker(_: int) -> None:
    """One thread each, and a stop left to the main process, which ends the workers after saving."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on a Mac
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    """End this process when the main process says so: a container or a batch system sends SIGTERM to all at once."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


class Shipping:
    """Collates in a worker and makes the batch ready to travel while a failure can still be met.

    torch puts tensors in shared memory when the queue's own thread pickles them: where there is no room, that thread
    drops the batch and the main process waits for ever. Here the pickling happens first, and without room, or without
    file descriptors, the bytes themselves travel through the pipe.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate
        self.by_pipe = False

    def __call__(self, items: Any) -> Any:
        """The batch of some samples; in a worker, what becomes it in the main process."""
        batch = self.collate(items)
        if get_worker_info() is None:
            return batch
        if not self.by_pipe:
            try:
                return _Shipped(pickle.loads, bytes(ForkingPickler.dumps(batch)))
            except (RuntimeError, OSError):
                self.by_pipe = True  # what was shared so far stays so: once, not for every batch
        return _Shipped(_by_pipe, pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL))


class _Shipped:
    """Bytes that arrive as what they were made of."""

    def __init__(self, read: Callable[[bytes], Any], data: bytes) -> None:
        self._parts = read, data

    def __reduce__(self) -> tuple[Any, ...]:
        return self._parts[0], self._parts[1:]


def _by_pipe(data: bytes) -> Any:
    tell_of_little_memory()
    return pickle.loads(data)


def shared_storage(size: int) -> torch.UntypedStorage | None:
    """Shared memory of so many bytes, or None where there is no room for it; the person is told."""
    try:
        room = os.statvfs(SHARED)
        if room.f_bavail * room.f_frsize >= size + RESERVE:
            return torch.UntypedStorage._new_shared(size)
    except FileNotFoundError:  # another system, with another place for it
        return torch.UntypedStorage._new_shared(size)
    except RuntimeError:  # somebody else took the room meanwhile
        pass
    tell_of_little_memory()
    return None


_TOLD: list[bool] = []


def tell_of_little_memory() -> None:
    """Say, once, that pictures take the slower way."""
    if not _TOLD:
        _TOLD.append(True)
        log.warning(
            "note: too little shared memory in %s for the loader processes; their pictures travel through pipes,"
            " which is slower (Docker: --shm-size=1g or --ipc=host gives more)",
            SHARED,
        )


class WorkerLost(UserError):
    """A loader process is gone."""


@contextmanager
def workers_explained(advice: str) -> Iterator[None]:
    """Turn torch's errors about a lost loader process into one line that ends in `advice`.

    They may come at any point of the main process: torch raises them where the death of a process is noticed.
    """
    try:
        yield
    except RuntimeError as error:
        text = f"{error} {error.__cause__ or error.__context__ or ''}"
        if not re.search(r"DataLoader worker \(pid", text):
            raise
        killed = re.search(r"killed by signal: ([\w ]+)", text)
        how = f"was killed ({killed[1].strip()})" if killed else "ended without a word"
        raise WorkerLost(f"a loader process {how}; most likely the machine is out of memory: {advice}") from error
