"""From what a training program saved to one set of weights: live or averaged, without what it was wrapped in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from phonecv.errors import UserError
from phonecv.text import brief, some_names
from phonecv.weights.signs import networks_in

#: Where training programs keep the live weights and their moving average.
LIVE_KEYS = (
    "net", "state_dict", "model", "model_state_dict", "model_state", "network", "module", "weights", "params",
    "checkpoint",
)  # fmt: skip
EMA_KEYS = (
    "net_E", "net_ema", "state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "model_ema_state_dict",
    "ema_model_state_dict", "params_ema", "averaged_model", "average_model", "average_model_state",
    "swa_model", "swa_state_dict",
)  # fmt: skip

#: Names of modules that say that what is in them is an average.
_AVERAGED = re.compile(r"(^|[._])(ema|avg|averaged?|swa)([._]|$)")

#: Put in front of every name by data parallelism and the like.
_PREFIXES = ("module.", "model.", "net.", "network.", "encoder.", "timm_model.")
#: Put into names by wrappers of a module, wherever it stands in the network.
_WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

#: Counters that averaging and thop's count of operations leave in modules.
_COUNTERS = ("n_averaged", "steps", "total_ops", "total_params")

#: Deepest wrapper in a wrapper.
_DEPTH = 4


class TwoSets(UserError):
    """A checkpoint holds live and averaged weights, and nobody said which are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a set of tensors stood in a checkpoint.

    Attributes:
        wrapper: key they stood under, "" for a bare mapping.
        live: where the live weights stand; empty if only their average is in it.
        average: where their moving average stands, likewise.
        notes: remarks for a person.
        ignored: names of tensors that do not belong to the network, once it has been looked for.
    """

    wrapper: str = ""
    live: str = ""
    average: str = ""
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def ema_available(self) -> bool:
        """Whether there are a moving average and live weights to choose from."""
        return bool(self.live and self.average)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights(Origin):
    """One set of tensors out of a checkpoint, with what had to be taken off to reach it."""

    state: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class _Set:
    """A set of tensors that a checkpoint holds; `place` is its key, with the prefix of its names if it has one."""

    place: str
    wrapper: str
    averaged: bool
    state: dict[str, Tensor]
    notes: tuple[str, ...]


def choose_weights(content: Mapping[str, Any], ema: bool | None, source: str) -> Weights:
    """The set of tensors in a checkpoint: bare, or under a training program's key.

    Args:
        content: the checkpoint.
        ema: True for the moving average, False for the live weights, None if there is no choice to make.
        source: for messages.

    Raises:
        UserError: there are two sets and `ema` is None; the set asked for is missing; there are no tensors; there are
            several networks.
    """
    sets = _sets(content, "", False, 0)
    live, average = (_only([s for s in sets if s.averaged is averaged], source) for averaged in (False, True))
    if live is None and average is None:
        some = ", ".join(brief(key) for key in list(content)[:6])
        raise UserError(
            f"{source} holds no tensors (keys: {some}); weights are expected bare or under 'state_dict' or 'net'"
        )
    if live and average and ema is None:
        raise TwoSets(
            f"{source} holds two sets of weights: live ({live.place!r}) and their moving average ({average.place!r}); "
            "say which: ema=True for the average, ema=False for the live ones (command line: --ema, --live;"
            " training: model.ema_weights=true or false)"
        )
    chosen = average if ema or live is None else live
    if chosen is None or (ema is False and live is None):
        here, missing = (live, "moving average") if ema else (average, "live weights")
        assert here is not None
        if here.place:
            raise UserError(f"{source} has no {missing}, only {here.place!r}; pass ema={not ema}")
        if not ema:
            raise UserError(f"{source} holds an averaged network, without the live weights beside it; pass ema=True")
        raise UserError(f"{source} holds one set of weights, without a moving average beside it; leave ema out")
    notes = chosen.notes
    if live is None:
        notes = (f"only the moving average{f' ({chosen.place!r})' if chosen.place else ''} is in it", *notes)
    own = {"wrapper": chosen.wrapper, "live": _place(live), "average": _place(average), "notes": notes}
    return Weights(state=chosen.state, **own)


def _place(found: _Set | None) -> str:
    return "" if found is None else found.place or "the file itself"


def _only(sets: list[_Set], source: str) -> _Set | None:
    """The one set of its kind; sets that hold the same values are one, as a network that two modules share."""
    for other in sets[1:]:
        if not _equal(sets[0].state, other.state):
            places = ", ".join(repr(found.place) for found in sets[:4])
            raise UserError(
                f"{source} holds several networks ({places}); save the state_dict of the one that you want by itself"
            )
    return sets[0] if sets else None


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        value.shape == other[name].shape and value.dtype == other[name].dtype and torch.equal(value, other[name])
        for name, value in one.items()
    )


def _sets(content: Mapping[str, Any], wrapper: str, averaged: bool, depth: int) -> list[_Set]:
    """Every set of tensors in a mapping, under whichever keys training programs use."""
    keys = _keys(content)
    if depth == _DEPTH or not keys:
        return _split(content, wrapper, averaged)
    found: list[_Set] = []
    for path, is_average in keys:
        inner: Any = content
        for key in path:
            inner = inner[key]
        place = ".".join((wrapper, *path) if wrapper else path)
        found += _sets(inner, place, averaged or is_average, depth + 1)
    return found


def _keys(content: Mapping[str, Any]) -> list[tuple[tuple[str, ...], bool]]:
    """Paths of keys to sets of weights, and whether each is an average."""
    live, average = _first(content, LIVE_KEYS), _first(content, EMA_KEYS)
    others = _other_keys(content)
    average = average or next((key for key, is_average in others if is_average), None)
    if live == "state_dict" and _first(content, ("current_model_state",)):
        # Lightning's WeightAveraging saves the average in the place of the weights.
        return [(("current_model_state",), False), (("state_dict",), True)]
    if live == "state_dict" and average == "ema_state_dict" and _is_mmengine(content):
        # So does mmengine's EMAHook, which swaps the two so that a deployed file holds the average.
        return [(("ema_state_dict",), False), (("state_dict",), True)]
    found: list[tuple[tuple[str, ...], bool]] = [
        ((key,), is_average) for key, is_average in ((live, False), (average, True)) if key
    ]
    if not live:
        found += [((key,), False) for key, is_average in others if not is_average]
    if live and not average:
        found += [(path, True) for path in _of_callbacks(content)]
    return found


def _other_keys(content: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Keys of people's own under which a network stands, and whether the word says that it is an average."""
    return [
        (key, bool(_AVERAGED.search(key.lower())))
        for key, inner in content.items()
        if key not in (*LIVE_KEYS, *EMA_KEYS)
        and isinstance(inner, Mapping)
        and networks_in(name for name in inner if isinstance(name, str))
    ]


def _is_mmengine(content: Mapping[str, Any]) -> bool:
    """Whether mmengine wrote it. torch's own AveragedModel has the same prefix, and counts in `n_averaged`."""
    names = content["ema_state_dict"]
    wrapped = all(name.startswith("module.") for name in names if name != "steps")
    return wrapped and "n_averaged" not in names and ("steps" in names or "meta" in content or "message_hub" in content)


def _of_callbacks(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Averages that callbacks of Lightning keep in their own state."""
    callbacks = content.get("callbacks")
    if not isinstance(callbacks, Mapping):
        return []
    for name, state in callbacks.items():
        if isinstance(state, Mapping) and (key := _first(state, EMA_KEYS)):
            return [("callbacks", name, key)]
    return []


def _first(content: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        inner = content.get(key)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor | Mapping) for value in inner.values()):
            return key
    return None


def _split(content: Mapping[str, Any], wrapper: str, averaged: bool) -> list[_Set]:
    """The set of tensors in a mapping, or the networks that stand beside each other in it, such as `ema_model.`."""
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        return []
    # Names with @@ are Paddle's bookkeeping.
    left_out = [str(name) for name in content if name not in state and "@@" not in str(name)]
    notes = (f"left out, no tensors: {some_names(left_out)}",) if left_out else ()
    averaged = averaged or "n_averaged" in state
    counters = [name for name in state if name.rpartition(".")[2] in _COUNTERS]
    if counters:
        notes += (f"ignored counters: {some_names(counters)}",)
    state = {name: value for name, value in _unwrapped(state).items() if name.rpartition(".")[2] not in _COUNTERS}
    if not state:
        return []
    networks = networks_in(state)
    if len(networks) < 2:
        return [_Set(wrapper, wrapper, averaged, state, notes)]
    found = []
    for place in networks:
        where = ": ".join(part for part in (wrapper, place.prefix and f"{place.prefix}*") if part)
        is_average = averaged or bool(_AVERAGED.search(place.prefix.lower()))
        found.append(_Set(where, wrapper, is_average, place.take(state), notes))
    return found


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what torch.compile and its like put into them, and without a prefix that all of them share."""
    made = {_WRAPPERS.sub("", name): value for name, value in state.items()}
    if len(made) < len(state):  # a compiled network beside itself: the names tell them apart
        made = dict(state)
    names = [name for name in made if name.rpartition(".")[2] not in _COUNTERS]
    cut = 0
    while names:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p, cut) for name in names)), None)
        if prefix is None:
            break
        cut += len(prefix)
    shared = set(names) if cut else set()
    return {name[cut:] if name in shared else name: value for name, value in made.items()}
