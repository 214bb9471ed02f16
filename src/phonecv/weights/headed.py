"""Backbones with heads in our own files: rebuilt from the record in the file, and filled with its tensors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol, cast

from torch import Tensor

from phonecv.errors import UserError
from phonecv.models.base import Form
from phonecv.models.fusing import fuse
from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import RGB
from phonecv.task import TASKS
from phonecv.text import first_names
from phonecv.weights.compare import not_finite, put
from phonecv.weights.fill import (
    BACKBONE,
    NO_WAY_BACK,
    Head,
    match_structure,
    not_finite_text,
    parameters_within,
    settle_stem,
    values_in,
)
from phonecv.weights.reader import RawFile
from phonecv.weights.record import Record
from phonecv.weights.unwrap import choose_weights

_log = logging.getLogger("phonecv")


class Building(Protocol):
    """What weights ask of a task's room "opening", if its networks are backbones with heads."""

    def create(
        self,
        architecture: str,
        backbone: str,
        *,
        num_classes: int,
        form: Form | None = None,
        options: Mapping[str, Any],
        **overrides: Any,
    ) -> HeadedModel:
        """The network with fresh values.

        Args:
            architecture: name of the heads.
            backbone: catalog name, or what else the task's backbones may be called.
            num_classes: without background.
            form: "deploy" for the fused network.
            options: of the heads, where they differ from the architecture's.
            **overrides: constructor arguments of the backbone.

        Raises:
            UserError: an unknown name or option, or a value out of range.
        """


def tensors_of(raw: RawFile) -> dict[str, Tensor]:
    """The tensors of a file, checked for NaN."""
    state = choose_weights(raw.content, None, str(raw.path)).state
    bad = not_finite(state)
    if bad:
        raise UserError(f"{raw.path} has {not_finite_text(bad)}; use an earlier checkpoint of that training")
    return state


def build_headed(record: Record, source: str, *, tensors: int, values: int) -> HeadedModel:
    """The backbone with heads that a record describes, with fresh values.

    The record may lie: the file holds `tensors` with so many `values`, and no network that is far larger is made.

    Raises:
        UserError: no network can be built from the record, or it is larger than the file can fill.
    """
    if not record.model:
        raise UserError(
            f"{source}: its backbone was a module of the person's own, which a file cannot rebuild; build the same"
            " network and pass it in the place of None"
        )
    task = cast("Building", TASKS[record.task].room("opening"))
    arguments: dict[str, Any] = {"num_classes": record.num_classes, "options": record.options, **record.overrides}

    def made(**more: Any) -> HeadedModel:
        return task.create(record.architecture, record.model, **arguments, **more)

    what = f"{record.architecture!r:.80} on {record.model!r:.80}"
    try:
        parameters_within(made, what, arguments, tensors=tensors, values=values)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    model = made(form=record.form)
    if record.backbone_form == "deploy":
        model.fuse_backbone()
    return model


def load_headed(raw: RawFile, record: Record, *, strict: bool = True, form: Form | None = None) -> HeadedModel:
    """The backbone with heads in a file, in evaluation mode."""
    source, state = str(raw.path), tensors_of(raw)
    if form == "training" and record.form == "deploy":
        raise UserError(f"{source} {NO_WAY_BACK}")
    model = build_headed(record, source, tensors=len(state), values=values_in(state))
    fill_headed(model.eval(), state, record, source, strict=strict, head="keep")
    return fuse(model) if form == "deploy" and record.form == "training" else model


def fill_headed(
    model: HeadedModel,
    state: Mapping[str, Tensor],
    record: Record | None,
    source: str,
    *,
    strict: bool,
    head: Head,
) -> HeadedModel:
    """Put tensors into a backbone with heads of their own kind, in their form; see `load_checkpoint` for `strict`.

    Of the heads "keep" wants all; "auto" leaves fresh what has another shape, such as the rows of other classes; "drop"
    leaves all fresh.
    """
    if record is not None and (record.form, record.backbone_form) != (model.form, model.backbone_form):
        raise UserError(
            f"{source} is {_forms(record)} and the network given {_forms(model)}; load it with None in its"
            " place, and form='deploy' where that is wanted"
        )
    state = dict(state)
    settle_stem(model, state, source, BACKBONE)
    if model.backbone_form == "deploy":
        match_structure(model, state)
    own = model.state_dict()
    fresh: set[str] = set()
    if head != "keep":
        fresh = {
            name
            for name, tensor in own.items()
            if not name.startswith(BACKBONE)
            and (head == "drop" or name not in state or state[name].shape != tensor.shape)
        }
        if fresh and head == "auto":
            some = first_names(sorted(fresh), 3)
            _log.warning("%s does not fit %d tensors of the heads, which stay fresh: %s", source, len(fresh), some)
    given = {name: tensor for name, tensor in state.items() if name not in fresh and (name in own or head == "keep")}
    put(model, given, fresh, source, model.name, strict=strict)
    if record is not None and record.architecture == model.architecture and not fresh:
        gray = model.preprocessing.channels == 1
        model.preprocessing = record.preprocessing.of_channels(1 if gray else RGB)  # type: ignore[assignment]
        if record.classes is not None and len(record.classes) == model.num_classes:
            model.class_names = record.classes
    return model


def _forms(of: Record | HeadedModel) -> str:
    return f"in {of.form} form" + (" on a fused backbone" if of.backbone_form != of.form else "")
