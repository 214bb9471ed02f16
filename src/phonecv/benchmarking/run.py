"""`bench`: prepares files, starts a process for each number of threads, and puts together what they found."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from phonecv.benchmarking.candidates import Job
from phonecv.benchmarking.machine import Peaks, describe_machine, disturbances
from phonecv.benchmarking.opening import open_subject
from phonecv.benchmarking.options import BenchOptions
from phonecv.benchmarking.plan import Entry, check_numbers, pick_baseline, plan
from phonecv.benchmarking.prepare import prepare
from phonecv.benchmarking.report import BenchResult, Row, share_of_peak
from phonecv.benchmarking.subject import Subject
from phonecv.benchmarking.timing import Timing, ratios
from phonecv.devices import pick_device
from phonecv.errors import UserError
from phonecv.options import by_keywords
from phonecv.training.threads import usable_cores

log = logging.getLogger("phonecv.benchmarking")

#: What decides how OpenMP's threads wait.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def bench_with(models: Sequence[str], options: BenchOptions) -> BenchResult:
    """Time networks side by side.

    All candidates of a batch size and a number of threads take turns in one process, round by round; figures are
    medians of the rounds, ratios are taken round by round. Before, the outputs of each are compared with PyTorch's
    in float32.

    Args:
        models: catalog names (timed with fresh weights), "name:tag" for public weights, checkpoints, exported files.
        options: what to time of them, where, and for how long.

    Raises:
        UserError: anything unknown or impossible, or a candidate whose outputs are wrong.
    """
    start = time.perf_counter()
    place = pick_device(options.device)
    cpu = place.type == "cpu"
    chosen = tuple(dict.fromkeys(options.threads or ((1, usable_cores()) if cpu else (usable_cores(),))))
    batches = tuple(dict.fromkeys(options.batches))
    check_numbers(batches, chosen, options.rounds, options.seconds)
    subjects = [open_subject(source, form=options.form, size=options.size) for source in dict.fromkeys(models)]
    _check_subjects(subjects, batches)
    entries, skipped = plan(
        subjects, runtimes=options.runtimes, precisions=options.precisions, layout=options.layout, device=str(place)
    )
    base = pick_baseline(options.baseline, [entry.label for entry in entries])
    warnings = disturbances()
    rows, peaks = measure(
        entries, baseline=base, batches=batches, threads=chosen, device=str(place), rounds=options.rounds,
        seconds=options.seconds, memory=options.memory,
    )  # fmt: skip
    result = BenchResult(
        rows=tuple(rows),
        skipped=tuple(skipped),
        baseline=base,
        peaks=tuple(peaks),
        warnings=tuple(warnings),
        notes=tuple(note for subject in subjects for note in subject.notes),
        machine=describe_machine(),
        date=time.strftime("%Y-%m-%d"),
        seconds=time.perf_counter() - start,
    )
    if options.out is not None:
        result.save(options.out)
    return result


bench = by_keywords(bench_with, BenchOptions)


def measure(
    entries: Sequence[Entry],
    *,
    baseline: str,
    batches: Sequence[int],
    threads: Sequence[int],
    device: str = "cpu",
    rounds: int = 30,
    seconds: float | None = 15.0,
    warmup: int = 20,
    memory: bool = False,
    peaks: bool = True,
) -> tuple[list[Row], list[Peaks]]:
    """Time entries in turns; see `bench`.

    Returns:
        A row for each entry, batch size and number of threads, and the machine's peaks for each number of threads.
    """
    labels = [entry.label for entry in entries]
    if len(set(labels)) < len(labels):
        raise UserError(f"two candidates are called {max(labels, key=labels.count)!r}; rename a file")
    rows, found_peaks = [], []
    with tempfile.TemporaryDirectory(prefix="phonecv-bench-") as folder:
        candidates = prepare(entries, Path(folder))
        job = Job(
            tuple(candidates), tuple(batches), 1, device, rounds=rounds, seconds=seconds, warmup=warmup, peaks=peaks
        )
        held: dict[tuple[str, int], float | None] = {}
        if memory and device == "cpu":
            log.info("measuring the memory of %d candidates", len(candidates))
            for candidate in candidates:
                for batch in batches:
                    alone = replace(job, candidates=(candidate,), batches=(batch,), threads=min(threads), memory=True)
                    held[candidate.label, batch] = start_worker(alone, Path(folder))["memory_mb"]
        for count in threads:
            log.info(
                "timing %d candidates, batch %s, %d thread%s", len(candidates), ", ".join(map(str, batches)), count,
                "s" * (count > 1),
            )  # fmt: skip
            found = start_worker(replace(job, threads=count), Path(folder))
            reached = Peaks(**found["peaks"]) if found["peaks"] else None
            found_peaks += [reached] if reached else []
            for group in found["groups"]:
                rows += _rows(entries, group, baseline, count, device, reached, held)
    return rows, found_peaks


def _check_subjects(subjects: Sequence[Subject], batches: Sequence[int]) -> None:
    for subject in subjects:
        for batch in batches:
            if subject.batch not in (None, batch):
                raise UserError(
                    f"{subject.path} takes {subject.batch} pictures at once, not {batch}; use --batch {subject.batch}"
                )


def start_worker(job: Job, folder: Path) -> dict[str, Any]:
    """Run a job in a process of its own."""
    task, result = folder / "job.json", folder / "result.json"
    result.unlink(missing_ok=True)
    job.write(task)
    # The command line lets OpenMP's threads sleep early, for the sake of others on the machine. On small layers that
    # costs: MobileOne-S0 on two threads took 3.4 times as long when they slept at once. Timings are of the default.
    environment = {key: value for key, value in os.environ.items() if key not in _WAITING}
    # Modules that the pickled networks need lie where this process found them.
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "phonecv.benchmarking.worker", str(task), str(result)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise UserError(
            f"the timing process was ended by signal {-done.returncode}"
            + ("; most likely there was not enough memory, try a smaller --batch" if done.returncode == -9 else "")
        )
    if done.returncode or not result.exists():
        raise RuntimeError(f"the timing process failed:\n{done.stderr.strip()}")
    found = json.loads(result.read_text(encoding="utf-8"))
    if "error" in found:
        raise UserError(found["error"])
    return found


def _rows(
    entries: Sequence[Entry],
    group: dict[str, Any],
    baseline: str,
    threads: int,
    device: str,
    peaks: Peaks | None,
    held: dict[tuple[str, int], float | None],
) -> list[Row]:
    batch = group["batch"]
    timings = {label: Timing(tuple(times)) for label, times in group["times"].items()}
    against = ratios(timings, baseline)
    rows = []
    for entry in entries:
        timing, details, ratio = timings[entry.label], group["details"][entry.label], against[entry.label]
        macs = entry.subject.macs
        gflops = None if macs is None else 2 * macs * batch / timing.median / 1e9
        peak = peaks.gflops.get(entry.precision) if peaks else None
        rows.append(
            Row(
                network=entry.subject.name,
                form=entry.subject.form,
                runtime=entry.runtime,
                precision=entry.precision,
                layout=details["layout"],
                device=device,
                height=entry.subject.size[0],
                width=entry.subject.size[1],
                batch=batch,
                threads=threads,
                rounds=len(timing.times),
                median_ms=timing.median * 1e3,
                p10_ms=timing.p10 * 1e3,
                p90_ms=timing.p90 * 1e3,
                images_per_second=batch / timing.median,
                ratio=ratio.median,
                ratio_low=ratio.low,
                ratio_high=ratio.high,
                memory_mb=details.get("memory_mb", held.get((entry.label, batch))),
                gflops=gflops,
                share_of_peak=share_of_peak(gflops, peak),
                difference=details["difference"],
                label=entry.label,
                times_ms=tuple(round(value * 1e3, 5) for value in timing.times),
            )
        )
    return rows
