"""Files of the formats beside ONNX: as subjects, written from a network for timing, and what they should give."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from phonecv.errors import UserError
from phonecv.exporting.deployable import Deployable
from phonecv.exporting.formats import Exporter, get_exporter
from phonecv.exporting.job import Job
from phonecv.exporting.opening import open_session
from phonecv.exporting.perform import perform
from phonecv.exporting.record import find_record

if TYPE_CHECKING:
    from phonecv.benchmarking.subject import Subject


def open_file(path: Path, exporter: Exporter, form: str, size: int | tuple[int, int] | None) -> Subject:
    """An exported file as a subject; what it is stands in its record.

    Raises:
        UserError: there is no such file, it is in another form or of another size, or its runtime refuses it.
    """
    from phonecv.benchmarking.subject import Subject

    if not path.exists():
        raise UserError(f"there is no file {str(path)!r}")
    exporter.require()
    record = find_record(path)
    found = record.get("form", "unknown")
    if form == "training" and found != "training":
        raise UserError(f"{path} holds the {found} form; --form training needs a file exported with --form training")
    if form == "deploy" and found == "training":
        raise UserError(f"{path} was exported in training form; export it again, or time it with --form training")
    session = open_session(path, threads=1)
    own = session.size or tuple(record.get("input_size", ())) or (224, 224)
    height, width = own if size is None else (size, size) if isinstance(size, int) else size
    if session.size is not None and (height, width) != session.size:
        raise UserError(f"{path} takes {own[0]}x{own[1]} pixels, not {height}x{width}")
    return Subject(
        name=path.stem,
        form=found,
        size=(height, width),
        path=path,
        format=exporter.format,
        precision="int8" if record.get("precision") == "int8" else "float32",
    )


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
