"""Exported files as runners, for evaluation and prediction."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name

import torch
from torch import Tensor

from phonecv.classify.opening import Runner
from phonecv.errors import UserError
from phonecv.exporting.assumed import tell_assumed
from phonecv.exporting.formats import EXPORTERS, exporter_for
from phonecv.exporting.job import Session
from phonecv.exporting.record import at_size, preprocessing_of, record_path
from phonecv.preprocessing import Preprocessing


def open_session(path: Path | str, *, threads: int | None = None, precision: str = "float32") -> Session:
    """An exported file in its runtime, by its suffix.

    Args:
        path: the main file.
        threads: None for torch's number.
        precision: what the runtime may compute in, where it can choose.

    Raises:
        UserError: no format has this suffix, its runtime is not installed, or the file is broken.
    """
    path = Path(path)
    exporter = exporter_for(path)
    if exporter is None:
        known = ", ".join(sorted(record.suffix for record in EXPORTERS.values()))
        raise UserError(f"{path} has none of the suffixes of exported files ({known})")
    if not path.exists():
        raise UserError(f"there is no file {path}")
    exporter.require()
    return resolve_name(exporter.session)(path, threads=threads or torch.get_num_threads(), precision=precision)


def open_exported(path: Path | str) -> Runner:
    """An exported classifier for evaluation or prediction, by its suffix.

    Files without a record of ours get the usual preprocessing, which is logged.

    Raises:
        UserError: no format has this suffix, its runtime is not installed, the file is broken, or it is no classifier.
    """
    path = Path(path)
    session = open_session(path)
    record = session.record
    task = record.get("task", "classify")
    if task != "classify":
        raise UserError(f"{path} is for the task {task!r}; this needs a classifier")
    spec = preprocessing_of(record)
    preprocessing = spec if isinstance(spec, Preprocessing) else Preprocessing()
    if session.size is not None:
        if spec is None and session.size[0] == session.size[1]:
            preprocessing = at_size(preprocessing, *session.size)
        if session.size != (preprocessing.size, preprocessing.size):
            raise UserError(
                f"{path} takes {session.size[0]} x {session.size[1]} pixels; evaluation and prediction crop squares, "
                "so export with one number for the size"
            )
    side = preprocessing.size
    probe = session(torch.zeros(1, 3, side, side).numpy())
    if len(probe) != 1 or probe[0].ndim != 2:
        gives = ", ".join(str(list(output.shape)) for output in probe)
        # Only a record says how to read what else a network gives.
        lost = "" if record else f"; a detector's or segmenter's file needs its record, {record_path(path).name}"
        raise UserError(f"{path} gives {gives}; a classifier gives one table of logits, B x classes{lost}")
    tell_assumed(path, record, preprocessing, probe[0].shape[1])
    baked = record.get("input_range") == "pixels 0..255"
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))

    def run(images: Tensor) -> Tensor:
        if baked:
            images = ((images * std + mean) * 255).clamp(0, 255)
        return torch.from_numpy(session(images.numpy())[0]).float()

    names = record.get("classes")
    if names and len(names) != probe[0].shape[1]:
        raise UserError(
            f"{path} gives {probe[0].shape[1]} classes, its record names {len(names)}; one is of another file"
        )
    name, form = record.get("model") or path.name, record.get("form", "unknown")
    return Runner(
        description=f"{name}, {form} form, {session.runtime}",
        run=run,
        preprocessing=preprocessing,
        num_classes=probe[0].shape[1],
        class_names=tuple(names) if names else None,
        details={"model": name, "form": form, "runtime": session.runtime, "file": str(path)},
    )
