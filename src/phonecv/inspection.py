"""What `phonecv info` shows: a network or a checkpoint file taken apart.

The catalog's part needs no torch; only the stage table builds a network.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from phonecv.errors import UserError
from phonecv.models.catalog import MODELS, ModelRecord
from phonecv.models.names import check_named, check_no_folder, published_room, task_named
from phonecv.preprocessing import Preprocessing
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.text import counted, some_names
from phonecv.weights.hub import local

if TYPE_CHECKING:
    from phonecv.models import VisionModel
    from phonecv.models.base import Form
    from phonecv.weights import CheckpointInfo

#: Input side up to which counting a network runs it.
_RUN_UP_TO = 512


@dataclass(frozen=True, slots=True)
class StageRow:
    """One line of the stage table; counts of the form that was asked for."""

    stage: str
    channels: int
    stride: int
    blocks: int
    parameters: int
    macs: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A network taken apart: its record, and per stage what it has and costs."""

    name: str
    form: str
    num_classes: int
    input_size: int
    parameters: int
    macs: int
    stages: tuple[StageRow, ...]
    preprocessing: Preprocessing
    overrides: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Named:
    """A network of a task, or its heads, by a name that stands for no public weights.

    Attributes:
        name: as it was given.
        task: what it is.
        recipe: what has to follow `phonecv train`.
        header: of the rows.
        rows: what is published of it, on each backbone.
    """

    name: str
    task: str
    recipe: str
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What is known about a name or a file.

    Attributes:
        record: the catalog's record, when the network is one of the catalog's.
        file: what the checkpoint says, when it is one.
        exported: what is known of an exported file, when it is one.
        named: for another task's network, what its task knows of this name.
        model: the network taken apart; None when a file does not say which network it holds.
        remark: how file and network do not fit together, if so; why an exported file's operators were not read.
        where: for each accelerator what of an exported file it leaves to the processor.
    """

    record: ModelRecord | None
    file: CheckpointInfo | None
    model: ModelInfo | None
    remark: str = ""
    exported: Mapping[str, Any] | None = None
    named: Named | None = None
    where: Sequence[Mapping[str, Any]] = ()

    def fields(self) -> list[tuple[str, Any]]:
        """Names and values to print."""
        fields: list[tuple[str, Any]] = []
        if self.named is not None:
            fields += [
                ("name", self.named.name),
                ("task", self.named.task),
                ("weights", "none by this name"),
                ("to train it", f"phonecv train {self.named.recipe} --data DATA --out runs/new"),
            ]
        if self.exported is not None:
            fields += [*_exported_fields(self.exported), ("operators", self.remark)]
        if self.file is not None:
            fields += [*_file_fields(self.file), ("remark", self.remark)]
        if self.record is not None:
            if self.file is None:
                fields.append(("name", self.record.name))
            fields += [("family", self.record.family), ("paper", self.record.paper), ("note", self.record.note)]
        if self.model is not None:
            if self.file is None:
                fields += [("form", self.model.form), ("classes", self.model.num_classes)]
            fields += [
                ("preprocessing", self.model.preprocessing.in_words()),
                ("overrides", ", ".join(f"{key}={value}" for key, value in self.model.overrides.items())),
            ]
        return fields

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"where": list(self.where)}


def info(text: str, *, form: str | None = None, size: int | None = None) -> Description:
    """Everything known about a catalog name, a checkpoint or an exported file. A name wins; ./name is the file.

    Raises:
        UserError: neither a network nor a file, or a file that cannot be read.
    """
    if text in MODELS:
        return Description(MODELS[text], None, describe_model(text, form=form or "training", size=size))
    path = Path(local(text))
    from phonecv.exporting.formats import exporter_for

    exporter = exporter_for(path)
    if exporter is not None and path.exists():
        from phonecv.exporting.record import find_record
        from phonecv.exporting.where.finding import places_of

        record = find_record(path)
        where, remark = [], ""
        try:
            where = places_of(path, record)
        except UserError as error:
            remark = f"not read: {error}"
        exported = {"path": str(path), "title": exporter.title} | record
        return Description(None, None, None, remark, exported, where=where)
    if not path.exists() and (task := task_named(text)) is not None:
        room = published_room(task)
        header, rows, _ = room.heads_rows()
        own = tuple(row for row in rows if row[0] == text)
        return Description(
            None, None, None, named=Named(text, TASKS[task].title, room.recipe_for(text), tuple(header), own)
        )
    if not path.is_file():
        check_no_folder(path)
        check_named(text)
        raise UserError(f"{text!r} is no file; public weights of a network are shown with its name alone")
    from phonecv.weights import read_checkpoint

    file = read_checkpoint(path)
    if file.task != DEFAULT_TASK:  # heads, of which nothing is counted here
        return Description(MODELS.get(file.model or ""), file, None)
    if file.model is None or file.problems:
        return Description(None, file, None)
    kept = file.record or {}
    arguments: dict[str, Any] = {"num_classes": file.num_classes or 0, **kept.get("overrides", {})}
    record = MODELS.get(file.model)
    from phonecv.create import create_model
    from phonecv.weights.fill import parameters_within

    try:
        make = partial(create_model, file.model, **arguments)
        parameters_within(make, file.model, arguments, tensors=file.tensors, values=file.parameters)
    except UserError as error:
        return Description(record, file, None, str(error))
    model = describe_model(
        file.model, form=form or file.form, size=size, preprocessing=kept.get("preprocessing"), **arguments
    )
    missing = model.parameters - file.parameters if model.form == file.form else 0
    remark = f"the file lacks {missing:,} parameters of the network" if missing > 0 else ""
    return Description(record, file, model, remark)


def _file_fields(file: CheckpointInfo) -> list[tuple[str, Any]]:
    """What the checkpoint itself says, without its network."""
    record = file.record or {}
    several = ", ".join(file.candidates)
    return [
        ("file", f"{file.path} ({file.bytes / 2**20:.2f} MiB, {file.container})"),
        ("layout", file.layout + (f", under {file.wrapper!r}" if file.wrapper else "")),
        ("task", TASKS[file.task].title + (f", {file.architecture}" if file.architecture else "")),
        (
            "backbone" if file.architecture else "network",
            file.model or (f"one of {several} (name it with --model)" if several else "none of the catalog"),
        ),
        ("tensors", f"{file.tensors} with {counted(file.parameters, 'values')}"),
        ("form", file.form + (" on a fused backbone" if file.backbone_form != file.form else "")),
        (
            "classes",
            f"{file.num_classes}" + (f" ({some_names(file.classes, 10)})" if file.classes else ""),
        ),
        ("told from", _thresholds_text(record.get("thresholds"))),
        (
            "averaged",
            f"both are in it: --live takes {file.live!r}, --ema its moving average {file.average!r}"
            if file.ema_available
            else None,
        ),
        ("options", ", ".join(f"{key}={value}" for key, value in record.get("options", {}).items())),
        (
            "input",
            TASKS[file.task].preprocessing.from_dict(record["preprocessing"]).in_words() if file.architecture else None,
        ),
        ("source", record.get("source")),
        ("trained", _trained_text(record.get("training", {}))),
        ("notes", "; ".join(file.notes)),
        ("problems", "; ".join(file.problems)),
    ]


def _exported_fields(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the record of an exported file says."""
    fields: list[tuple[str, Any]] = [("file", f"{record['path']} ({record['title']})")]
    if "model" not in record:
        return [*fields, ("record", "none beside it or in it; only files that `phonecv export` wrote have one")]
    size, names, checked = record.get("input_size") or (), record.get("classes") or (), record.get("checked")
    decoding = record.get("decoding") or {}
    batch, free, taken = record.get("dynamic_batch"), record.get("dynamic_size"), record.get("input_range")
    return [
        *fields,
        ("task", TASKS[record.get("task", DEFAULT_TASK)].title),
        ("network", record["model"]),
        ("form", record.get("form")),
        ("precision", record.get("precision")),
        ("classes", f"{record.get('num_classes')}" + (f" ({some_names(names, 10)})" if names else "")),
        (
            "input",
            (_inputs_text(record) or f"{'any size, traced at ' if free else ''}{'x'.join(map(str, size))} px, {taken}")
            + ("" if batch is None else ", any batch" if batch else ", a fixed batch"),
        ),
        ("outputs", ", ".join(record.get("outputs") or ())),
        ("told from", _thresholds_text(decoding.get("thresholds"))),
        ("decoding", decoding.get("kind")),
        ("checked", _checked_text(checked) if checked else None),
    ]


def _thresholds_text(thresholds: Sequence[float] | None) -> str | None:
    """Of labels that do not exclude each other."""
    if not thresholds:
        return None
    return f"probabilities of {min(thresholds):.2f} to {max(thresholds):.2f}; labels do not exclude each other"


def _inputs_text(record: Mapping[str, Any]) -> str:
    """Names, shapes and types of what a file takes beside pictures; empty where it takes pictures alone."""
    inputs = record.get("inputs") or ()
    if [one["kind"] for one in inputs] in ([], ["pictures"]):
        return ""
    parts = [f"{one['name']} {'x'.join(map(str, one['shape'])) or 'number'} {one['type']}" for one in inputs]
    return ", ".join(parts)


def _checked_text(checked: Mapping[str, Any]) -> str:
    if checked.get("remark"):
        return f"run by {checked['by']}, nothing to compare: {checked['remark']}"
    return f"by {checked['by']}, difference {checked.get('difference') or 0:.2e}"


def _trained_text(training: Mapping[str, Any]) -> str:
    """Without the configuration, which is longer than all the rest; `phonecv info --json` has it."""
    parts = []
    for key, value in training.items():
        if isinstance(value, Mapping):
            parts += [f"{name} {number:g}" for name, number in value.items() if isinstance(number, int | float)]
        else:
            parts.append(f"{key} {value}")
    return ", ".join(parts)


def describe_model(
    name: str,
    *,
    form: str = "training",
    num_classes: int = 1000,
    size: int | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> ModelInfo:
    """Build a network by name and count its stages.

    Args:
        name: catalog name.
        form: "training" or "deploy".
        num_classes: classes of the classifier.
        size: input side to count at; None for the preprocessing's.
        preprocessing: of a file, where it is not the catalog's.
        **overrides: constructor arguments, see `phonecv.create_model`.

    Raises:
        UserError: an unknown name, form or override.
    """
    from phonecv.create import create_model

    if size is not None and size < 1:
        raise UserError(f"input size {size} is not a positive number of pixels, such as 224")
    model = create_model(name, form=cast("Form", form), num_classes=num_classes, **overrides)
    if preprocessing is not None:
        model.preprocessing = Preprocessing.from_dict(preprocessing)
    return take_apart(model, size)


def take_apart(model: VisionModel, size: int | None = None) -> ModelInfo:
    """Stage by stage counts of a network from the catalog; the network itself is left as it is."""
    from torch import nn

    from phonecv.benchmarking import count_cost, count_parameters

    side = input_size = model.preprocessing.size if size is None else size
    # Shapes would do, but for the meta device torch imports its compiler, which takes longer than running the network.
    counted = model if side <= _RUN_UP_TO else copy.deepcopy(model).to("meta")
    rows = []
    channels = model.in_chans
    for stage, info in zip(counted.stages(), counted.feature_info, strict=True):
        cost = count_cost(stage, side, in_chans=channels)
        channels, side = info["num_chs"], -(-side // 2)
        blocks = len(stage) if isinstance(stage, nn.Sequential) else 1
        rows.append(StageRow(info["module"], channels, info["reduction"], blocks, count_parameters(stage), cost.macs))
    head = [module for module in (counted.norm, counted.get_classifier()) if module is not None]
    parameters = sum(count_parameters(module) for module in head)
    rows.append(StageRow("head", counted.num_classes, 0, 1, parameters, counted.num_features * counted.num_classes))
    return ModelInfo(
        name=model.name,
        form=model.form,
        num_classes=model.num_classes,
        input_size=input_size,
        parameters=sum(row.parameters for row in rows),
        macs=sum(row.macs for row in rows),
        stages=tuple(rows),
        preprocessing=model.preprocessing,
        overrides=dict(model.overrides),
    )
