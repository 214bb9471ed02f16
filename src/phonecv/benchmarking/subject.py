"""What is benched: a network or an exported file, in the form it would be used in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from phonecv.benchmarking.count import count_cost
from phonecv.benchmarking.fresh import settle
from phonecv.create import create_model, load_network
from phonecv.dense import DenseModel, RawOutputs
from phonecv.errors import UserError, did_you_mean
from phonecv.exporting import check_size, exporter_for
from phonecv.models import VisionModel
from phonecv.models.catalog import MODELS
from phonecv.models.fusing import fuse


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to time.

    Attributes:
        name: in the table.
        form: "deploy", "training", or what a foreign network or file is.
        size: input height and width.
        network: in evaluation mode; None for an exported file.
        path: the exported file.
        format: of the exported file, a key of `phonecv.exporting.EXPORTERS`.
        macs: multiply-adds that run for one picture; None where they cannot be counted.
        precision: "int8" for a file that is quantized already.
        batch: the only batch size a file takes, or None for any.
        notes: what was done to it, for people.
    """

    name: str
    form: str
    size: tuple[int, int]
    network: nn.Module | None = None
    path: Path | None = None
    format: str = "onnx"
    macs: int | None = None
    precision: str = "float32"
    batch: int | None = None
    notes: tuple[str, ...] = ()


def open_subject(source: str, *, form: str = "deploy", size: int | tuple[int, int] | None = None) -> Subject:
    """A subject from a catalog name (fresh weights), "name:tag" (public weights), a checkpoint or an exported file.

    Args:
        source: what names it.
        form: "deploy" fuses a network in training form; "training" times it as it is.
        size: input side, or (height, width); None for the network's own.

    Raises:
        UserError: there is no such thing, or not in this form or size.
    """
    path = Path(source)
    exporter = exporter_for(path)
    if exporter is not None and source not in MODELS:
        if exporter.format == "onnx":
            return _open_file(path, form, size)
        from phonecv.benchmarking.exported import open_file

        return open_file(path, exporter, form, size)
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
        _check_exists(source, path)
        network = load_network(source, dense=True).eval()
    network = network.cpu().float()
    if form == "deploy" and network.form == "training":
        network = fuse(network)
        notes.append(f"{source}: was in training form; its deploy form is timed (--form training times it as it is)")
    elif form == "training" and network.form == "deploy":
        raise UserError(f"{source} is in deploy form already; its branches cannot be had back for --form training")
    name = network.name if source == network.name else path.stem if path.exists() else source
    return network_subject(network, name=name, form=network.form, size=size, notes=tuple(notes))


def network_subject(
    network: nn.Module,
    *,
    name: str,
    form: str,
    size: int | tuple[int, int] | None = None,
    notes: tuple[str, ...] = (),
) -> Subject:
    """A subject from a network; one that is not ours needs a size.

    Of a detector or segmenter the network alone is timed, from normalised pictures to the heads' raw outputs.
    """
    if isinstance(network, VisionModel):
        height_width = check_size(size, network)
    elif isinstance(network, DenseModel):
        height_width = check_size(size, network)
        notes = (*notes, f"{name}: {_what_is_timed(network)}")
        network = RawOutputs(network)
    elif size is None:
        raise UserError(f"{name} is no network of this package, so its input size must be given")
    else:
        height_width = (size, size) if isinstance(size, int) else size
    macs = count_cost(network, height_width).executed_macs
    return Subject(name=name, form=form, size=height_width, network=network.eval(), macs=macs, notes=notes)


def _what_is_timed(network: DenseModel) -> str:
    if network.task == "segment":
        return "backbone and heads are timed, not the resizing of their logits"
    if getattr(network, "masks", False):
        return "backbone, pyramid and proposals are timed, not the second stage, which works on single boxes"
    return "backbone and heads are timed, not the decoding of boxes and the suppression of doubles"


def _check_exists(source: str, path: Path) -> None:
    name = source.partition(":")[0]
    if path.is_dir():
        raise UserError(f"{source!r} is a folder; give a checkpoint in it, such as {str(path / 'best.safetensors')!r}")
    if not path.exists() and name not in MODELS:
        if path.suffix or len(path.parts) > 1:
            raise UserError(f"there is no file {source!r}")
        raise UserError(
            f"there is no network and no file {source!r}{did_you_mean(name, MODELS)}; `phonecv models` lists "
            "the networks"
        )


def _open_file(path: Path, form: str, size: int | tuple[int, int] | None) -> Subject:
    """An exported file; what it is stands in it, when we wrote it."""
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}")
    exporter = exporter_for(path)
    assert exporter is not None
    exporter.require()
    from phonecv.benchmarking.onnx_files import count_macs, is_quantized
    from phonecv.exporting.onnx.exporter import metadata_record, refuse_outside_weights

    graph = refuse_outside_weights(path)
    record = metadata_record(graph, path)
    taken = graph.graph.input[0].type.tensor_type.shape.dim if graph.graph.input else []
    if len(graph.graph.input) != 1 or len(taken) != 4:
        raise UserError(f"{path} does not take one batch of pictures, B x 3 x H x W")
    found = record.get("form", "unknown")
    if form == "training" and found != "training":
        raise UserError(f"{path} holds the {found} form; --form training needs a file exported with --form training")
    if form == "deploy" and found == "training":
        raise UserError(
            f"{path} was exported in training form; export it again (the deploy form is the default), or time it as it "
            "is with --form training"
        )
    own = tuple(side.dim_value or None for side in list(taken)[2:])
    if size is None:
        height, width = (side or 224 for side in own)
    else:
        height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1 or any(
        side not in (None, wanted) for side, wanted in zip(own, (height, width), strict=True)
    ):
        raise UserError(f"{path} takes {own[0]}x{own[1]} pixels, not {height}x{width}")
    return Subject(
        name=path.stem,
        form=found,
        size=(height, width),
        path=path,
        macs=count_macs(path, (height, width)),
        precision="int8" if is_quantized(path) else "float32",
        batch=taken[0].dim_value or None,
    )
