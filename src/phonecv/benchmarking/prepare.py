"""The files that candidates are loaded from: networks, exported files, pictures and what should come out for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from phonecv.benchmarking.candidates import Candidate
from phonecv.benchmarking.exported import write_for_timing
from phonecv.benchmarking.plan import Entry
from phonecv.benchmarking.runtimes import LIMITS, RUNTIMES
from phonecv.benchmarking.subject import Subject
from phonecv.benchmarking.torch_calls import arrays
from phonecv.errors import UserError
from phonecv.exporting.inputs import Arrays
from phonecv.exporting.onnx.int8 import quantize_file
from phonecv.exporting.opening import open_session
from phonecv.exporting.pictures import probe_rows

log = logging.getLogger("phonecv.benchmarking")


def prepare(entries: Sequence[Entry], folder: Path) -> list[Candidate]:
    """Write the files that the candidates are loaded from: networks, ONNX, int8 ONNX, pictures and expected outputs."""
    files: dict[tuple[int, str], str] = {}
    candidates = []
    for entry in entries:
        subject, key = entry.subject, id(entry.subject)
        stem = folder / str(len(files))
        if (key, "probe") not in files:
            given = probe_rows(subject.inputs)
            np.savez(stem.with_suffix(".npz"), *given, *expected_outputs(subject, given))
            files[key, "probe"] = str(stem.with_suffix(".npz"))
        kind = _kind(entry)
        if (key, kind) not in files:
            files[key, kind] = str(_prepared(entry, kind, files, stem))
        candidates.append(
            Candidate(
                label=entry.label,
                runtime=entry.runtime,
                precision=entry.precision,
                layout=entry.layout,
                probe=files[key, "probe"],
                inputs=len(subject.inputs),
                file=files[key, kind],
                limit=LIMITS[entry.precision],
            )
        )
    return candidates


def _kind(entry: Entry) -> str:
    """Which file an entry is timed from: the network, a format, or that format in int8."""
    formats = RUNTIMES[entry.runtime].formats
    if not formats:
        return "network"
    # What a convolution gives stays float there until its activation is done, which OpenVINO fuses: 0.56 of float32's
    # time for EMO-5M, where an ONNX file in int8 took 0.70.
    own = formats[-1 if entry.precision == "int8" else 0]
    chosen = entry.subject.format if entry.subject.path is not None else own
    quantized = entry.precision == "int8" and entry.subject.precision != "int8"
    return f"{chosen}-int8" if quantized else chosen


def _prepared(entry: Entry, kind: str, files: dict[tuple[int, str], str], stem: Path) -> Path:
    """Make such a file, from others where it needs them; the person's own stays where it is."""
    subject, (format_, _, low) = entry.subject, kind.partition("-")
    if kind == "network":
        torch.save(subject.network, stem.with_suffix(".pt"))
        return stem.with_suffix(".pt")
    if subject.path is not None and not low:
        return subject.path
    log.info("exporting %s for %s%s", subject.name, RUNTIMES[entry.runtime].title, f" in {low}" * bool(low))
    if format_ != "onnx" or not low:
        return write_for_timing(format_, low or "float32", stem.with_suffix(".files"), subject)
    if (id(subject), "onnx") not in files:
        whole = stem.with_name(f"{stem.name}-whole")
        files[id(subject), "onnx"] = str(_prepared(entry, "onnx", files, whole))
    path = stem.with_suffix(".int8.onnx")
    (images,) = probe_rows(subject.inputs)
    quantize_file(Path(files[id(subject), "onnx"]), images, path)  # ranges of these pictures: for speed alone
    return path


def expected_outputs(subject: Subject, rows: Arrays) -> list[np.ndarray]:
    """The outputs that count: PyTorch's in float32; of a file alone, those of its own runtime, one thread."""
    if subject.network is not None:
        with torch.inference_mode():
            outputs = arrays(subject.network(*map(torch.from_numpy, rows)))
    else:
        assert subject.path is not None
        outputs = [np.asarray(value, np.float32) for value in open_session(subject.path, threads=1)(*rows)]
    if not all(np.isfinite(value).all() for value in outputs):
        raise UserError(f"the outputs of {subject.name} are not finite; its weights are broken")
    return outputs
