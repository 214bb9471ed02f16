"""How many threads and loader processes, how they wait, and their memory.

Imports no torch: the first function must run before it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass

from phonecv.devices import usable_cores

#: How often an OpenMP thread looks for work before it sleeps; libgomp's own number is 300,000.
SPINS = "1000"


def wait_quietly() -> None:
    """Make OpenMP threads go to sleep soon after a loop instead of spinning until the next.

    Spinning threads that outnumber free cores cost 10 to 60 times on a busy machine, but threads that sleep at once
    cost a factor of two on an idle one. Measured for a small network's training step with two threads on two cores,
    idle and beside another busy process: spinning 42 and 2,800 ms, sleeping at once 76 and 108 ms, and this 42 and
    124 ms. The setting is read once, when torch loads its OpenMP library, so this must run before torch is imported;
    a value set by the person stays. Child processes inherit it.
    """
    if "torch" in sys.modules:
        return
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # libgomp, as in the Linux wheels of torch
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # Intel's and LLVM's library, milliseconds


@dataclass(frozen=True, slots=True)
class Threads:
    """What one process gets: threads of the computing process, and loader processes of one thread each."""

    torch: int
    workers: int


def choose_threads(*, processes: int, cpu: bool, threads: int | None = None, workers: int | None = None) -> Threads:
    """Split the usable cores between the processes of this machine."""
    share = max(1, usable_cores() // processes)
    if workers is None:
        # On the CPU the network takes nearly all the time and one loader process keeps up with a few cores. A process
        # that has a single core loads its pictures itself: a loader beside it makes the others wait for it, step by
        # step.
        workers = (max(1, share // 4) if share > 1 else 0) if cpu else min(8, share)
    # A loader process needs a core of its own: threads that wait for a busy core cost more than they give (a small
    # network on two busy cores: 66 ms of CPU time per step with one thread, 113 with two).
    return Threads(torch=threads or max(1, share - workers if cpu else share), workers=workers)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = -1


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, from now until the process ends; False where it is not glibc's.

    By default every tensor above 32 MB is a mapping of its own that goes back to the system when it is freed, and
    the next one comes page by page, each page cleared and faulted in: of an EMOv2-5M training step with 16 pictures
    that was a quarter to half of the time. A training needs the same memory again in the next step. The peak hardly
    changes; the process just does not shrink in between.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Large blocks from the heap, and the heap never trimmed.
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
