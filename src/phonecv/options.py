"""Options of the verbs in Python: known, of the right type and in range before work starts, as on the command line.

A function's signature says all there is to say: ``topk: Count = 5`` is a whole number from 1 on, wherever it is given.
`checked` holds callers to it.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import types
from collections.abc import Callable, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from phonecv.errors import UserError, did_you_mean
from phonecv.settings import Range, coerce
from phonecv.task import TASKS

P = ParamSpec("P")
R = TypeVar("R")

Count = Annotated[int, Range(low=1)]
Workers = Annotated[int, Range(low=0)]
Share = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(above=0)]


class Checked:
    """Frozen dataclasses whose fields are what their annotations say, however they are made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            if get_origin(hint) is not ClassVar:
                object.__setattr__(self, name, taken(getattr(self, name), hint, name))


class OpeningOptions(Checked):
    """What a task wants to know when a model of it is opened; each has a default."""

    __slots__ = ()

    #: Whether a runner that is open already may be asked for other values.
    free: ClassVar[bool] = True


class VerbOptions(Checked):
    """What a verb takes for a task, beside what it takes for every model; each has a default."""

    __slots__ = ()

    @property
    def opening(self) -> OpeningOptions | None:
        """Those that the opening of the model is about."""
        return None


class VerbsRoom(Protocol):
    """The room "verbs" of a task. It is read for the help page too, so it imports nothing heavy.

    Attributes:
        OPTIONS: verb -> the frozen dataclass of its options, whose docstring is the help.
        RESULTS: suffix of files with results that `evaluate` takes in the place of a model -> what such a file is.
    """

    OPTIONS: Mapping[str, type[VerbOptions]]
    RESULTS: Mapping[str, str]


def verbs_room(task: str) -> VerbsRoom:
    """What a task's verbs take."""
    return cast(VerbsRoom, TASKS[task].room("verbs"))


def options_of(task: str, verb: str) -> type[VerbOptions]:
    """The dataclass of what a verb takes for a task, beside what it takes for every model."""
    return verbs_room(task).OPTIONS[verb]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which first checks the options it is given, see `check_options`."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        return function(*arguments, **check_options(function, options))  # type: ignore[arg-type]

    return call


def check_options(function: Callable[..., Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options given, as the signature of `function` wants them.

    Annotations of paths, arrays and callables are left to the function; numbers, texts, choices and lists of them are
    checked.

    Args:
        function: one of a verb's.
        chosen: options by name.

    Raises:
        UserError: an option that does not exist, with the nearest one; a wrong type, or a value out of range.
    """
    parameters = inspect.signature(function).parameters
    for name in chosen:
        if name not in parameters:
            options = [key for key, one in parameters.items() if one.default is not inspect.Parameter.empty]
            near = did_you_mean(name, parameters)
            raise UserError(f"there is no option {name!r}{near} (options: {', '.join(options)})")
    return {name: taken(value, _hint(function, name), name) for name, value in chosen.items()}


def _hint(function: Callable[..., Any], name: str) -> Any:
    parameter = inspect.signature(function).parameters.get(name)
    holder = types.SimpleNamespace(__annotations__={} if parameter is None else {name: parameter.annotation})
    try:
        return get_type_hints(holder, inspect.unwrap(function).__globals__, include_extras=True).get(name, Any)
    except NameError:  # of a class that is imported for the type checker alone: nothing plain
        return Any


def taken(value: Any, hint: Any, name: str) -> Any:
    """A value as its annotation wants it, see `check_options`.

    Raises:
        UserError: a wrong type, or a value out of range.
    """
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
