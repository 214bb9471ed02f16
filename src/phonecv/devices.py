"""Devices and what they compute in; torch is imported when it is asked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from phonecv.errors import UserError

if TYPE_CHECKING:
    import torch

#: Arithmetic of evaluation by the names of torch's types; "none" is float32.
AMP_TYPES = {"none": "float32", "bf16": "bfloat16", "fp16": "float16"}

#: Below this many pictures, starting loader processes costs more than it gives where each is read once.
WORKERS_FROM = 256

_log = logging.getLogger("phonecv")


def usable_cores() -> int:
    """Cores that this process may use: its affinity mask, and the container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, _, period = quota.read_text().partition(" ")
        if limit.isdigit():
            cores = min(cores, max(1, round(int(limit) / int(period))))
    return cores


def default_workers() -> int:
    """Loader processes that suit this machine: one per usable core, less one for the training, at most 8."""
    return max(0, min(8, usable_cores() - 1))


def eval_workers(count: int, workers: int | None = None) -> int:
    """Loader processes for so many pictures that are read once: as many as are asked for, or what pays off."""
    return workers if workers is not None else default_workers() if count >= WORKERS_FROM else 0


def computes_bf16() -> bool:
    """Whether the processor has instructions for products in bfloat16 (x86: AVX512-BF16 or AMX)."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())


def low_precision(amp: str, device: torch.device) -> torch.dtype | None:
    """The type to autocast to, of `AMP_TYPES`, or None; says so where the device only imitates it."""
    if device.type == "cpu" and (amp == "fp16" or (amp == "bf16" and not computes_bf16())):
        _log.warning(
            "this processor does not compute in %s: it is imitated, slower than float32, and another machine may round"
            " otherwise; leave amp out for figures to keep",
            amp,
        )
    import torch

    return None if amp == "none" else getattr(torch, AMP_TYPES[amp])


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or a GPU if there is one."""
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]})") from error
    return chosen


#: Pixels of the batch that a CPU takes at once: eight pictures of 224 px. The maps of larger batches do not stay in the
#: caches, and glibc gives their memory back to the system after every layer: MobileOne-S0 took twice as long per
#: picture with 64.
CPU_PIXELS = 8 * 224 * 224


def cpu_batch(height: int, width: int) -> int:
    """How many pictures a CPU should take at once."""
    return max(1, CPU_PIXELS // (height * width))


@contextmanager
def torch_threads(threads: int | None) -> Iterator[int]:
    """So many threads for PyTorch inside, or as many as it has; gives how many."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield threads or before
    finally:
        torch.set_num_threads(before)
