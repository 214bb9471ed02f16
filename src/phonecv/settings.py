"""Frozen dataclasses from plain values: types, ranges and names checked, mistakes explained.

One mechanism serves Python, recipe files and the command line, so the three cannot drift apart. A field's
annotation is its whole contract: ``Annotated[float, Range(0, 1)]`` is a number from 0 to 1 wherever it comes from.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import math
import reprlib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from phonecv.errors import UserError, did_you_mean
from phonecv.migration import replacement
from phonecv.plain_scalars import MAX_DEPTH, Plain, number, scalar
from phonecv.text import shortened, shortened_path

T = TypeVar("T")

#: Whole numbers are smaller than this: a seed takes any of 64 bits.
MOST = 1 << 64
#: Letters of a bad value that a message shows.
LONGEST = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number; `above` and `below` exclude the bound itself."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def check(self, value: float, where: str) -> None:
        """Raise a UserError unless `value` lies within."""
        inside = (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if not inside:
            raise UserError(f"{where}={_shown(value)} is out of range; it must be {self}")

    def __str__(self) -> str:
        parts = [
            f"{sign} {bound:g}"
            for sign, bound in ((">=", self.low), (">", self.above), ("<=", self.high), ("<", self.below))
            if bound is not None
        ]
        return " and ".join(parts)


def build(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """An instance of the dataclass `kind` from nested plain values; a message names the path below `where`."""
    hints = _hints(kind)
    for name in values:
        if name not in hints:
            raise UserError(_unknown(kind, str(name), where))
    return kind(**{name: coerce(value, hints[name], _join(where, name)) for name, value in values.items()})


def check(instance: Any, where: str = "") -> None:
    """Coerce and check every field of a frozen dataclass in place; nested ones included."""
    for name, hint in _hints(type(instance)).items():
        value = coerce(getattr(instance, name), hint, _join(where, name))
        object.__setattr__(instance, name, value)


def coerce(value: Any, hint: Any, where: str) -> Any:
    """`value` as the annotation `hint` wants it, or a UserError that names `where`."""
    bounds: tuple[Range, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *extra = get_args(hint)
        bounds = tuple(item for item in extra if isinstance(item, Range))
    if get_origin(hint) in (Union, types.UnionType):
        return _coerce_optional(value, hint, where)
    if get_origin(hint) is Sequence:
        hint = tuple[get_args(hint)[0], ...]  # type: ignore[misc]
    if dataclasses.is_dataclass(hint):
        return _coerce_group(value, hint, where)
    if isinstance(value, Plain) and not _takes_text(hint):
        value = _parse(value, where)
    result = _coerce_plain(value, hint, where)
    for bound in bounds:
        bound.check(result, where)
    return result


def _coerce_optional(value: Any, hint: Any, where: str) -> Any:
    choices = [choice for choice in get_args(hint) if choice is not types.NoneType]
    if value is None or (isinstance(value, Plain) and value.strip().lower() in ("null", "none", "~", "")):
        return None
    if isinstance(value, Plain) and not any(map(_takes_text, choices)):
        value = _parse(value, where)
    errors = []
    for choice in choices:
        try:
            return coerce(value, choice, where)
        except UserError as error:
            errors.append(error)
    # Of one number or several: a list is measured as a list.
    lists = [get_origin(choice) in (tuple, Sequence) for choice in choices]
    alike = [i for i, many in enumerate(lists) if many == isinstance(value, (list, tuple))]
    error = errors[alike[0] if alike else 0]
    if any(get_origin(choice) is dict for choice in choices) and not isinstance(value, Mapping):
        raise UserError(f"{error}, nor a table such as {{name: 2}}")
    raise error


def _coerce_group(value: Any, hint: Any, where: str) -> Any:
    if isinstance(value, hint):
        check(value, where)
        return value
    if isinstance(value, Plain):
        value = _parse(value, where)
    return build(hint, _group(value, hint, where), where)


def _group(value: Any, hint: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where}={_shown(value)} is not a group of settings ({', '.join(_hints(hint))})")
    return value


def _coerce_plain(value: Any, hint: Any, where: str) -> Any:
    if hint is Any:
        return _plain(value)
    if get_origin(hint) is Literal:
        options = get_args(hint)
        for option in options:
            if value == option and isinstance(value, bool) == isinstance(option, bool):  # 1 == True
                return option
        names = [str(option).lower() if isinstance(option, bool) else str(option) for option in options]
        nearest = did_you_mean(str(value)[:LONGEST], names)
        raise UserError(f"{where}={_shown(value)} is not one of {', '.join(names)}{nearest}")
    if get_origin(hint) is tuple:
        return _coerce_tuple(value, get_args(hint), where)
    if get_origin(hint) is dict or hint is dict:
        if not isinstance(value, Mapping):
            example = "{depths: [1, 1, 2, 2]}"
            raise UserError(f"{where}={_shown(value)} is not a table of names and values, such as {example}")
        return {str(key): _plain(item) for key, item in value.items()}
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= MOST:
            raise UserError(f"{where} has a number of {value.bit_length()} bits; 64 are the most")
        return value
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        read = number(value) if isinstance(value, str) else value if abs(value) < MOST else math.nan
        if read is not None and math.isfinite(read):
            return float(read)
    if hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(hint, str(hint))
    raise UserError(f"{where}={_shown(value)} is not {wanted}")


def _coerce_tuple(value: Any, items: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif not isinstance(value, Sequence):
        value = [value]
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(coerce(item, items[0], f"{where}.{i}") for i, item in enumerate(value))
    if len(value) != len(items):
        raise UserError(f"{where}={_shown(list(value))} has {len(value)} values; it needs {len(items)}")
    return tuple(coerce(item, hint, f"{where}.{i}") for i, (item, hint) in enumerate(zip(value, items, strict=True)))


def merge(values: dict[str, Any], overrides: Sequence[str], kind: type) -> dict[str, Any]:
    """`values` with ``a.b=value`` texts laid over them; an existing list is reached as ``curriculum.0.size=128``."""
    merged = copy.deepcopy(values)
    for text in overrides:
        path, found, value = text.partition("=")
        path = path.strip()
        if not found or not path:
            example = "group.name=value, for example schedule.epochs=30"
            raise UserError(f"override {_shown(text)} is not of the form {example}")
        keys = path.split(".")
        if len(keys) > MAX_DEPTH:
            raise UserError(f"override {_shown(path)} goes through {len(keys)} groups; no setting lies so deep")
        try:
            _set(merged, keys, Plain(value.strip()), kind, "")
        except UserError as error:
            if (instead := replacement(path)) is None:
                raise
            raise UserError(f"there is no setting {_shown(path)}; {instead}") from error
    return merged


def _set(node: Any, keys: list[str], value: Plain, kind: Any, group: str) -> None:  # node: dict or list
    key, rest = keys[0], keys[1:]
    path = _join(group, key)
    if isinstance(node, list):
        if not key.isdigit() or int(key) >= len(node):
            raise UserError(f"override {path}: there is no entry {_shown(key)} in a list of {len(node)}")
        place: Any = int(key)
        hint = kind
    else:
        if dataclasses.is_dataclass(kind) and key not in _hints(kind):
            raise UserError(_unknown(kind, key, group))
        place = key
        hint = _inner(_hints(kind)[key]) if dataclasses.is_dataclass(kind) else dict
    if not rest:
        node[place] = value
        return
    child = node.get(place) if isinstance(node, dict) else node[place]
    if isinstance(child, Plain):  # an earlier override of the whole
        child = node[place] = _parse(child, path)
        if dataclasses.is_dataclass(hint) and child is not None:
            _group(child, hint, path)
    if not isinstance(child, (dict, list)):
        if dataclasses.is_dataclass(kind) and get_origin(_hints(kind).get(key)) is tuple:
            raise UserError(f"override {path}: the list is empty; write {path}=[...] in the place of {path}.{rest[0]}")
        if not (dataclasses.is_dataclass(hint) or get_origin(hint) is dict or hint is dict):
            raise UserError(f"override {path}.{rest[0]}: {path} is a single value, not a group; write {path}=value")
        child = node[place] = {}
    _set(child, rest, value, hint, path)


def leaves(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every single setting under the dataclass `kind`: its full name, the dataclass that has it, its annotation."""
    for name, hint in _hints(kind).items():
        inner = _inner(hint)
        if dataclasses.is_dataclass(inner) and get_origin(hint) is not tuple:
            yield from leaves(inner, _join(prefix, name))
        else:
            yield _join(prefix, name), kind, hint


def paths(kind: Any) -> Iterator[str]:
    """The full name of every single setting under the dataclass `kind`."""
    return (name for name, _, _ in leaves(kind))


def written(value: object) -> str:
    """A value as a recipe has it, on one line and not too long."""
    if isinstance(value, bool) or value is None:
        return "none" if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return shortened(str(list(value)), 48)
    return (shortened_path if "/" in str(value) else shortened)(str(value), 48)


def flatten(instance: Any, prefix: str = "") -> dict[str, Any]:
    """Every single setting by its full name; dataclasses inside tuples stay one value."""
    flat: dict[str, Any] = {}
    for name in _hints(type(instance)):
        value = getattr(instance, name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, _join(prefix, name))
        else:
            flat[_join(prefix, name)] = value
    return flat


def changed(instance: Any) -> dict[str, Any]:
    """The single settings that differ from their defaults, by full name."""
    defaults: dict[str, Any] = {}
    for name in _hints(type(instance)):
        value = default(type(instance), name)
        defaults |= flatten(value, name) if dataclasses.is_dataclass(value) else {name: value}
    return {name: value for name, value in flatten(instance).items() if value != defaults[name]}


def default(kind: Any, name: str) -> Any:
    """The default of a field of the dataclass `kind`."""
    item = next(item for item in dataclasses.fields(kind) if item.name == name)
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def to_plain(instance: Any) -> dict[str, Any]:
    """Nested plain values for YAML or JSON (tuples become lists)."""
    return _plain(dataclasses.asdict(instance))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    # What a text typed on the command line stands for may hold such texts itself.
    return _plain(_parse(value, "value")) if isinstance(value, Plain) else value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: hint for name, hint in get_type_hints(kind, include_extras=True).items() if name in names}


def _inner(hint: Any) -> Any:
    """The dataclass or plain type within Annotated, optional and tuple annotations."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(item for item in get_args(hint) if item is not types.NoneType)
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is tuple and dataclasses.is_dataclass(get_args(hint)[0]):
        hint = get_args(hint)[0]
    return hint


def _takes_text(hint: Any) -> bool:
    return hint is str or (get_origin(hint) is Literal and all(isinstance(item, str) for item in typing.get_args(hint)))


def _parse(text: str, where: str) -> Any:
    """The value that a text typed on the command line, or an unquoted one of a file, stands for."""
    from phonecv.plain_yaml import read_yaml  # not before a value is read: the help page needs no PyYAML

    try:
        value = read_yaml(text, "the value")
        return scalar(value) if isinstance(value, Plain) else value
    except UserError as error:
        raise UserError(f"{where}={_shown(text)} cannot be read: {error}") from error


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = LONGEST
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 16


def _shown(value: Any) -> str:
    """A bad value for a message: at most so many items, levels and letters of it."""
    return _SHORT.repr(str(value) if isinstance(value, Plain) else value)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _unknown(kind: Any, key: str, group: str) -> str:
    """The message for a name that the dataclass `kind` (at the path `group`) has not."""
    own = list(_hints(kind))
    deeper = list(paths(kind))
    # A bare `epochs` is nearest to the setting that ends in it, whatever the spelling distance says.
    exact = [name for name in deeper if name.rpartition(".")[2] == key]
    by_leaf = {name.rpartition(".")[2]: name for name in reversed(deeper)}
    near = exact[:1] or difflib.get_close_matches(key, own, 1) or difflib.get_close_matches(key, by_leaf, 1, 0.5)
    hint = f"; did you mean {_join(group, by_leaf.get(near[0], near[0]))!r}?" if near else ""
    options = f"{group} has: {', '.join(own)}" if group else f"groups: {', '.join(own)}"
    return f"unknown setting {_shown(_join(group, key))}{hint} ({options})"
