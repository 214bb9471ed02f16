"""The process that times: one for each number of threads, so that no runtime has to change the size of its pool.

``python -m phonecv.benchmarking.worker JOB RESULT`` reads a `Job` and writes what it found, both JSON.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.benchmarking.calls import Call, difference
from phonecv.benchmarking.candidates import Candidate, Job, make_call, probe
from phonecv.benchmarking.memory import measure_memory
from phonecv.errors import UserError
from phonecv.files import write_json


def check(candidate: Candidate, call: Call, expected: list[np.ndarray]) -> float:
    """How far outputs are from PyTorch's float32, within the candidate's limit: a fast wrong answer is no result."""
    found = difference(call.outputs(), expected)
    if not np.isfinite(found):
        raise UserError(f"{candidate.label} gives outputs of another shape, or not finite; it was not timed")
    if candidate.limit is not None and found > candidate.limit:
        raise UserError(
            f"{candidate.label} gives wrong outputs: they differ from PyTorch's float32 by {found:.1e} of the largest, "
            f"{candidate.limit:g} is the limit; it was not timed"
        )
    return found


def run_group(job: Job, batch: int) -> dict[str, Any]:
    """Build, check and time all candidates at one batch size: by label seconds of each round, and facts."""
    import torch

    from phonecv.benchmarking.timing import interleave

    calls, facts = {}, {}
    cuda = job.device.partition(":")[0] == "cuda"
    for candidate in job.candidates:
        given, expected = probe(candidate, batch)
        before = _watch_gpu(job.device) if cuda else 0
        call = make_call(candidate, job, given)
        # Files that were judged on pictures come without outputs to compare with.
        off = check(candidate, call, expected) if expected else None
        details: dict[str, Any] = {"layout": call.layout, "difference": off}
        if cuda and candidate.runtime in ("eager", "compiled"):
            details["memory_mb"] = (torch.cuda.max_memory_allocated(job.device) - before) / 1e6
        calls[candidate.label], facts[candidate.label] = call.run, details
    timings = interleave(calls, rounds=job.rounds, warmup=job.warmup, seconds=job.seconds)
    times = {label: list(timing.times) for label, timing in timings.items()}
    return {"batch": batch, "times": times, "details": facts}


def _watch_gpu(device: str) -> int:
    """Start the GPU's peak anew; the bytes held now."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def time_all(job: Job) -> dict[str, Any]:
    """Everything a timing job asks for."""
    import torch

    from phonecv.benchmarking.machine import measure_peaks

    torch.set_num_threads(job.threads)
    torch.backends.cudnn.benchmark = True
    # Before and after, because a peak measured in a slow moment would flatter everybody.
    before = measure_peaks(job.threads, device=job.device) if job.peaks else None
    found: dict[str, Any] = {"groups": [run_group(job, batch) for batch in job.batches], "peaks": None}
    if before is not None:
        after = measure_peaks(job.threads, device=job.device)
        found["peaks"] = asdict(before.higher(after))
    return found


def main(job_path: str, result_path: str) -> int:
    """Do a job; a mistake of the person is a result, too."""
    job = Job.read(Path(job_path))
    if job.threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    try:
        found = measure_memory(job) if job.memory else time_all(job)
    except UserError as error:
        found = {"error": str(error)}
    write_json(result_path, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
