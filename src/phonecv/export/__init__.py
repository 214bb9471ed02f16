"""Exporting to the formats that phones and their runtimes read: one table, one function, one file per format.

What is written is loaded by the format's own runtime and compared with PyTorch before it gets its name.
"""

from __future__ import annotations

import copy
import importlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonecv.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from phonecv.models import VisionModel
    from phonecv.runner import Runner


@dataclass(frozen=True, slots=True)
class Exporter:
    """A format the package can write.

    Attributes:
        format: its name in `export` and on the command line.
        title: its name in tables.
        suffix: of the files, which is also how `evaluate` and `predict` recognise them.
        extra: what to install, ``pip install "phonecv[extra]"``.
        packages: import names that the extra brings.
        function: import path "module:function" of the writer, see `export`.
        runner: import path of the function that opens such a file as a `phonecv.runner.Runner`.
        dynamic_batch: one file serves every batch size.
        int8: quantized networks can be written.
        runs_here: the format has a runtime for this kind of machine, so the file is run and compared.
    """

    format: str
    title: str
    suffix: str
    extra: str
    packages: tuple[str, ...]
    function: str
    runner: str
    dynamic_batch: bool
    int8: bool
    runs_here: bool

    def missing(self) -> list[str]:
        """Packages of the extra that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]

    def require(self) -> None:
        """Check that the extra is installed.

        Raises:
            UserError: it is not; the message holds the line that installs it.
        """
        missing = self.missing()
        if missing:
            raise UserError(
                f"{self.title} needs {', '.join(missing)}, not installed here; "
                f'install with: pip install "phonecv[{self.extra}]"'
            )


EXPORTERS: dict[str, Exporter] = {
    "onnx": Exporter(
        format="onnx",
        title="ONNX",
        suffix=".onnx",
        extra="onnx",
        packages=("onnx", "onnxscript", "onnxruntime"),
        function="phonecv.export.onnx:export_onnx",
        runner="phonecv.export.onnx:open_onnx",
        dynamic_batch=True,
        int8=False,
        runs_here=True,
    ),
}


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written and how it was checked.

    Attributes:
        path: the file.
        record: the JSON beside it, with preprocessing, classes and form.
        format: name in `EXPORTERS`.
        model: catalog name.
        form: "training" or "deploy".
        size: input height and width.
        bytes: of the file.
        operators: nodes of the graph.
        difference: largest absolute difference of the outputs from PyTorch's, divided by max(1, largest
            output); None if it was not checked.
        seconds: everything, checks included.
    """

    path: Path
    record: Path
    format: str
    model: str
    form: str
    size: tuple[int, int]
    bytes: int
    operators: int
    difference: float | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"path": str(self.path), "record": str(self.record), "size": list(self.size)}


def get_exporter(format: str) -> Exporter:
    """The record of a format.

    Raises:
        UserError: there is no such format.
    """
    if format not in EXPORTERS:
        known = ", ".join(EXPORTERS)
        raise UserError(f"unknown export format {format!r}{did_you_mean(format, EXPORTERS)} (known: {known})")
    return EXPORTERS[format]


def export(
    model: VisionModel | Path | str,
    destination: Path | str,
    *,
    format: str = "onnx",
    form: str = "deploy",
    size: int | tuple[int, int] | None = None,
    verify: bool = True,
    max_diff: float = 1e-4,
) -> ExportResult:
    """Write a network in another format, run the file in that format's runtime and compare.

    Args:
        model: a network, the path of a checkpoint, or a catalog name, whose public weights are then used.
        destination: the file to write; a folder gets ``<model><suffix>``.
        format: a key of `EXPORTERS`.
        form: "deploy" fuses the network first (a copy); "training" exports it as it is.
        size: input height and width, one number for a square; None for the size of its preprocessing.
        verify: run the file and compare; False only writes it.
        max_diff: largest difference allowed, see `ExportResult.difference`.

    Returns:
        The file, its record and the difference found.

    Raises:
        UserError: bad arguments, a package is missing, the exporter failed, or the outputs differ.
    """
    exporter = get_exporter(format)
    path = _destination(model, destination, exporter)
    if form not in ("deploy", "training"):
        raise UserError(f"form {form!r} is not one of deploy, training")
    if not 0 < max_diff < 1:
        raise UserError(f"max_diff {max_diff!r} is not between 0 and 1; the usual value is 1e-4")
    exporter.require()
    from phonecv.create import load_network
    from phonecv.fuse import fuse

    start = time.perf_counter()
    network = copy.deepcopy(load_network(model)).cpu().float().eval()  # the person's stays as it was
    if form == "training" and network.form == "deploy":
        raise UserError(
            f"{network.name} is in deploy form already; its branches cannot be had back for form='training'"
        )
    if form == "deploy":
        network = fuse(network)
    height, width = check_size(size, network)
    details = resolve(exporter.function)(network, path, height, width, verify, max_diff)
    return ExportResult(
        path=path,
        record=record_path(path),
        format=format,
        model=network.name,
        form=network.form,
        size=(height, width),
        bytes=path.stat().st_size,
        operators=details["operators"],
        difference=details["difference"],
        seconds=time.perf_counter() - start,
    )


def open_exported(path: Path | str) -> Runner:
    """Open an exported file for evaluation or prediction, by its suffix.

    Raises:
        UserError: no format has this suffix, its runtime is not installed, or the file is broken.
    """
    path = Path(path)
    exporter = exporter_for(path)
    if exporter is None:
        known = ", ".join(sorted(record.suffix for record in EXPORTERS.values()))
        raise UserError(f"{path} has none of the suffixes of exported files ({known})")
    exporter.require()
    return resolve(exporter.runner)(path)


def exporter_for(path: Path | str) -> Exporter | None:
    """The format whose suffix a path has, or None."""
    suffix = Path(path).suffix.lower()
    return next((record for record in EXPORTERS.values() if record.suffix == suffix), None)


def record_path(path: Path) -> Path:
    """Where the JSON record of an exported file lies: its full name and ".json", as x.onnx.json."""
    return path.with_name(path.name + ".json")


def check_size(size: int | tuple[int, int] | None, network: VisionModel) -> tuple[int, int]:
    """Input height and width as two numbers.

    Raises:
        UserError: not positive.
    """
    if size is None:
        size = network.preprocessing.size
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise UserError(f"input size {height}x{width} is not positive; the model's own is {network.preprocessing.size}")
    return height, width


def resolve(import_path: str) -> Callable[..., Any]:
    """The function behind "module:name", imported now."""
    module, _, name = import_path.partition(":")
    return getattr(importlib.import_module(module), name)


def _destination(model: object, destination: Path | str, exporter: Exporter) -> Path:
    path = Path(destination)
    if path.is_dir():
        stem = Path(model).stem if isinstance(model, str | Path) else (getattr(model, "name", "") or "model")
        return path / f"{stem}{exporter.suffix}"
    if path.suffix.lower() != exporter.suffix:
        raise UserError(f"{path} does not end in {exporter.suffix}; try {path.with_suffix(exporter.suffix)}")
    return path
