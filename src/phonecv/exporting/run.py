"""`export`: from a network to a checked file under its final name, or to nothing at all."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save
from torch import nn

from phonecv._version import __version__
from phonecv.create import load_network
from phonecv.errors import UserError
from phonecv.exporting.checks import Limits, check_inputs, compare, expected_outputs
from phonecv.exporting.deployable import check_decoding, deployable
from phonecv.exporting.example import Example
from phonecv.exporting.formats import EXPORTERS, ONLY, Exporter, exporter_for, get_exporter
from phonecv.exporting.inputs import Arrays, Input, made_up
from phonecv.exporting.job import Job
from phonecv.exporting.opening import as_pixels
from phonecv.exporting.options import ExportOptions
from phonecv.exporting.perform import ExportFailed, perform
from phonecv.exporting.pictures import COUNT, Pictures, check_pictures
from phonecv.exporting.record import at_size, check_size, record_path
from phonecv.exporting.room import exporting_of
from phonecv.exporting.targets import claimed, destination_of
from phonecv.exporting.tracing import LEAST
from phonecv.exporting.where.finding import summary
from phonecv.files import check_writable, scratch_folder, write_json, write_text
from phonecv.models.catalog import MODELS, licence_of
from phonecv.models.fusing import fuse
from phonecv.models.headed import HeadedModel
from phonecv.models.quantized import refuse_floating_point
from phonecv.options import by_keywords
from phonecv.preprocessing import Preprocessing
from phonecv.tables import fields
from phonecv.task import done_by
from phonecv.text import counted


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written and how it was checked.

    Attributes:
        path: the main file.
        files: all that belongs to it, first the main file; the record and the test picture are among them.
        record: the JSON beside it, with preprocessing, classes and form.
        format: name in `EXPORTERS`.
        precision: of the file.
        model: catalog name, or heads and backbone.
        form: "training" or "deploy".
        size: input height and width it was traced with.
        bytes: of the files that an app needs: without the record and the test picture.
        operators: nodes of the graph.
        difference: largest absolute difference of the outputs from PyTorch's, divided by max(1, largest
            output); None if it was not checked, or nothing could be compared.
        agreement: share of pictures, or of their pixels, with PyTorch's best class; None where nothing is
            chosen or checked.
        checked_by: the runtime that ran it; empty if none did.
        remark: why nothing could be compared: no objects on either side, outputs that do not vary. Empty otherwise.
        seconds: everything, checks included.
        report: what runs outside the accelerator; see `Written`.
    """

    path: Path
    files: tuple[Path, ...]
    record: Path
    format: str
    precision: str
    model: str
    form: str
    size: tuple[int, int]
    bytes: int
    operators: int
    difference: float | None
    agreement: float | None
    checked_by: str
    seconds: float
    report: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""

    def __str__(self) -> str:
        checked = f"none to tell: {self.remark}" if self.remark else "not run"
        if self.difference is not None:
            checked = f"{self.difference:.2e} of the largest output, by {self.checked_by}"
            if self.agreement is not None:
                checked += f"; same best class for {self.agreement:.1%}"
        lines = [
            ("wrote", f"{self.path} ({self.bytes / 2**20:.2f} MiB, {counted(self.operators, 'operators')})"),
            ("record", self.record),
            ("network", f"{self.model}, {self.form} form, input {self.size[0]}x{self.size[1]}"),
            ("difference", checked),
            ("will run", summary(self.report.get("where", ()))),
            ("time", f"{self.seconds:.1f} s"),
        ]
        return fields(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        paths = {"path": str(self.path), "record": str(self.record), "files": [str(file) for file in self.files]}
        return asdict(self) | paths | {"size": list(self.size), "report": dict(self.report)}


def export_with(model: nn.Module | Path | str, destination: Path | str, options: ExportOptions) -> ExportResult:
    """Write a network in another format, run the file in that format's runtime and compare.

    Args:
        model: a network, the path of a checkpoint, or a catalog name, whose public weights are then used.
        destination: the file to write; a folder, see `phonecv.exporting.targets.is_folder`, gets ``<model><suffix>``.
        options: what to write, and how to check it.

    Returns:
        The file, its record and the difference found.

    Raises:
        UserError: bad arguments, a package is missing, the exporter failed, the outputs differ, or another export is
            writing the same file.
    """
    precision, dynamic_size, bake = options.precision, options.dynamic_size, options.bake
    own = exporter_for(destination) if options.format is None else None
    exporter = own or get_exporter("onnx" if options.format is None else options.format)
    path = destination_of(model, destination, exporter)
    check_writable(path)
    exporter.check_precision(precision)
    exporter.check_opset(options.opset)
    Limits.check(options.max_diff, options.min_agreement)
    if precision == "int8" and options.calibration is None:
        raise UserError("an int8 file needs pictures to calibrate on (`phonecv quantize` takes them); or write fp16")
    if dynamic_size and not exporter.dynamic_size:
        free = ", ".join(name for name, other in EXPORTERS.items() if other.dynamic_size)
        raise UserError(f"{exporter.title} files have one input size; formats without: {free}")
    exporter.require()
    start = time.perf_counter()
    network = in_form(load_network(model, task=None), options.form)
    task = done_by(network)
    room, limits = exporting_of(task), Limits.of(task, precision, options.max_diff, options.min_agreement)
    _check_refused(exporter, network, options.decode)
    refuse_floating_point(network, precision)
    height, width = check_size(options.size, network)
    if dynamic_size and min(height, width) < LEAST:
        raise UserError(
            f"a file of any size is traced with pictures of at least {LEAST} x {LEAST}, this network has"
            f" {height} x {width}; give a larger size (--size 64), or leave dynamic_size (--any-size) out"
        )
    taken = room.inputs(network, height, width)
    if taken[0].shape[-2:] != (height, width):
        if options.size is not None:
            raise UserError(
                f"{network.name} takes one size ({taken[0].name} {list(taken[0].shape)}); leave out the size"
            )
        height, width = taken[0].shape[-2:]
    _check_taken(taken, network, dynamic_size=dynamic_size, bake=bake, precision=precision)
    licence = licence_of(model) if options.licence is None else options.licence
    pictures = check_pictures(options.images) if taken[0].coloured or options.images is not None else None
    if pictures is None:
        rows, source = made_up(taken, COUNT), f"{COUNT} rows of made-up values"
    else:
        rows, source = (as_input(pictures.images, network, height, width, bake=bake),), pictures.source
    arrays = tuple(one.numpy() for one in rows)
    examples = tuple(one[:2].contiguous() for one in rows)
    if dynamic_size:
        network, first = room.traceable(network, examples[0])
        examples = (first.contiguous(), *examples[1:])
    module, names = deployable(
        network, bake=bake, decode=options.decode, size=None if dynamic_size else (height, width)
    )
    job = Job(
        module=module,
        examples=examples,
        outputs=names,
        stem=path.stem,
        precision=precision,
        dynamic_batch=exporter.dynamic_batch,
        dynamic_size=dynamic_size,
        record=describe(network, height, width, inputs=taken, outputs=names, bake=bake, decode=options.decode)
        | ({"licence": licence} if licence else {}),
        calibration=options.calibration,
        settings=options.settings,
        inputs=taken,
        opset=options.opset,
    )
    batches: list[Arrays] = []
    if options.verify:
        batches = check_inputs(job, arrays, dynamic_batch=exporter.dynamic_batch, dynamic_size=exporter.dynamic_size)
    expected = expected_outputs(job, batches or [tuple(array[:1] for array in arrays)])
    with claimed(path, replace=options.replace_file), scratch_folder(path) as place:
        folder = place / "files"
        folder.mkdir()
        try:
            done = perform(exporter, job, folder, batches)
        except ExportFailed as failure:
            write_text(log_of(path), failure.log)
            raise UserError(f"{failure}; whole log: {log_of(path)}") from failure
        comparison = None
        if options.verify:
            comparison = compare(
                job,
                expected,
                done.outputs,
                limits=limits,
                source=source,
                file=path.name,
                batches=batches,
            )
        tested = dict(zip(names, expected[0], strict=True))
        told = None if comparison is None or comparison.remark else comparison
        record = {
            **job.record,
            "format": exporter.format,
            "precision": precision,
            "file": path.name,
            "dynamic_batch": exporter.dynamic_batch,
            "dynamic_size": dynamic_size,
            "difference": None if told is None else told.difference,
            "checked": None if comparison is None else asdict(comparison) | {"by": done.runtime},
            "report": dict(done.written.report),
            "test": write_test(
                folder / f"{path.stem}.test",
                job,
                arrays,
                pictures,
                tested,
                Example(0, 1) if pictures is None else room.choose_example(pictures, tested, network),
            ),
        }
        main = done.written.path
        write_json(record_path(main), record)
        files = move(main, folder, path)
    # What an earlier attempt left to read is not true any more.
    log_of(path).unlink(missing_ok=True)
    return ExportResult(
        path=path,
        files=files,
        record=record_path(path),
        format=exporter.format,
        precision=precision,
        model=network.name,
        form=network.form,
        size=(height, width),
        bytes=sum(size_of(file) for file in files if file.suffix not in (".json", ".png", ".safetensors")),
        operators=done.written.operators,
        difference=None if told is None else told.difference,
        agreement=None if told is None else told.agreement,
        checked_by=done.runtime,
        seconds=time.perf_counter() - start,
        report=done.written.report,
        remark="" if comparison is None else comparison.remark,
    )


export = by_keywords(export_with, ExportOptions)


def in_form(network: Any, form: str) -> Any:
    """A copy on the CPU, float32, in evaluation mode and in the form asked for; the person's stays as it was.

    Raises:
        UserError: the training form of a fused network.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    if form == "training" and network.form == "deploy":
        raise UserError(
            f"{network.name} is in deploy form already; its branches cannot be had back for form='training'"
        )
    return fuse(network) if form == "deploy" else network


@torch.no_grad()  # in inference mode it would make tensors that no tracer takes
def as_input(
    images: Sequence[Image.Image], network: Any, height: int, width: int, *, bake: bool = False
) -> torch.Tensor:
    """RGB pictures as a file takes them, ``N 3 height width`` or a clip of each: preprocessed as the network wants."""
    batch = exporting_of(done_by(network)).input_batch(network, images, height, width)
    return torch.from_numpy(as_pixels(batch.numpy(), network.preprocessing)) if bake else batch


def describe(
    network: Any,
    height: int,
    width: int,
    *,
    inputs: tuple[Input, ...],
    outputs: tuple[str, ...],
    bake: bool,
    decode: str,
) -> dict[str, Any]:
    """The record that travels with the file; see docs/deploy.md for its fields."""
    task, spec = done_by(network), network.preprocessing
    if isinstance(network, HeadedModel):
        built = {
            "architecture": network.architecture,
            "options": network.options,
            "backbone": network.backbone_name,
            "overrides": network.backbone_overrides,
        }
    else:
        built = {"overrides": network.overrides}
    decoding = exporting_of(task).decoding(network, height, width, decode)
    state = getattr(network, "quantization", None)
    return {
        "version": __version__,
        "task": task.name,
        "model": network.name,
        "form": network.form,
        "num_classes": network.num_classes,
        "classes": list(network.class_names) if network.class_names else None,
        "input_size": [height, width],
        "input_range": "pixels 0..255" if bake else "normalised",
        "inputs": [one.to_dict() for one in inputs],
        "outputs": list(outputs),
        "decoded": decode != "raw",
        **built,
        "preprocessing": (at_size(spec, height, width) if isinstance(spec, Preprocessing) else spec).to_dict(),
        **({"decoding": decoding} if decoding else {}),
        **({"quantization": state} if state else {}),
    }


def _check_taken(taken: tuple[Input, ...], network: Any, *, dynamic_size: bool, bake: bool, precision: str) -> None:
    """Refuse what only networks of pictures can be asked for."""
    names = ", ".join(one.name for one in taken)
    if dynamic_size and not taken[0].free:
        raise UserError(f"{network.name} takes one size ({names}); leave dynamic_size (--any-size) out")
    if bake and not taken[0].coloured:
        raise UserError(f"{network.name} takes no pixels to normalise ({names}); leave bake (--bake) out")
    if precision == "int8" and not (len(taken) == 1 and taken[0].coloured):
        raise UserError(
            f"{network.name} takes {names}, and int8 files find their ranges on pictures; write float32, fp16 or"
            " int8-weights"
        )


def log_of(path: Path) -> Path:
    """Where a failed export leaves what the toolkit said."""
    return path.with_name(path.name + ".log")


def move(main: Path, folder: Path, path: Path) -> tuple[Path, ...]:
    """Give the files in `folder` their final names beside `path`, the main one last, so that it is never alone."""
    others = [file for file in sorted(folder.iterdir()) if file != main]
    moved = []
    for file in [*others, main]:
        target = path.with_name(path.stem + file.name.removeprefix(main.stem)) if file != main else path
        if target.is_dir() and not target.is_symlink():
            if not file.is_dir():
                raise UserError(f"{str(target)!r} is a folder; give the file another name")
            shutil.rmtree(target)  # a Core ML package is a folder
        file.replace(target)
        moved.append(target)
    return (moved[-1], *moved[:-1])


def write_test(
    path: Path, job: Job, rows: Arrays, pictures: Pictures | None, expected: Mapping[str, np.ndarray], example: Example
) -> dict[str, Any]:
    """A picture for the app's own test, and what PyTorch gives for it: small outputs whole, of others the figures.

    Of a network that takes anything but one picture the inputs themselves, as safetensors: a length, a table of names,
    shapes and places, and the numbers one after the other. `path` has no suffix; `example` says which of the rows, made
    of `pictures`, if any.
    """
    if pictures is not None and [one.kind for one in job.taken] == ["pictures"]:
        given = {"picture": f"{path.name}.png"}
        pictures.images[example.number].save(path.with_name(given["picture"]), compress_level=1)  # six times as fast
    else:
        given = {"inputs": f"{path.name}.safetensors"}
        row = {one.name: array[example.number][None] for one, array in zip(job.taken, rows, strict=True)}
        path.with_name(given["inputs"]).write_bytes(save(row))  # save_file would keep others from reading it
    outputs = {}
    for name, batch in expected.items():
        values = batch[example.number]
        figures = {"shape": list(values.shape), "mean": float(values.mean()), "max": float(values.max(initial=0))}
        outputs[name] = figures if values.size > 2000 else {**figures, "values": values.ravel().tolist()}
    return given | example.to_dict() | {"outputs": outputs}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _check_refused(exporter: Exporter, network: Any, decode: str) -> None:
    check_decoding(network, decode)
    name = getattr(network, "backbone_name", None) or network.name
    family = MODELS[name].family if name in MODELS else ""
    room = exporting_of(done_by(network))
    needs = room.needs(network, decode)
    if [one.kind for one in room.inputs(network, *check_size(None, network))] != ["pictures"]:
        needs = ("other inputs", *needs)
    for key in needs:
        format, why = ONLY.get(key, (exporter.format, ""))
        if format != exporter.format:
            raise UserError(
                f"{network.name} cannot be written as {exporter.title}: {why}; write {format} (--to {format})"
            )
    for key in (family, getattr(network, "architecture", ""), *needs):
        if key and key in exporter.refused:
            raise UserError(f"{network.name} cannot be written as {exporter.title}: {exporter.refused[key]}")
