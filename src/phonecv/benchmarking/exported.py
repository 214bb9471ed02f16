"""Files of the formats beside ONNX: written from a network for timing, and what they should give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from phonecv.benchmarking.subject import Subject
from phonecv.errors import UserError
from phonecv.exporting.deployable import Deployable
from phonecv.exporting.formats import get_exporter
from phonecv.exporting.job import Job
from phonecv.exporting.opening import open_session
from phonecv.exporting.perform import perform


def write_for_timing(
    network: nn.Module, format: str, precision: str, images: np.ndarray, folder: Path, name: str
) -> Path:
    """Write a network in a format; what comes out is compared later, by whoever times it.

    int8 gets its ranges from the same pictures: for speed alone.

    Args:
        network: in evaluation mode.
        format: a key of `phonecv.exporting.EXPORTERS`.
        precision: float32 or int8.
        images: probe pictures.
        folder: for the files; made here.
        name: of the network, for messages.

    Raises:
        UserError: the format cannot hold it, or its toolkit fails.
    """
    exporter = get_exporter(format)
    module = Deployable(network).eval()
    with torch.inference_mode():
        count = len(module(torch.from_numpy(images[:1])))
    job = Job(
        module=module,
        example=torch.from_numpy(images[:2]),
        outputs=("logits",) if count == 1 else tuple(f"map{number}" for number in range(count)),
        stem="network",
        precision=precision,
        dynamic_batch=exporter.dynamic_batch,
        record={"model": name, "precision": precision, "input_size": list(images.shape[2:])},
        calibration=images if precision == "int8" else None,
    )
    files = folder / "files"
    files.mkdir(parents=True)
    try:
        return perform(exporter, job, files, []).written.path
    except UserError as error:
        raise UserError(f"{error}; leave {format} out with --runtime to time {name} elsewhere") from error


def own_outputs(subject: Subject, images: np.ndarray) -> list[np.ndarray]:
    """What a file gives in its format's own runtime: of a file alone nothing else is known."""
    assert subject.path is not None
    return [np.asarray(value, np.float32) for value in open_session(subject.path, threads=1)(images)]
