"""Files that are only timed, written from a network."""

from __future__ import annotations

from pathlib import Path

import torch

from phonecv.benchmarking.runtimes import RUNTIMES
from phonecv.benchmarking.subject import Subject
from phonecv.errors import UserError
from phonecv.exporting.deployable import Deployable
from phonecv.exporting.formats import get_exporter
from phonecv.exporting.job import Job
from phonecv.exporting.perform import perform
from phonecv.exporting.pictures import probe_rows


def write_for_timing(format: str, precision: str, folder: Path, subject: Subject) -> Path:
    """Write a network in a format; what comes out is compared later, by whoever times it.

    int8 gets its ranges from the same pictures: for speed alone.
    """
    exporter = get_exporter(format)
    job = job_for_timing(subject, precision, dynamic_batch=exporter.dynamic_batch)
    files = folder / "files"
    files.mkdir(parents=True)
    try:
        return perform(exporter, job, files, []).written.path
    except UserError as error:
        runtimes = " and ".join(name for name, runtime in RUNTIMES.items() if format in runtime.formats)
        raise UserError(f"{error}; leave {runtimes} out with --runtime to time {subject.name} elsewhere") from error


def job_for_timing(subject: Subject, precision: str = "float32", *, dynamic_batch: bool = True) -> Job:
    """A network as it goes into a file that is only timed."""
    assert subject.network is not None
    module, rows = Deployable(subject.network).eval(), probe_rows(subject.inputs)
    if precision == "int8" and len(rows) > 1:
        raise UserError(f"{subject.name} has no int8 form; leave int8 out with --precision")
    examples = tuple(torch.from_numpy(one[:2]) for one in rows)
    with torch.inference_mode():
        count = len(module(*examples))
    return Job(
        module=module,
        examples=examples,
        outputs=("logits",) if count == 1 else tuple(f"map{number}" for number in range(count)),
        stem="network",
        precision=precision,
        dynamic_batch=dynamic_batch,
        record={
            "model": subject.name,
            "precision": precision,
            "input_size": list(subject.size),
            "inputs": [one.to_dict() for one in subject.inputs],
        },
        calibration=rows[0] if precision == "int8" else None,
        inputs=subject.inputs,
    )
