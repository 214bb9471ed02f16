"""Formats for tests of the common flow: the whole module in a file, read by PyTorch, and writers that fail."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import torch

from phonecv.detect.exporting_boxes import final
from phonecv.errors import UserError
from phonecv.exporting.formats import Exporter
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.record import read_record


def fake(function: str = "write", session: str = "open_session", *, isolated: bool = False) -> Exporter:
    """A row for `EXPORTERS`."""
    return Exporter(
        format="fake",
        title="Fake",
        suffix=".fake",
        parts=(".part",),
        extra="fake",
        packages=("torch",),
        function=f"exporting.fake_formats:{function}",
        session=f"exporting.fake_formats:{session}",
        dynamic_batch=True,
        dynamic_size=True,
        precisions=("float32", "fp16"),
        isolated=isolated,
        checked_by="PyTorch",
    )


def write(job: Job, folder: Path) -> Written:
    path = folder / f"{job.stem}.fake"
    torch.save(job.module, path)
    path.with_suffix(".part").write_text("weights")
    print("written")
    return Written(path, 3, {"process": os.getpid()})


def write_good(job: Job, folder: Path) -> Written:
    """Under another suffix, for two formats in one call."""
    path = folder / f"{job.stem}.good"
    torch.save(job.module, path)
    return Written(path, 3)


def refuse(job: Job, folder: Path) -> Written:
    (folder / f"{job.stem}.fake").write_text("half a file")
    raise UserError(f"Fake cannot hold {job.stem}")


def fail(job: Job, folder: Path) -> Written:
    (folder / f"{job.stem}.fake").write_text("half a file")
    print("what the exporter said")
    raise RuntimeError("unsupported thing\nsecond line")


def interrupt(job: Job, folder: Path) -> Written:
    (folder / f"{job.stem}.fake").write_text("half a file")
    raise KeyboardInterrupt


def crash(job: Job, folder: Path) -> Written:
    print("about to crash", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    module = torch.load(path, weights_only=False)

    @torch.inference_mode()
    def run(images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in module(torch.from_numpy(images))]

    return Session(run, f"Fake {threads}", record=read_record(path))


def open_shifted(path: Path, *, threads: int, precision: str = "float32") -> Session:
    honest = open_session(path, threads=threads)
    return Session(lambda images: [output + 0.01 * np.abs(output).max() for output in honest.run(images)], "Fake")


def open_swapped(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """The second best class overtakes the best."""
    honest = open_session(path, threads=threads)

    def run(images: np.ndarray) -> list[np.ndarray]:
        (logits,) = honest.run(images)
        rows, second = np.arange(len(logits)), logits.argsort(1)[:, -2]
        logits[rows, second] = logits.max(1) + 0.05 * np.abs(logits).max()
        return [logits]

    return Session(run, "Fake")


def open_nan(path: Path, *, threads: int, precision: str = "float32") -> Session:
    honest = open_session(path, threads=threads)
    return Session(lambda images: [np.full_like(output, np.nan) for output in honest.run(images)], "Fake")


def open_other_shape(path: Path, *, threads: int, precision: str = "float32") -> Session:
    honest = open_session(path, threads=threads)
    return Session(lambda images: [output[:, :-1] for output in honest.run(images)], "Fake")


def open_moved(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """A detector's boxes, half a pixel off."""
    honest = open_session(path, threads=threads)

    def run(images: np.ndarray) -> list[np.ndarray]:
        boxes, *others = honest.run(images)
        return [boxes + 0.5, *others]

    return Session(run, "Fake")


def _changed(path: Path, **changes: float) -> Session:
    """A detector whose suppression has other settings."""
    module = torch.load(path, weights_only=False)
    for name, value in changes.items():
        assert getattr(module.network, name) != value
        setattr(module.network, name, value)

    @torch.inference_mode()
    def run(images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in module(torch.from_numpy(images))]

    return Session(run, "Fake")


def open_doubled(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """Nothing is suppressed."""
    return _changed(path, overlap=1.0)


def open_strict(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """Boxes that are not so sure are missing."""
    return _changed(path, threshold=0.45)


def open_unsorted(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """Suppression goes through the boxes from the least sure one up."""
    module = torch.load(path, weights_only=False)
    inner = module.network

    @torch.inference_mode()
    def run(images: np.ndarray) -> list[np.ndarray]:
        offered = inner.offered(module.normalised(torch.from_numpy(images)), inner.candidates)
        rules = {"threshold": inner.threshold, "overlap": inner.overlap, "keep": inner.keep}
        return [output.numpy() for output in final(*(values.flip(1) for values in offered), **rules)]

    return Session(run, "Fake")


def open_crashing(path: Path, *, threads: int, precision: str = "float32") -> Session:
    def run(images: np.ndarray) -> list[np.ndarray]:
        os.kill(os.getpid(), signal.SIGSEGV)
        return []

    return Session(run, "Fake")
