"""What differs between the tensors of a file and those of a network, told so that a person can act on it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.text import some_names
from phonecv.weights.recognise import Recognised

Shape = tuple[int, ...]

_log = logging.getLogger("phonecv")


@dataclass(frozen=True, slots=True)
class Difference:
    """Names that do not match.

    Attributes:
        missing: in the network, not in the file.
        unexpected: in the file, not in the network.
        shapes: name, shape in the file, shape in the network.
        matching: how many names and shapes agree.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[tuple[str, Shape, Shape], ...]
    matching: int

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)


def compare(state: Mapping[str, Tensor], model: Mapping[str, Tensor], exempt: Iterable[str] = ()) -> Difference:
    """Compare names and shapes; names in `exempt` may be missing from the file."""
    exempt = set(exempt)
    shared = [name for name in model if name in state]
    shapes = tuple(
        (name, tuple(state[name].shape), tuple(model[name].shape))
        for name in shared
        if state[name].shape != model[name].shape
    )
    return Difference(
        tuple(name for name in model if name not in state and name not in exempt),
        tuple(name for name in state if name not in model),
        shapes,
        len(shared) - len(shapes),
    )


def describe(difference: Difference, found: Recognised | None, model_name: str) -> str:
    """The difference as a few lines: groups with an example each, then the likely cause for a file recognised."""
    lines = []
    for title, names in (("missing", difference.missing), ("unexpected", difference.unexpected)):
        if names:
            lines.append(f"{title} ({len(names)}): {_groups(names)}")
    if difference.shapes:
        shown = "; ".join(
            f"{name} is {file} in the file, {own} in the network" for name, file, own in difference.shapes[:3]
        )
        rest = len(difference.shapes) - 3
        lines.append(f"other shape ({len(difference.shapes)}): {shown}" + (f"; and {rest} more" if rest > 0 else ""))
    cause = "" if found is None else likely_cause(difference, found, model_name)
    return "\n".join("  " + line for line in [*lines, *([f"likely cause: {cause}"] if cause else [])])


def _groups(names: Iterable[str]) -> str:
    """Names grouped by stage, at most six groups: "stage3: 40 (stage3.0.norm.weight, ...)"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name)
    texts = [
        members[0]
        if len(members) == 1
        else f"{group}: {len(members)} ({members[0]}{', ...' if len(members) > 1 else ''})"
        for group, members in list(groups.items())[:6]
    ]
    return "; ".join(texts) + ("; ..." if len(groups) > 6 else "")


def likely_cause(difference: Difference, found: Recognised, model_name: str) -> str:
    """The most probable reason in one sentence, or an empty string."""
    missing, unexpected = difference.missing, difference.unexpected
    if found.candidates and model_name not in found.candidates:
        return f"the file holds {' or '.join(found.candidates)}, not {model_name or 'this network'}"
    if not difference.matching:
        return "no name agrees: the file belongs to another network"
    if any(re.search(r"conv_local\.norm\.norm\.", name) for name in unexpected):
        return (
            "its depthwise units have LayerNorm, as in the segmentation code that EMOv2's authors committed by "
            "mistake; the published weights have BatchNorm"
        )
    if unexpected and all("bias" in name for name in unexpected) and any("running_mean" in name for name in missing):
        return "one side is in deploy form, the other in training form"
    no_classifier = {"head.weight", "linear.weight"} & {*missing} and all(
        name.startswith(("norm.", "head.", "linear.")) for name in missing
    )
    own_head = [name for name in (*found.ignored, *unexpected) if not name.startswith("stage")]
    if no_classifier and own_head:
        return (
            f"the file is a backbone with a head of its own ({some_names(own_head)}), which is not this network's; "
            "pass head='drop' to take the backbone alone, with a fresh classifier, as a training does by itself"
        )
    if no_classifier and not unexpected:
        return (
            "the file is a dense backbone without classifier; pass head='drop' to start with a fresh one, as a training"
            " does by itself"
        )
    if missing and not unexpected and not difference.shapes:
        return "the file is incomplete: part of the network was not saved, or it was cut down on purpose"
    if unexpected and not missing and not difference.shapes:
        return "the file's network is deeper, or has options (branches, squeeze-excite) that this one lacks"
    if found.widths and not found.candidates:
        return (
            f"the file's network has depths {found.depths} and widths {found.widths}, which no catalog model has; "
            "pass them as overrides"
        )
    return ""


def put(
    model: nn.Module,
    state: Mapping[str, Tensor],
    exempt: Iterable[str],
    source: str,
    name: str,
    *,
    strict: bool,
    found: Recognised | None = None,
) -> None:
    """Put the tensors that fit into a network.

    Args:
        model: the network.
        state: the tensors, by the network's names.
        exempt: names that may be missing.
        source: where they are from, for messages.
        name: of the network, likewise; its catalog name, if it has one.
        strict: False takes what agrees in name and shape, and logs the rest.
        found: what the tensors are, which explains more.

    Raises:
        UserError: they do not fit, or under `strict` not all do.
    """
    own = model.state_dict()
    difference = compare(state, own, exempt)
    if difference:
        text = describe(difference, found, name)
        if strict or not difference.matching:
            raise UserError(f"{source} does not fit {name or type(model).__name__}:\n{text}")
        _log.warning("%s was loaded in part, %d tensors:\n%s", source, difference.matching, text)
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    model.load_state_dict(fitting, strict=False)


def not_finite(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Tensors with NaN or infinite values, and how many."""
    bad = {}
    for name, tensor in state.items():
        if tensor.is_floating_point():
            # Types of eight bits know no comparison.
            values = tensor if tensor.element_size() > 1 else tensor.float()
            count = tensor.numel() - int(torch.isfinite(values).sum())
            if count:
                bad[name] = count
    return bad
