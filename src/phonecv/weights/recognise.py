"""Saying what a mapping of tensors is: whose layout, which family and member, which form, how many classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from phonecv.catalog import MODELS, ModelRecord
from phonecv.errors import UserError
from phonecv.weights.translate import family_of_names, is_training_form, to_phonecv

#: Where training programs keep the live weights and their moving average.
LIVE_KEYS = ("net", "state_dict", "model", "model_state_dict")
EMA_KEYS = ("net_E", "state_dict_ema", "ema_state_dict", "model_ema", "ema")

#: Put in front of every name by data parallelism, torch.compile and the like.
_PREFIXES = ("module.", "_orig_mod.", "model.", "encoder.")

#: A name that only one layout has, in training and in deploy form.
_SIGNS: tuple[tuple[str, str], ...] = (
    ("stage0.0.convs.0.0.weight", "emo"),
    ("stage1.0.eops.0.net.conv.weight", "emov2"),
    ("stage0.rbr_conv.0.conv.weight", "apple"),
    ("stage0.reparam_conv.weight", "apple"),
    ("stem.conv_kxk.0.conv.weight", "timm"),
    ("stem.reparam_conv.weight", "timm"),
    ("backbone.stage0.branch_conv_list.0.conv.weight", "mmpretrain"),
    ("backbone.stage0.branch_reparam.weight", "mmpretrain"),
    ("stage0.branch_conv_list.0.conv.weight", "mmpretrain"),
    ("stage0.branch_reparam.weight", "mmpretrain"),
    ("stages.0.0.dw_3x3_blocks.0.conv.weight", "paddlevit"),
    ("stages.0.0.dw_3x3.conv.weight", "paddlevit"),
    ("stage1.0.v.conv.weight", "phonecv"),  # EMO with our stem names
)


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a mapping of tensors is.

    Attributes:
        layout: whose names: "phonecv", "emo", "emov2", "apple", "timm", "mmpretrain", "paddlevit", or "unknown".
        family: "emo", "emov2", "mobileone", or None.
        candidates: catalog models of this shape. More than one when they differ in nothing that a file
            stores, such as the window size.
        form: "training" or "deploy".
        num_classes: rows of the classifier, None without one.
        ema_available: whether there are a moving average and live weights to choose from.
        wrapper: the key the weights stood under, "" for a bare mapping.
        depths: blocks (MobileOne: pairs) per stage, as far as there are any.
        widths: channels per stage, likewise.
        notes: remarks for a person.
    """

    layout: str
    family: str | None
    candidates: tuple[str, ...]
    form: str
    num_classes: int | None
    ema_available: bool = False
    wrapper: str = ""
    depths: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of tensors out of a checkpoint, with what had to be taken off to reach it."""

    state: dict[str, Tensor]
    wrapper: str
    ema_available: bool
    notes: tuple[str, ...]


def choose_weights(content: Mapping[str, Any], ema: bool | None, source: str) -> Weights:
    """The set of tensors in a checkpoint: bare, or under a training program's key.

    Args:
        content: the checkpoint.
        ema: True for the moving average, False for the live weights, None if there is no choice to make.
        source: for messages.

    Raises:
        UserError: there are two sets and `ema` is None; the set asked for is missing; there are no tensors.
    """
    live, average = _find(content, LIVE_KEYS), _find(content, EMA_KEYS)
    if any(isinstance(value, Tensor) for value in content.values()) or not (live or average):
        if ema:
            raise UserError(f"{source} holds one set of weights, without a moving average beside it; leave ema out")
        return _clean(content, "", False, (), source)
    if live and average and ema is None:
        raise UserError(
            f"{source} holds two sets of weights: live ({live!r}) and their moving average ({average!r}); "
            "say which: ema=True for the average, ema=False for the live ones (command line: --ema, --live)"
        )
    wanted = average if ema or not live else live
    if wanted is None or (ema is False and not live):
        here, missing = (live, "moving average") if ema else (average, "live weights")
        raise UserError(f"{source} has no {missing}, only {here!r}; pass ema={not ema}")
    inner = content[wanted]
    if not any(isinstance(value, Tensor) for value in inner.values()):
        deeper = choose_weights(inner, None, source)
        return Weights(deeper.state, f"{wanted}.{deeper.wrapper}", bool(live and average), deeper.notes)
    notes = () if live else (f"only the moving average ({average!r}) is in it",)
    return _clean(inner, wanted, bool(live and average), notes, source)


def _find(content: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        inner = content.get(key)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor | Mapping) for value in inner.values()):
            return key
    return None


def _clean(content: Mapping[str, Any], wrapper: str, ema: bool, notes: tuple[str, ...], source: str) -> Weights:
    """Keep the tensors, without entries that are no weights and without a prefix that all names share."""
    state = {name: value for name, value in content.items() if isinstance(value, Tensor) and name != "n_averaged"}
    if not state:
        some = ", ".join(repr(key) for key in list(content)[:6])
        raise UserError(
            f"{source} holds no tensors (keys: {some}); weights are expected bare or under 'state_dict' or 'net'"
        )
    # Names with @@ are Paddle's bookkeeping.
    dropped = [name for name in content if name not in state and "@@" not in name and name != "n_averaged"]
    if dropped:
        notes += (f"left out, no tensors: {', '.join(dropped[:5])}{', ...' if len(dropped) > 5 else ''}",)
    found = True
    while found:
        found = False
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): value for name, value in state.items()}
                found = True
    return Weights(state, wrapper, ema, notes)


def layout_of(state: Mapping[str, Tensor]) -> str:
    """Whose names these are, or "unknown"."""
    return next((layout for name, layout in _SIGNS if name in state), "unknown")


def recognise(content: Mapping[str, Any], ema: bool | None = None, source: str = "the mapping") -> Recognised:
    """What a mapping is, bare or wrapped as training programs do.

    Raises:
        UserError: see `choose_weights`; here two sets of weights are no error, since they have the same shapes.
    """
    if ema is None and _find(content, LIVE_KEYS) and _find(content, EMA_KEYS):
        ema = False
    weights = choose_weights(content, ema, source)
    layout = layout_of(weights.state)
    if layout == "unknown":
        return Recognised(
            "unknown", None, (), "training", None, weights.ema_available, weights.wrapper, notes=weights.notes
        )
    return recognise_ours(to_phonecv(weights.state, layout), layout, weights)


def recognise_ours(state: Mapping[str, Tensor], layout: str, weights: Weights | None = None) -> Recognised:
    """What tensors under our names are; `layout` says whose names they had."""
    family = family_of_names(state)
    deploy = not is_training_form(state)
    depths, widths, stem, kernel = _measure(state, family)
    candidates = tuple(
        record.name
        for record in MODELS.values()
        if record.family == family and _fits(record, depths, widths, stem, kernel)
    )
    classifier = next(
        (state[name] for name in ("linear.bias", "head.bias", "linear.weight", "head.weight") if name in state), None
    )
    if deploy and family in ("emo", "emov2"):
        layout = "phonecv"  # the others have no such form
    return Recognised(
        layout,
        family,
        candidates,
        "deploy" if deploy else "training",
        None if classifier is None else classifier.shape[0],
        weights.ema_available if weights else False,
        weights.wrapper if weights else "",
        depths,
        widths,
        weights.notes if weights else (),
    )


def _measure(
    state: Mapping[str, Tensor], family: str | None
) -> tuple[tuple[int, ...], tuple[int, ...], int | None, int | None]:
    """Depths, widths, stem width and depthwise kernel of stage 1, from the shapes."""
    depths, widths = [], []
    for stage in (1, 2, 3, 4):
        blocks = {int(m[1]) for name in state if (m := re.match(rf"stage{stage}\.(\d{{1,4}})\.", name))}
        if not blocks:
            break
        last = max(blocks)
        ends = ("proj.conv.weight", "rbr_conv.0.conv.weight", "reparam_conv.weight")
        projection = next((state[key] for end in ends if (key := f"stage{stage}.{last}.{end}") in state), None)
        if projection is None:
            break
        depths.append((last + 1) // 2 if family == "mobileone" else last + 1)
        widths.append(projection.shape[0])
    stems = ("stage0.0.conv.weight", "stage0.rbr_conv.0.conv.weight", "stage0.reparam_conv.weight")
    stem = next((state[name].shape[0] for name in stems if name in state), None)
    local = state.get("stage1.0.conv_local.conv.weight")
    return tuple(depths), tuple(widths), stem, None if local is None else local.shape[-1]


def _fits(
    record: ModelRecord, depths: tuple[int, ...], widths: tuple[int, ...], stem: int | None, kernel: int | None
) -> bool:
    config = record.config
    if record.family == "mobileone":
        stem_fits = stem is None or stem == min(64, config["widths"][0])
        return stem_fits and all(a == b for a, b in zip(widths, config["widths"], strict=False))
    fits = tuple(config["widths"]) == widths and tuple(config["depths"]) == depths
    if record.family == "emov2":
        # Remote-only members have smaller kernels in the early stages; that alone tells them from hybrid ones.
        fits = fits and kernel == config.get("kernels", (5,))[0]
    return fits
