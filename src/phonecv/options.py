"""Options of the verbs in Python: known, of the right type and in range before work starts, as on the command line.

A function's signature says all there is to say: ``topk: Count = 5`` is a whole number from 1 on, wherever it is given.
`checked` holds callers to it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import numbers
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from phonecv.errors import UserError, did_you_mean
from phonecv.settings import Range, coerce

P = ParamSpec("P")
R = TypeVar("R")

Count = Annotated[int, Range(low=1)]
Workers = Annotated[int, Range(low=0)]
Share = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(above=0)]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which first checks the options it is given, see `check_options`."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        return function(*arguments, **check_options(function, options))  # type: ignore[arg-type]

    return call


def check_options(
    function: Callable[..., Any], chosen: Mapping[str, Any], *, also: Sequence[str] = ()
) -> dict[str, Any]:
    """The options given, as the signature of `function` wants them.

    Annotations of paths, arrays and callables are left to the function; numbers, texts, choices and lists of them are
    checked. A function that takes ``**loading`` takes the options of `load_checkpoint` too.

    Args:
        function: one of a verb's.
        chosen: options by name.
        also: names of the caller's own options, to suggest.

    Raises:
        UserError: an option that does not exist, with the nearest one; a wrong type, or a value out of range.
    """
    parameters = inspect.signature(function).parameters
    own = [name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    loads = "loading" in parameters
    for name in chosen:
        if name not in own and not (loads and name in _loading(constructors=True)):
            known = [*own, *also, *(_loading() if loads else ())]
            options = [key for key in known if key not in own or parameters[key].default is not inspect.Parameter.empty]
            raise UserError(f"there is no option {name!r}{did_you_mean(name, known)} (options: {', '.join(options)})")
    return {name: _taken(value, _hint(function, name), name) for name, value in chosen.items()}


def _hint(function: Callable[..., Any], name: str) -> Any:
    parameter = inspect.signature(function).parameters.get(name)
    holder = types.SimpleNamespace(__annotations__={} if parameter is None else {name: parameter.annotation})
    try:
        return get_type_hints(holder, inspect.unwrap(function).__globals__, include_extras=True).get(name, Any)
    except NameError:  # of a class that is imported for the type checker alone: nothing plain
        return Any


def _taken(value: Any, hint: Any, name: str) -> Any:
    if not _plain(hint):
        return value
    if isinstance(value, numbers.Number) and hasattr(value, "item"):
        value = value.item()  # NumPy's
    return coerce(value, _listed(hint), name)


def _plain(hint: Any) -> bool:
    """Whether the annotation speaks of nothing but numbers, texts, choices and lists of them."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType, tuple, Sequence):
        return all(_plain(item) for item in get_args(hint))
    return get_origin(hint) is Literal or hint in (int, float, bool, str, types.NoneType, Ellipsis)


def _listed(hint: Any) -> Any:
    """The annotation with tuples of any length where it says sequences."""
    if get_origin(hint) is Sequence:
        return tuple[_listed(get_args(hint)[0]), ...]  # type: ignore[misc]
    if get_origin(hint) in (Union, types.UnionType):
        return functools.reduce(lambda one, other: one | other, [_listed(item) for item in get_args(hint)])
    return hint


def _loading(*, constructors: bool = False) -> list[str]:
    """Options of `load_checkpoint`; with those of the networks' constructors, which it passes on."""
    from phonecv.weights import load_checkpoint

    names = ["name", *(n for n, p in inspect.signature(load_checkpoint).parameters.items() if p.kind is p.KEYWORD_ONLY)]
    if constructors:
        from phonecv.models.catalog import MODELS

        for builder in {record.builder for record in MODELS.values()}:
            module, _, kind = builder.partition(":")
            names += inspect.signature(getattr(importlib.import_module(module), kind)).parameters
    return names
