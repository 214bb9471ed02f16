"""Saying what a mapping of tensors is: whose layout, which family and member, which form, how many classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from phonecv.models.catalog import MODELS, ModelRecord
from phonecv.text import some_names
from phonecv.weights.signs import networks_in
from phonecv.weights.translate import family_of_names, is_training_form, to_phonecv
from phonecv.weights.unwrap import Origin, TwoSets, Weights, choose_weights


@dataclass(frozen=True, slots=True)
class Recognised(Origin):
    """What a mapping of tensors is.

    Attributes:
        layout: whose names: "phonecv", "emo", "emov2", "apple", "timm", "mmpretrain", "paddlevit", or "unknown".
        family: "emo", "emov2", "mobileone", or None.
        candidates: catalog models of this shape. More than one when they differ in nothing that a file
            stores, such as the window size.
        form: "training" or "deploy".
        num_classes: rows of the classifier, None without one.
        depths: blocks (MobileOne: pairs) per stage, as far as there are any.
        widths: channels per stage, likewise.
    """

    layout: str
    family: str | None
    candidates: tuple[str, ...]
    form: str
    num_classes: int | None
    depths: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()


def network_of(weights: Weights) -> tuple[dict[str, Tensor], str, Weights]:
    """Tensors of the network among the weights under its layout's names, the layout, and the weights with notes.

    The layout is "unknown" where no network is found; then nothing is taken off.
    """
    places = networks_in(weights.state)
    if not places:
        return weights.state, "unknown", weights
    ignored = places[0].rest(weights.state)
    if ignored:
        weights = replace(
            weights,
            ignored=ignored,
            notes=(*weights.notes, f"ignored, not of the network ({len(ignored)}): {some_names(ignored)}"),
        )
    return places[0].take(weights.state), places[0].layout, weights


def recognise(content: Mapping[str, Any], source: str = "the mapping") -> Recognised:
    """What a mapping is, bare or wrapped as training programs do."""
    try:
        weights = choose_weights(content, None, source)
    except TwoSets:
        weights = choose_weights(content, False, source)
    state, layout, weights = network_of(weights)
    if layout == "unknown":
        return Recognised("unknown", None, (), "training", None, **_places(weights))
    return recognise_ours(to_phonecv(state, layout), layout, weights)


def recognise_ours(state: Mapping[str, Tensor], layout: str, weights: Weights) -> Recognised:
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
        None if classifier is None or classifier.ndim not in (1, 2) or not classifier.numel() else len(classifier),
        depths=depths,
        widths=widths,
        **_places(weights),
    )


def _places(weights: Weights) -> dict[str, Any]:
    """What both tell of it."""
    return {one.name: getattr(weights, one.name) for one in fields(Origin)}


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
        if projection is None or projection.ndim != 4:
            break
        depths.append((last + 1) // 2 if family == "mobileone" else last + 1)
        widths.append(projection.shape[0])
    stems = ("stage0.0.conv.weight", "stage0.rbr_conv.0.conv.weight", "stage0.reparam_conv.weight")
    stem = next((state[name].shape[0] for name in stems if name in state and state[name].ndim == 4), None)
    local = state.get("stage1.0.conv_local.conv.weight")
    return tuple(depths), tuple(widths), stem, None if local is None or local.ndim != 4 else local.shape[-1]


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
