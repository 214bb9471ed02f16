"""From what a person names to what is timed: a catalog's network, a checkpoint, an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from phonecv.benchmarking.fresh import settle
from phonecv.benchmarking.onnx_files import count_macs, is_quantized
from phonecv.benchmarking.subject import Subject, network_subject
from phonecv.create import create_model, load_network
from phonecv.errors import UserError
from phonecv.exporting import exporter_for
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.formats import Exporter
from phonecv.exporting.inputs import Input, inputs_in, picture_input
from phonecv.exporting.opening import open_session
from phonecv.exporting.record import find_record
from phonecv.models.catalog import MODELS
from phonecv.models.fusing import fuse
from phonecv.models.names import check_named, check_no_folder


def open_subject(source: str, *, form: str = "deploy", size: int | tuple[int, int] | None = None) -> Subject:
    """A subject from a catalog name (fresh weights), "name:tag" (public weights), a checkpoint or an exported file.

    The form "deploy" fuses a network in training form, "training" times it as it is; without a size it has its own.

    Raises:
        UserError: there is no such thing, or not in this form or size.
    """
    path = Path(source)
    exporter = exporter_for(path)
    if exporter is not None and source not in MODELS:
        return _open_file(path, exporter, form, size)
    # The same weights in every run, and the caller's random numbers as they would have been.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _open_network(source, path, form, size)


def _open_network(source: str, path: Path, form: str, size: int | tuple[int, int] | None) -> Subject:
    notes = []
    if source in MODELS and not path.exists():
        network = settle(create_model(source), size=MODELS[source].preprocessing.size)
        notes.append(f"{source}: fresh weights (they do not change the time)")
    else:
        check_no_folder(path)
        check_named(source)
        network = load_network(source, task=None).eval()
    network = network.cpu().float()
    if form == "deploy" and network.form == "training":
        notes.append(f"{source}: was in training form; its deploy form is timed (--form training times it as it is)")
    elif form == "training" and network.form == "deploy":
        raise UserError(f"{source} is in deploy form already; its branches cannot be had back for --form training")
    name = network.name if source == network.name else path.stem if path.exists() else source
    if form == "deploy":
        network = fuse(network, frozen=True)  # as `predict` runs it
    return network_subject(network, name=name, form=network.form, size=size, notes=tuple(notes))


def _taken(
    path: Path, record: FileRecord, own: tuple[int, int] | None, size: int | tuple[int, int] | None
) -> tuple[tuple[int, int], tuple[Input, ...]]:
    """Height and width to time a file at, and what it takes then."""
    recorded = record.get("input_size")
    usual = own or (tuple(recorded) if recorded else (224, 224))
    height, width = usual if size is None else (size, size) if isinstance(size, int) else size
    inputs = inputs_in(record)
    fixed = own or (usual if inputs and not inputs[0].coloured else None)
    if min(height, width) < 1 or fixed not in (None, (height, width)):
        raise UserError(f"{path} takes {usual[0]}x{usual[1]} pixels, not {height}x{width}")
    if [one.kind for one in inputs] in ([], ["pictures"]):
        inputs = (picture_input(height, width, *(one.shape[0] for one in inputs)),)
    return (height, width), inputs


def _checked_form(path: Path, record: Mapping[str, Any], form: str) -> str:
    """The form of an exported file, which has to be the one asked for."""
    found = record.get("form", "unknown")
    if form == "training" and found != "training":
        raise UserError(f"{path} holds the {found} form; --form training needs a file exported with --form training")
    if form == "deploy" and found == "training":
        raise UserError(
            f"{path} was exported in training form; export it again (the deploy form is the default), or time it as it "
            "is with --form training"
        )
    return found


def _open_file(path: Path, exporter: Exporter, form: str, size: int | tuple[int, int] | None) -> Subject:
    """An exported file as a subject; what it is stands in its record.

    Raises:
        UserError: there is no such file, it is in another form or of another size, or its runtime refuses it.
    """
    if not path.exists():
        raise UserError(f"there is no file {str(path)!r}")
    exporter.require()
    record = find_record(path)
    found = _checked_form(path, record, form)
    session = open_session(path, threads=1)
    height_width, inputs = _taken(path, record, session.size, size)
    macs, batch, quantized = None, None, record.get("precision") == "int8"
    if exporter.format == "onnx":  # which tells of itself what others' files do not
        macs, batch, quantized = count_macs(path, inputs), session.batch, is_quantized(path)
    return Subject(
        name=path.stem,
        form=found,
        size=height_width,
        inputs=inputs,
        path=path,
        format=exporter.format,
        macs=macs,
        precision="int8" if quantized else "float32",
        batch=batch,
    )
