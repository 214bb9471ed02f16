"""Loading, describing and saving checkpoints."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from safetensors.torch import save_file
from torch import nn

from phonecv.errors import UserError, did_you_mean
from phonecv.files import atomic_path, write_json
from phonecv.models import VisionModel
from phonecv.models.base import Form
from phonecv.models.catalog import get_record
from phonecv.models.fusing import fuse
from phonecv.models.headed import HeadedModel, Network
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.text import some_names
from phonecv.weights.compare import not_finite
from phonecv.weights.download import fetch
from phonecv.weights.fill import (
    BACKBONE,
    NO_WAY_BACK,
    Head,
    Source,
    backbone_of,
    build,
    fill,
    not_finite_text,
    open_source,
    values_in,
)
from phonecv.weights.headed import fill_headed, load_headed, tensors_of
from phonecv.weights.names_inside import class_names_in
from phonecv.weights.reader import RawFile, read_file
from phonecv.weights.recognise import Recognised, recognise
from phonecv.weights.record import KEY, Record
from phonecv.weights.translate import LAYOUTS, from_phonecv
from phonecv.weights.unwrap import choose_weights

H = TypeVar("H", bound=HeadedModel)

_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar")
#: Of layouts that are written otherwise.
_SUFFIXES = {"phonecv": (".safetensors",), "paddlevit": (".pdparams",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo(Recognised):
    """What a checkpoint is; with heads `family`, `candidates`, `depths` and `widths` are those of the backbone.

    Attributes:
        path: the file.
        container: "torch-zip", "torch-legacy", "safetensors" or "pickle" (Paddle).
        model: catalog name, with heads that of the backbone; None when the file leaves a choice (see `candidates`) or
            is unknown.
        tensors: how many.
        parameters: values in them, BatchNorm statistics included.
        bytes: size of the file.
        record: our own record, None in foreign files.
        problems: what stands against using it.
        task: key of `phonecv.task.TASKS`.
        architecture: name of the heads; empty without any.
        classes: class names, from our record or from what a training program kept; None when there are none.
        backbone_form: form of the backbone alone; without heads the same as `form`.
    """

    path: Path
    container: str
    model: str | None
    tensors: int
    parameters: int
    bytes: int
    record: dict[str, Any] | None
    problems: tuple[str, ...]
    task: str = DEFAULT_TASK
    architecture: str = ""
    classes: tuple[str, ...] | None = None
    backbone_form: str = "training"


def read_checkpoint(path: Path | str) -> CheckpointInfo:
    """Say what a file is, without building a network.

    Raises:
        UserError: the file is missing, damaged, unsafe or no checkpoint.
    """
    raw = read_file(path)
    name = str(path)
    record = Record.from_json(raw.metadata[KEY], name) if KEY in raw.metadata else None
    headed = record is not None and record.headed
    found = recognise((headed and backbone_of(raw.content)) or raw.content, source=name)
    weights = choose_weights(raw.content, False if found.ema_available else None, name)
    problems = []
    if record is None and found.layout == "unknown":
        names = some_names(list(weights.state)[:3])
        problems.append(f"no known layout (names such as {names}; known layouts: {', '.join(LAYOUTS)})")
    told = record and (record.backbone_form if headed else record.form)  # of heads the backbone's tensors are found
    if (
        record is not None
        and found.family is not None
        and (told != found.form or (found.num_classes is not None and record.num_classes != found.num_classes))
    ):
        problems.append(
            f"its record says {told} form and {record.num_classes} classes, its tensors say {found.form} form "
            f"and {found.num_classes}"
        )
    bad = not_finite(weights.state)
    if bad:
        problems.append(not_finite_text(bad))
    candidates = found.candidates
    names, remarks = record.classes if record else None, ()
    if record is None:
        names, remarks = class_names_in(raw.content, raw.metadata, found.num_classes)
    model = record.model if record else candidates[0] if len(candidates) == 1 else None
    own = {one.name: getattr(found, one.name) for one in fields(Recognised)} | {
        "layout": "phonecv" if record else found.layout,
        "candidates": (model,) if record and model else candidates,
        "notes": found.notes + remarks,
    }
    if record is not None and headed:
        own |= {"form": record.form, "num_classes": record.num_classes}
    return CheckpointInfo(
        **own,
        path=Path(path),
        container=raw.kind,
        model=model or None,
        tensors=len(weights.state),
        parameters=values_in(weights.state),
        bytes=raw.bytes,
        record=record.to_dict() if record else None,
        problems=tuple(problems),
        task=record.task if record else DEFAULT_TASK,
        architecture=record.architecture if record else "",
        classes=names,
        backbone_form=record.backbone_form if record is not None and headed else found.form,
    )


@overload
def load_checkpoint(
    model_or_name: VisionModel | str,
    path_or_state_dict: Source,
    *,
    ema: bool | None = ...,
    strict: bool = ...,
    head: Head = ...,
    num_classes: int | None = ...,
    form: Form | None = ...,
    **overrides: Any,
) -> VisionModel: ...
@overload
def load_checkpoint(
    model_or_name: H,
    path_or_state_dict: Source,
    *,
    ema: bool | None = ...,
    strict: bool = ...,
    head: Head = ...,
    form: Form | None = ...,
) -> H: ...
@overload
def load_checkpoint(
    model_or_name: None,
    path_or_state_dict: Source,
    *,
    ema: bool | None = ...,
    strict: bool = ...,
    head: Head = ...,
    num_classes: int | None = ...,
    form: Form | None = ...,
    **overrides: Any,
) -> Any: ...
def load_checkpoint(
    model_or_name: Network | str | None,
    path_or_state_dict: Source,
    *,
    ema: bool | None = None,
    strict: bool = True,
    head: Head = "keep",
    num_classes: int | None = None,
    form: Form | None = None,
    **overrides: Any,
) -> Network:
    """Read weights of any known layout into a network.

    Args:
        model_or_name: a network, which is filled in place; a catalog name; or None to take the name from the file,
            which works if it is one of ours or fits a single catalog model. A backbone with heads comes back as
            what it is. Classification weights go into the backbone of one given.
        path_or_state_dict: a file, or a mapping of names to tensors, wrapped as training programs do or bare.
        ema: where a file holds both, True for the moving average and False for the live weights.
        strict: False loads what agrees in name and shape, and logs the rest.
        head: "keep" loads the classifier or heads; "drop" leaves them fresh (fine-tuning); "auto" does so only if the
            class count differs, for the tensors that depend on it.
        num_classes: classes of a network made here; the file's without it.
        form: "deploy" fuses a training-form file after loading; "training" insists on that form. None follows the file,
            or the network given.
        **overrides: constructor arguments of a network made here, as for `create_model`.

    Returns:
        The network; in evaluation mode if it was made here, else in the mode it had.

    Raises:
        UserError: the file cannot be read, is ambiguous, does not fit, or has values that are not finite.
    """
    if head not in ("keep", "drop", "auto"):
        raise UserError(f"head {head!r} is not one of keep, drop, auto")
    if isinstance(model_or_name, nn.Module):
        if overrides or num_classes is not None:
            given = ", ".join([*overrides, *(["num_classes"] if num_classes is not None else [])])
            raise UserError(f"{given} cannot change a network that exists already; pass its name instead")
        if form not in (None, model_or_name.form):
            raise UserError(
                f"the network given is in {model_or_name.form} form, {form} form was asked for; pass its name"
            )
    source: Source | RawFile = path_or_state_dict
    record = None
    if not isinstance(path_or_state_dict, Mapping):
        source = raw = read_file(path_or_state_dict)
        record = Record.from_json(raw.metadata[KEY], str(raw.path)) if KEY in raw.metadata else None
    if isinstance(model_or_name, nn.Module) and not isinstance(model_or_name, VisionModel):
        return _into_headed(model_or_name, source, record, ema, strict=strict, head=head)
    if model_or_name is None and record is not None and record.headed and isinstance(source, RawFile):
        if overrides or num_classes is not None:
            raise UserError(
                f"{source.path} holds {TASKS[record.task].noun}, which is rebuilt as it was; build another one and pass"
                " it in the place of None"
            )
        return load_headed(source, record, strict=strict, form=form)
    loaded = open_source(source, ema)
    if isinstance(model_or_name, VisionModel):
        return fill(model_or_name, loaded, strict, head)
    if form == "training" and loaded.form == "deploy":
        raise UserError(f"{loaded.source} {NO_WAY_BACK}")
    model = build(model_or_name, loaded, head, num_classes, overrides)
    if loaded.form == "deploy":
        model = fuse(model.eval())
    model = fill(model.eval(), loaded, strict, head)
    return fuse(model) if form == "deploy" else model


def _into_headed(
    model: HeadedModel,
    source: Source | RawFile,
    record: Record | None,
    ema: bool | None,
    *,
    strict: bool,
    head: Head,
) -> HeadedModel:
    """Fill a backbone with heads with the tensors of one, or the backbone alone with those of a classifier."""
    # Heads of the other form have nothing to give; their backbone may.
    alike = head == "keep" or record is None or record.form == model.form
    if isinstance(source, RawFile) and record is not None and record.headed and alike:
        return fill_headed(model, tensors_of(source), record, str(source.path), strict=strict, head=head)
    if isinstance(source, Mapping) and any(str(name).startswith(BACKBONE) for name in source):
        state = choose_weights(source, ema, "the mapping given").state
        return fill_headed(model, state, None, "the mapping given", strict=strict, head=head)
    if not isinstance(model.backbone, VisionModel):
        raise UserError(f"classification weights go into our own backbones, not into a {type(model.backbone).__name__}")
    fill(model.backbone, open_source(source, ema), strict, "auto")
    return model


def load_public_or_file(
    model: VisionModel, weights: str | Path, *, form: Form | None = None, ema: bool | None = None
) -> VisionModel:
    """Weights by tag of the catalog or by path, into a network that `build_model` has made.

    A classifier with another class count stays fresh, and that is logged. Preprocessing becomes that of the weights.

    Args:
        model: in training form.
        weights: tag or path.
        form: "training" insists on that form; "official" is then the first public file of it.
        ema: as for `load_checkpoint`.

    Returns:
        The same network, or its deploy form if that is what the file holds and `form` does not forbid it.

    Raises:
        UserError: see `load_checkpoint`.
    """
    public = None
    path = Path(weights)
    record = get_record(model.name) if model.name else None
    tags = ("official", *(entry.tag for entry in record.weights)) if record else ()
    if record and str(weights) in tags:
        public = record.find_weights(str(weights), form=form)
        path = fetch(public)
    elif not path.exists() and not path.suffix and len(path.parts) == 1:
        named = f"{model.name} has no weights {str(weights)!r}" if record else f"no file {str(weights)!r}"
        raise UserError(
            f"{named}{did_you_mean(str(weights), tags)} (known: {', '.join(tags)}, or the path of a checkpoint)"
        )
    loaded = open_source(path, ema)
    if record and loaded.found.family not in (None, record.family):
        fits = " or ".join(loaded.found.candidates) or f"{loaded.found.family} of its own size"
        raise UserError(
            f"{loaded.source} holds weights of {fits}, the network is {model.name}; give the name that fits"
        )
    if loaded.form == "deploy" and model.form == "training":
        if form == "training":
            raise UserError(f"{loaded.source} {NO_WAY_BACK}")
        training = model.training
        model = fuse(model.eval()).train(training)
    model = fill(model, loaded, True, "auto")
    if public is not None and public.preprocessing is not None:
        model.preprocessing = public.preprocessing.of_channels(model.in_chans)
    return model


def save_checkpoint(
    model: Network,
    path: Path | str,
    *,
    training: Mapping[str, Any] | None = None,
    layout: str = "phonecv",
    source: str | None = None,
) -> Path:
    """Write a network.

    Ours is a ``.safetensors`` file with a JSON record inside, and a readable copy of the record beside it. Another
    layout holds tensors alone, bare, for the program it belongs to (``.pth`` or ``.safetensors``; of PaddleViT NumPy
    arrays, ``.pdparams``).

    Args:
        model: the network, with heads or without, in either form.
        path: where to; appears whole or not at all.
        training: how it was trained, JSON values, for the record.
        layout: one of `phonecv.weights.LAYOUTS`; a network with heads has "phonecv" alone.
        source: where the weights came from, for the record.

    Raises:
        UserError: a suffix that does not go with the layout, or a layout that cannot hold the network.
    """
    path = Path(path)
    suffixes = _SUFFIXES.get(layout, (".safetensors", *_TORCH_SUFFIXES))
    if path.suffix not in suffixes:
        raise UserError(
            f"{path}: the suffix {path.suffix!r} is not one of {', '.join(suffixes)} for the layout {layout!r}"
        )
    if layout != "phonecv" and not isinstance(model, VisionModel):
        raise UserError(f"layout {layout!r} knows classifiers only; a {type(model).__name__} is written as 'phonecv'")
    if layout != "phonecv" and isinstance(model, VisionModel) and model.quantization:
        done = ", ".join(model.quantization.get("remedies", []))
        raise UserError(f"layout {layout!r} cannot say that {model.name} is prepared for int8 ({done})")
    # Clones are contiguous and share nothing, as safetensors demands.
    state = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    state = from_phonecv(state, layout)
    metadata = {"format": "pt"}
    record = None
    if layout == "phonecv":
        record = Record.of(model, training, source)
        metadata[KEY] = record.to_json()
    with atomic_path(path, needs=sum(value.nbytes for value in state.values())) as temporary:
        if path.suffix == ".safetensors":
            save_file(state, temporary, metadata)
        elif path.suffix == ".pdparams":  # as paddle.save writes it
            temporary.write_bytes(pickle.dumps({name: value.numpy() for name, value in state.items()}, protocol=4))
        else:
            torch.save(state, temporary)
    if record is not None:
        write_json(path.with_suffix(".json"), record.to_dict())
    return path
