"""What opening an exported detector has in common with opening an exported segmenter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing


@dataclass(frozen=True, slots=True)
class DenseFile:
    """An exported detector or segmenter.

    Attributes:
        path: the file.
        run: normalised pictures -> outputs, by name.
        spec: how pictures are brought to it.
        size: the only height and width it takes, or None for any.
        decoding: what its outputs mean, see "decoding" in `docs/deploy.md`.
        description: for people.
        classes: a name for every class.
        named: whether the names are the file's own.
        outputs: their names.
        details: for reports.
    """

    path: Path
    run: Callable[[Tensor], dict[str, Tensor]]
    spec: DensePreprocessing
    size: tuple[int, int] | None
    decoding: Mapping[str, Any]
    description: str
    classes: tuple[str, ...]
    named: bool
    outputs: tuple[str, ...]
    details: dict[str, Any]


def open_dense_file(path: Path | str, task: str, wanted: Mapping[str, tuple[str, ...]]) -> DenseFile:
    """An exported file in its runtime.

    Args:
        path: the main file.
        task: "detect" or "segment"; what it has to be for.
        wanted: outputs that it must have, for each kind of decoding that can be read.

    Raises:
        UserError: it cannot be opened or is for another task.
    """
    from phonecv.exporting.opening import open_session

    path = Path(path)
    session = open_session(path)
    record = session.record
    found = record.get("task", "classify")
    if found != task:
        raise UserError(f"{path} is for the task {found!r}; this needs {task!r}")
    try:
        spec = DensePreprocessing.from_dict(record["preprocessing"])
        decoding = dict(record["decoding"])
        names, count = tuple(record["outputs"]), int(record["num_classes"])
        height, width = record["input_size"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the record of {path} lacks {error}, without which its outputs cannot be read; export it again"
        ) from error
    kind = decoding.get("kind")
    if kind not in wanted:
        raise UserError(f"the record of {path} does not say how its outputs are decoded; export it again")
    if not set(wanted[kind]) <= set(names):
        raise UserError(f"the record of {path} names no outputs {', '.join(wanted[kind])}; export it again")
    size = session.size
    if size is None and spec.longest is None:
        size = (int(height), int(width))
    baked = record.get("input_range") == "pixels 0..255"
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))

    def run(batch: Tensor) -> dict[str, Tensor]:
        if baked:
            batch = ((batch * std + mean) * 255).clamp(0, 255)
        outputs = session(np.ascontiguousarray(batch.numpy()))
        if len(outputs) != len(names):
            raise UserError(f"{path} gives {len(outputs)} outputs, its record names {len(names)}; export it again")
        return {name: torch.from_numpy(output) for name, output in zip(names, outputs, strict=True)}

    classes = record.get("classes")
    name, form = record.get("model") or path.name, record.get("form", "unknown")
    return DenseFile(
        path=path,
        run=run,
        spec=spec,
        size=size,
        decoding=decoding,
        description=f"{name}, {form} form, {session.runtime}",
        classes=tuple(classes) if classes else tuple(str(label) for label in range(count)),
        named=bool(classes),
        outputs=names,
        details={
            "architecture": record.get("architecture", ""),
            "backbone": record.get("backbone", ""),
            "form": form,
            "runtime": session.runtime,
            "file": str(path),
            "decoding": decoding.get("kind", ""),
            "preprocessing": spec.to_dict(),
        },
    )
