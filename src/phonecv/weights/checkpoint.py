"""Loading, describing and saving checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from phonecv.catalog import get_record
from phonecv.errors import UserError, did_you_mean
from phonecv.files import atomic_path, write_json
from phonecv.fuse import fuse
from phonecv.models import VisionModel, create_model
from phonecv.models.base import Form
from phonecv.models.blocks import LayerNorm2d
from phonecv.weights.compare import compare, describe, not_finite
from phonecv.weights.download import fetch
from phonecv.weights.reader import as_mapping, read_file
from phonecv.weights.recognise import Recognised, choose_weights, layout_of, recognise, recognise_ours
from phonecv.weights.record import KEY, Record
from phonecv.weights.translate import LAYOUTS, from_phonecv, to_phonecv

Source = Path | str | Mapping[str, Any]
Head = Literal["keep", "drop", "auto"]

_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar")
_log = logging.getLogger("phonecv")


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What a checkpoint is.

    Attributes:
        path: the file.
        container: "torch-zip", "torch-legacy", "safetensors" or "pickle" (Paddle).
        layout: whose parameter names it uses; "unknown" if nobody's.
        family: "emo", "emov2", "mobileone" or None.
        model: catalog name, None when the file leaves a choice (see `candidates`) or is unknown.
        candidates: catalog models of this shape.
        form: "training" or "deploy".
        num_classes: rows of the classifier, None without one.
        ema_available: live weights and their moving average are both in it.
        wrapper: key the weights stand under, "" for a bare mapping.
        tensors: how many.
        parameters: values in them, BatchNorm statistics included.
        bytes: size of the file.
        record: our own record, None in foreign files.
        notes: remarks.
        problems: what stands against using it.
    """

    path: Path
    container: str
    layout: str
    family: str | None
    model: str | None
    candidates: tuple[str, ...]
    form: str
    num_classes: int | None
    ema_available: bool
    wrapper: str
    tensors: int
    parameters: int
    bytes: int
    record: dict[str, Any] | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Tensors under our names, and what they are."""

    source: str
    state: dict[str, Tensor]
    found: Recognised
    record: Record | None

    @property
    def form(self) -> Form:
        return "deploy" if self.found.form == "deploy" else "training"


def read_checkpoint(path: Path | str) -> CheckpointInfo:
    """Say what a file is, without building a network.

    Raises:
        UserError: the file is missing, damaged, unsafe or no checkpoint.
    """
    raw = read_file(path)
    name = str(path)
    record = Record.from_json(raw.metadata[KEY], name) if KEY in raw.metadata else None
    found = recognise(raw.content, source=name)
    weights = choose_weights(raw.content, False if found.ema_available else None, name)
    problems = []
    if record is None and found.layout == "unknown":
        some = ", ".join(list(weights.state)[:3])
        problems.append(f"no known layout (names such as {some}; known layouts: {', '.join(LAYOUTS)})")
    if record is not None and (
        record.form != found.form or (found.num_classes is not None and record.num_classes != found.num_classes)
    ):
        problems.append(
            f"its record says {record.form} form and {record.num_classes} classes, its tensors say {found.form} form "
            f"and {found.num_classes}"
        )
    bad = not_finite(weights.state)
    if bad:
        problems.append(_not_finite_text(bad))
    candidates = found.candidates
    model = record.model if record else candidates[0] if len(candidates) == 1 else None
    return CheckpointInfo(
        path=Path(path),
        container=raw.kind,
        layout="phonecv" if record else found.layout,
        family=found.family,
        model=model or None,
        candidates=(model,) if record and model else candidates,
        form=found.form,
        num_classes=found.num_classes,
        ema_available=found.ema_available,
        wrapper=found.wrapper,
        tensors=len(weights.state),
        parameters=sum(tensor.numel() for tensor in weights.state.values()),
        bytes=raw.bytes,
        record=record.to_dict() if record else None,
        notes=found.notes,
        problems=tuple(problems),
    )


def load_checkpoint(
    model_or_name: VisionModel | str | None,
    path_or_state_dict: Source,
    *,
    ema: bool | None = None,
    strict: bool = True,
    head: Head = "keep",
    num_classes: int | None = None,
    form: Form | None = None,
    **overrides: Any,
) -> VisionModel:
    """Read weights of any known layout into a network.

    Args:
        model_or_name: a network, which is filled in place; a catalog name; or None to take the name from the file,
            which works if it is one of ours or fits a single catalog model.
        path_or_state_dict: a file, or a mapping of names to tensors, wrapped as training programs do or bare.
        ema: where a file holds both, True for the moving average and False for the live weights.
        strict: False loads what agrees in name and shape, and logs the rest.
        head: "keep" loads the classifier; "drop" leaves it fresh (fine-tuning); "auto" does so only if the class
            count differs.
        num_classes: classes of a network made here; the file's without it.
        form: "deploy" fuses a training-form file after loading; "training" insists on that form. None follows the file,
            or the network given.
        **overrides: constructor arguments of a network made here, as for `create_model`.

    Returns:
        The network; in evaluation mode if it was made here, else in the mode it had.

    Raises:
        UserError: the file cannot be read, is ambiguous, does not fit, or has values that are not finite.
    """
    loaded = _open(path_or_state_dict, ema)
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
        return _fill(model_or_name, loaded, strict, head)
    if form == "training" and loaded.form == "deploy":
        raise UserError(f"{loaded.source} {_NO_WAY_BACK}")
    model = _build(model_or_name, loaded, head, num_classes, overrides)
    if loaded.form == "deploy":
        model = fuse(model.eval())
    model = _fill(model.eval(), loaded, strict, head)
    return fuse(model) if form == "deploy" else model


_NO_WAY_BACK = (
    "is in deploy form: its branches and norms have been folded into single convolutions, which cannot be undone. "
    "Use the training-form file (Apple's are named *_unfused), or ask for form='deploy'"
)


def load_public_or_file(model: VisionModel, weights: str | Path, *, form: Form | None = None) -> VisionModel:
    """Weights by tag of the catalog or by path, into a network that `create_model` has made.

    A classifier with another class count stays fresh, and that is logged. Preprocessing becomes that of the weights.

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
        public = record.find_weights(str(weights))
        path = fetch(public)
    elif not path.exists() and not path.suffix and len(path.parts) == 1:
        named = f"{model.name} has no weights {str(weights)!r}" if record else f"no file {str(weights)!r}"
        raise UserError(
            f"{named}{did_you_mean(str(weights), tags)} (known: {', '.join(tags)}, or the path of a checkpoint)"
        )
    loaded = _open(path, None)
    if loaded.form == "deploy" and model.form == "training":
        if form == "training":
            raise UserError(f"{loaded.source} {_NO_WAY_BACK}")
        training = model.training
        model = fuse(model.eval()).train(training)
    model = _fill(model, loaded, True, "auto")
    if public is not None and public.preprocessing is not None:
        model.preprocessing = public.preprocessing
    return model


def save_checkpoint(
    model: VisionModel,
    path: Path | str,
    *,
    training: Mapping[str, Any] | None = None,
    layout: str = "phonecv",
    source: str | None = None,
) -> Path:
    """Write a network.

    Ours is a ``.safetensors`` file with a JSON record inside, and a readable copy of the record beside it. Another
    layout holds tensors alone, bare, for the program it belongs to (``.pth`` or ``.safetensors``).

    Args:
        model: the network, in either form.
        path: where to; appears whole or not at all.
        training: how it was trained, JSON values, for the record.
        layout: "phonecv", "emo", "emov2", "apple" or "timm".
        source: where the weights came from, for the record.

    Raises:
        UserError: a suffix that does not go with the layout, or a layout that cannot hold the network.
    """
    path = Path(path)
    suffixes = (".safetensors",) if layout == "phonecv" else (".safetensors", *_TORCH_SUFFIXES)
    if path.suffix not in suffixes:
        raise UserError(
            f"{path}: the suffix {path.suffix!r} is not one of {', '.join(suffixes)} for the layout {layout!r}"
        )
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
    with atomic_path(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(state, temporary, metadata)
        else:
            torch.save(state, temporary)
    if record is not None:
        write_json(path.with_suffix(".json"), record.to_dict())
    return path


def _open(source: Source, ema: bool | None) -> _Loaded:
    """Tensors under our names from a file or mapping, checked for NaN."""
    record = None
    if isinstance(source, Mapping):
        name = "the mapping given"
        content = as_mapping(source, name)
    else:
        name = str(source)
        raw = read_file(source)
        content = raw.content
        if KEY in raw.metadata:
            record = Record.from_json(raw.metadata[KEY], name)
    weights = choose_weights(content, ema, name)
    layout = "phonecv" if record else layout_of(weights.state)
    if layout == "unknown":
        some = ", ".join(list(weights.state)[:3])
        raise UserError(
            f"{name} holds weights of no known layout (names such as {some}); known layouts: {', '.join(LAYOUTS)}"
        )
    state = to_phonecv(weights.state, layout)
    bad = not_finite(state)
    if bad:
        raise UserError(f"{name} has {_not_finite_text(bad)}; use an earlier checkpoint of that training")
    return _Loaded(name, state, recognise_ours(state, layout, weights), record)


def _not_finite_text(bad: Mapping[str, int]) -> str:
    tensors = "1 tensor" if len(bad) == 1 else f"{len(bad)} tensors"
    first = next(iter(bad))
    return f"values that are not finite (NaN or infinite) in {tensors}, such as {first} ({bad[first]} values)"


def _build(
    name: str | None, loaded: _Loaded, head: Head, num_classes: int | None, overrides: Mapping[str, Any]
) -> VisionModel:
    """The network that `loaded` goes into, in training form."""
    found, record = loaded.found, loaded.record
    if name is None:
        if record is not None and record.model:
            name = record.model
        elif len(found.candidates) == 1:
            name = found.candidates[0]
        elif found.candidates:
            raise UserError(
                f"{loaded.source} fits {', '.join(found.candidates)}: they differ in the window size, which is not "
                "stored in the file; give the name"
            )
        else:
            raise UserError(
                f"{loaded.source} ({found.family} of depths {found.depths}, widths {found.widths}) is no catalog "
                "model; give a name, and overrides for what differs"
            )
    family = get_record(name).family
    if found.family is not None and found.family != family:
        raise UserError(
            f"{loaded.source} holds {found.family} weights (layout {found.layout!r}), but {name} is {family}"
        )
    arguments = dict(overrides)
    ours = record is not None and record.model == name
    if record is not None and ours:
        arguments = record.overrides | arguments
        for key, stored in (("depths", found.depths), ("widths", found.widths)):
            if key in record.overrides and tuple(record.overrides[key]) != stored:
                raise UserError(f"{loaded.source}: its record says {key} {record.overrides[key]}, its tensors {stored}")
    classes = num_classes
    if classes is None:
        classes = found.num_classes if found.num_classes is not None else 0 if ours else 1000
    try:
        model = create_model(name, num_classes=classes, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{loaded.source}: no network can be built from {arguments} ({error})") from error
    if record is not None:
        model.preprocessing = record.preprocessing
    return model


def _fill(model: VisionModel, loaded: _Loaded, strict: bool, head: Head) -> VisionModel:
    """Put the tensors into the network, bringing training-form tensors into deploy form if it is in that."""
    if loaded.form == "deploy" and model.form == "training":
        raise UserError(f"{loaded.source} {_NO_WAY_BACK}")
    if loaded.form == "training" and model.form == "deploy":
        if not model.name:
            raise UserError(
                f"{loaded.source} is in training form and the network in deploy form, without a catalog name to "
                "rebuild it by; load into the training form, then fuse"
            )
        twin = create_model(model.name, num_classes=model.num_classes, **model.overrides)
        # What is not in the file keeps the classifier of the network given.
        classifier = model.get_classifier().state_dict()
        twin.get_classifier().load_state_dict(classifier)
        fused = fuse(_fill(twin.eval(), loaded, strict, head))
        _match_structure(model, fused.state_dict())
        model.load_state_dict(fused.state_dict())
        model.class_names, model.preprocessing = fused.class_names, fused.preprocessing
        return model
    state = dict(loaded.state)
    exempt = _settle_classifier(model, state, loaded, head)
    if loaded.form == "deploy":
        _match_structure(model, state)
    own = model.state_dict()
    difference = compare(state, own, exempt)
    if difference:
        text = describe(difference, loaded.found, model.name)
        if strict or not difference.matching:
            raise UserError(f"{loaded.source} does not fit {model.name or type(model).__name__}:\n{text}")
        _log.warning("%s was loaded in part, %d tensors:\n%s", loaded.source, difference.matching, text)
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    model.load_state_dict(fitting, strict=False)
    record = loaded.record
    if record is not None:
        model.preprocessing = record.preprocessing
        if record.classes is not None and len(record.classes) == model.num_classes and not exempt:
            model.class_names = record.classes
    return model


def _settle_classifier(model: VisionModel, state: dict[str, Tensor], loaded: _Loaded, head: Head) -> set[str]:
    """Take out of `state` what the network has no place for or shall not get.

    Returns:
        Names of the network that may stay as they are.

    Raises:
        UserError: the class counts differ and nobody said what to do.
    """
    prefix = model.classifier_name + "."
    classifier = {name for name in model.state_dict() if name.startswith(prefix)}
    in_file = {name for name in state if name.startswith(prefix)}
    if model.out_indices is not None:
        # Published det/seg code drops these by name as well.
        in_file |= {name for name in state if name.startswith("norm.")}
    count = loaded.found.num_classes
    if not classifier:
        for name in in_file:
            del state[name]
        return set()
    differs = count is not None and count != model.num_classes
    if head == "drop" or (head == "auto" and differs):
        if head == "auto":
            _log.warning(
                "%s has %s classes, the network %d: its classifier stays fresh", loaded.source, count, model.num_classes
            )
        for name in in_file:
            del state[name]
        norms = {name for name in model.state_dict() if name.startswith("norm.")}
        return classifier | (norms if norms.isdisjoint(state) else set())
    if differs:
        raise UserError(
            f"{loaded.source} has {count} classes, the network {model.num_classes}; pass num_classes={count} to use "
            "its classifier, or head='drop' to start with a fresh one (fine-tuning)"
        )
    return set()


def _match_structure(model: VisionModel, state: Mapping[str, Tensor]) -> None:
    """Give a deploy-form network the few optional parts that folding left in this file, or left out.

    Folding depends on the values: a LayerNorm before padded windows keeps its affine part if a channel of it is
    (almost) zero.
    """
    like = next(model.parameters())
    for name, module in list(model.named_modules()):
        if isinstance(module, LayerNorm2d):
            affine = f"{name}.norm.weight" in state
            # The one before the classifier always has it; if it is missing there, that is for `compare` to report.
            if affine != module.norm.elementwise_affine and name != "norm":
                channels = module.norm.normalized_shape[0]
                other = LayerNorm2d(channels, eps=module.norm.eps, affine=affine).to(like).train(module.training)
                model.set_submodule(name, other)
        elif "pad_value" in module._buffers:
            stored = state.get(f"{name}.pad_value")
            module.register_buffer("pad_value", None if stored is None else torch.zeros_like(stored).to(like))
        elif isinstance(module, nn.Conv2d) and name.endswith(".v.conv") and f"{name}.bias" not in state:
            module.register_parameter("bias", None)
