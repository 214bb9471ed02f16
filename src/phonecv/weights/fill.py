"""Putting tensors into a network: from a file to tensors under our names, to the network that they fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.models import VisionModel, build_model
from phonecv.models.base import Form
from phonecv.models.blocks import LayerNorm2d
from phonecv.models.catalog import get_record
from phonecv.models.fusing import fuse
from phonecv.models.quantized import restore
from phonecv.preprocessing import RGB, Preprocessing
from phonecv.text import counted, printable_name, some_names
from phonecv.weights.compare import not_finite, put
from phonecv.weights.names_inside import class_names_in
from phonecv.weights.reader import RawFile, as_mapping, read_file
from phonecv.weights.recognise import Recognised, network_of, recognise_ours
from phonecv.weights.record import KEY, Record
from phonecv.weights.translate import LAYOUTS, to_phonecv
from phonecv.weights.unwrap import choose_weights

Source = Path | str | Mapping[str, Any]
Head = Literal["keep", "drop", "auto"]
T = TypeVar("T")

#: Names of a backbone that has heads begin so.
BACKBONE = "backbone."

_log = logging.getLogger("phonecv")

#: Axes of a convolution's weights: outputs, inputs, height, width.
CONVOLUTION = 4

#: More than any public network's; a file that claims as many has to hold as many.
_MANY_CLASSES = 30_000

NO_WAY_BACK = (
    "is in deploy form: its branches and norms have been folded into single convolutions, which cannot be undone. "
    "Use the training-form file (Apple's are named *_unfused), or take the network as the file has it (leave out the "
    "form; give a name where a network was given): it can be trained so, too"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Tensors under our names, and what they are; with the class names that the file holds for its outputs."""

    source: str
    state: dict[str, Tensor]
    found: Recognised
    record: Record | None
    classes: tuple[str, ...] | None = None

    @property
    def form(self) -> Form:
        """Form of the tensors."""
        return "deploy" if self.found.form == "deploy" else "training"


def open_source(source: Source | RawFile, ema: bool | None) -> Loaded:
    """Tensors under our names from a file or mapping, checked for NaN; where there are heads the backbone's."""
    record, metadata = None, {}
    if isinstance(source, Mapping):
        name = "the mapping given"
        content = as_mapping(source, name)
    else:
        raw = source if isinstance(source, RawFile) else read_file(source)
        name = str(raw.path)
        content, metadata = raw.content, raw.metadata
        if KEY in raw.metadata:
            record = Record.from_json(raw.metadata[KEY], name)
    weights = choose_weights(content, ema, name)
    if record is not None and record.headed:
        record, weights = None, replace(weights, state=backbone_of(weights.state), wrapper=BACKBONE, ignored=())
    given, layout = weights.state, "phonecv"
    if record is None and weights.wrapper != BACKBONE:
        given, layout, weights = network_of(weights)
    if layout == "unknown":
        raise UserError(
            f"{name} holds weights of no known layout (names such as {some_names(list(given)[:3])}); "
            f"known layouts: {', '.join(LAYOUTS)}"
        )
    state = to_phonecv(given, layout)
    bad = not_finite(state)
    if bad:
        raise UserError(f"{name} has {not_finite_text(bad)}; use an earlier checkpoint of that training")
    if weights.ignored:
        _log.info("%s: ignored what is not of the network: %s", name, some_names(weights.ignored))
    found = recognise_ours(state, layout, weights)
    classes, remarks = (record.classes, ()) if record else class_names_in(content, metadata, found.num_classes)
    for remark in remarks if classes is None else ():
        _log.info("%s: %s", name, remark)
    return Loaded(name, state, found, record, classes)


def backbone_of(content: Mapping[str, T]) -> dict[str, T]:
    """The backbone's part of what a file with heads holds, under its own names."""
    return {name.removeprefix(BACKBONE): value for name, value in content.items() if name.startswith(BACKBONE)}


def not_finite_text(bad: Mapping[str, int]) -> str:
    """What `not_finite` found, as part of a sentence."""
    tensors = counted(len(bad), "tensors")
    first, count = next(iter(bad.items()))
    return (
        f"values that are not finite (NaN or infinite) in {tensors}, such as {printable_name(first)} ({count} values)"
    )


def build(
    name: str | None, loaded: Loaded, head: Head, num_classes: int | None, overrides: Mapping[str, Any]
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
                "stored in the file; give the name (command line: --model)"
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

    def made() -> VisionModel:
        return build_model(name, num_classes=classes, **arguments)

    if (record is not None and record.overrides) or classes > _MANY_CLASSES:
        try:
            size = {"tensors": len(loaded.state), "values": values_in(loaded.state)}
            parameters_within(made, name, arguments, **size)
        except UserError as error:
            raise UserError(f"{loaded.source}: {error}") from error
    return made()


def fill(model: VisionModel, loaded: Loaded, strict: bool, head: Head) -> VisionModel:
    """Put the tensors into the network, bringing training-form tensors into deploy form if it is in that."""
    if loaded.form == "deploy" and model.form == "training":
        raise UserError(f"{loaded.source} {NO_WAY_BACK}")
    if loaded.form == "training" and model.form == "deploy":
        if not model.name:
            raise UserError(
                f"{loaded.source} is in training form and the network in deploy form, without a catalog name to "
                "rebuild it by; load into the training form, then fuse"
            )
        twin = build_model(model.name, num_classes=model.num_classes, **model.overrides)
        # What is not in the file keeps the classifier of the network given.
        classifier = model.get_classifier().state_dict()
        twin.get_classifier().load_state_dict(classifier)
        fused = fuse(fill(twin.eval(), loaded, strict, head))
        match_structure(model, fused.state_dict())
        model.load_state_dict(fused.state_dict())
        model.class_names, model.preprocessing = fused.class_names, fused.preprocessing
        model.thresholds = fused.thresholds
        return model
    state = dict(loaded.state)
    settle_stem(model, state, loaded.source)
    exempt = _settle_classifier(model, state, loaded, head)
    if loaded.form == "deploy":
        match_structure(model, state)
        _prepare_for_int8(model, loaded)
    put(model, state, exempt, loaded.source, model.name, strict=strict, found=loaded.found)
    record = loaded.record
    if record is not None and record.model == model.name:  # asked for as another member, its own input size counts
        assert isinstance(record.preprocessing, Preprocessing)
        model.preprocessing = record.preprocessing.of_channels(model.in_chans)
    if loaded.classes is not None and len(loaded.classes) == model.num_classes and not exempt:
        model.class_names = loaded.classes
    if record is not None and record.num_classes == model.num_classes and not exempt:
        model.thresholds = record.thresholds
    return model


def settle_stem(model: nn.Module, state: dict[str, Tensor], source: str, prefix: str = "") -> None:
    """Sum a stem's weights over the colours for a network of gray pictures, which are the same in every colour."""
    own, summed = model.state_dict(), False
    for name, tensor in state.items():
        mine = own[name].shape if name.startswith(f"{prefix}stage0.") and name in own else ()
        if len(mine) == tensor.ndim == CONVOLUTION and (mine[1], tensor.shape[1]) == (1, RGB):
            state[name], summed = tensor.sum(1, keepdim=True), True
        elif len(mine) == tensor.ndim == CONVOLUTION and (mine[1], tensor.shape[1]) == (RGB, 1):
            raise UserError(f"{source} is of gray pictures, the network of RGB ones; set in_chans=1")
    if summed:
        _log.info("%s is of RGB pictures: the stem's weights are summed over the colours, for gray ones", source)


def _prepare_for_int8(model: VisionModel, loaded: Loaded) -> None:
    """The parts that remedies for int8 added to the network in the file."""
    state = loaded.record.quantization if loaded.record is not None else {}
    if state or model.quantization:
        restore(model, state, loaded.source)
    if not state.get("float", True):
        done = ", ".join(state.get("remedies", []))
        _log.warning(
            "%s was prepared for int8 (%s): in floating point it is worse than the network it was made from",
            loaded.source,
            done,
        )


def _settle_classifier(model: VisionModel, state: dict[str, Tensor], loaded: Loaded, head: Head) -> set[str]:
    """Take out of `state` what the network has no place for or shall not get; give names that may stay as they are."""
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
    if head == "drop" or (head == "auto" and (differs or count is None)):
        if head == "auto":
            has = (
                f"has {counted(count, 'classes')}, the network {model.num_classes}"
                if differs
                else "has no such classifier"
            )
            _log.warning("%s %s: its classifier stays fresh", loaded.source, has)
        for name in in_file:
            del state[name]
        norms = {name for name in model.state_dict() if name.startswith("norm.")}
        return classifier | (norms if norms.isdisjoint(state) else set())
    if differs:
        raise UserError(
            f"{loaded.source} has {counted(count, 'classes')}, the network {model.num_classes}; pass"
            f" num_classes={count} to use its classifier, or head='drop' to start with a fresh one (fine-tuning)"
        )
    return set()


def match_structure(model: nn.Module, state: Mapping[str, Tensor]) -> None:
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


#: A training form has at most so many times the parameters of its deploy form (2.6 for MobileOne-S0).
MOST_BRANCHES = 8

#: What constructors raise on arguments that nobody checked.
_ERRORS = (TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError, LookupError, MemoryError)

#: Arguments, also of timm's networks, that say how many blocks there are.
_BLOCKS = ("depths", "depth", "layers", "num_layers", "blocks")


def parameters_within(
    make: Callable[[], nn.Module], what: str, arguments: Mapping[str, Any], *, tensors: int, values: int
) -> int:
    """Parameters of the network that `make` builds, if a file of so many tensors and values can fill it.

    The number of blocks among `arguments` is looked at before anything is built; every block has one tensor at least.

    Raises:
        UserError: it cannot be built, or is far larger than what the file holds.
    """
    for key in _BLOCKS:
        asked = arguments.get(key, ())
        numbers = asked if isinstance(asked, list | tuple) else (asked,)
        blocks = sum(n for n in numbers if isinstance(n, int))
        if blocks > tensors:
            raise UserError(f"its record asks for {blocks} blocks ({key}), the file holds only {tensors} tensors")
    try:
        with torch.device("meta"):  # shapes without memory
            needed = sum(parameter.numel() for parameter in make().parameters())
    except (UserError, *_ERRORS) as error:
        raise UserError(f"no network can be built from its record, {what} ({str(error)[:300]})") from error
    if needed > MOST_BRANCHES * values:
        raise UserError(f"its record asks for {needed:,} parameters, the file holds only {values:,} values")
    return needed


def values_in(state: Mapping[str, Tensor]) -> int:
    """How many numbers there are."""
    return sum(tensor.numel() for tensor in state.values())
