"""Options of verbs on the command line, straight from the dataclasses that Python takes."""

from __future__ import annotations

import functools
import inspect
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from cyclopts import Parameter, Token

from phonecv.cli.completing import formats_like, models_like, teachers_like, weights_like
from phonecv.cli.options import listed, numbers, pixels
from phonecv.options import COMMON, Size, hint_in, options_of, tasks_with, texts_of
from phonecv.task import TASKS
from phonecv.training.flags import Flag

F = TypeVar("F", bound=Callable[..., Any])


def with_options(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The command of a function whose last parameter is a dataclass of options: an option for each of its fields.

    What the person does not give does not arrive either, so that the dataclass's own default holds.
    """
    signature = inspect.signature(function, eval_str=True)
    *own, last = signature.parameters.values()
    told = _told(last.annotation)

    @functools.wraps(function)
    def command(*arguments: Any, **given: Any) -> int | None:
        chosen = {name: one.read(given.pop(name)) for name, one in told.items() if name in given}
        return function(*arguments, **given, **{last.name: last.annotation(**chosen)})

    _show(command, signature, [*own, *(one.parameter for one in told.values())])
    return command


def with_task_options(verb: str) -> Callable[[F], F]:
    """Put the options of every task that has it into the place of a function's ``**options``, each with whose it is.

    What the person does not give does not arrive either, so that the task's own default holds.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        common = _told(COMMON[verb]) if verb in COMMON else {}
        shared = [one.parameter for name, one in common.items() if name not in signature.parameters]
        theirs = [_parameter(name, by) for name, by in _options(verb).items()]
        _show(function, signature, [*own, *shared, *theirs])
        return function

    return decorate


def with_flags(flags: Mapping[str, Flag]) -> Callable[[F], F]:
    """Put plain options that are settings of a training into the place of a function's ``**flags``."""

    def decorate(function: F) -> F:
        signature = inspect.signature(function, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        first = [one for one in own if one.kind is not one.KEYWORD_ONLY]
        theirs = [_flag_parameter(name, flag) for name, flag in flags.items()]
        _show(function, signature, [*first, *theirs, *own[len(first) :]])
        return function

    return decorate


def _whole(_: object, tokens: Sequence[Token]) -> int:
    """A whole number; cyclopts would round any other."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is not a whole number") from None


def _flag_parameter(name: str, flag: Flag) -> inspect.Parameter:
    said = Parameter(
        help=f"{flag.help} (`{flag.setting}`)",
        completer=_COMPLETERS.get(flag.setting),
        show_default=False,
        converter=_whole if flag.kind is int else None,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[flag.kind | None, said]
    )


#: Setting -> what the shell offers for it.
_COMPLETERS = {"model.name": models_like, "model.weights": weights_like, "distill.teacher": teachers_like}


@dataclass(frozen=True, slots=True)
class _Told:
    """An option of the command line.

    Attributes:
        parameter: for cyclopts.
        read: from what cyclopts gives to what the dataclass wants.
    """

    parameter: inspect.Parameter
    read: Callable[[Any], Any]


def _told(kind: type) -> dict[str, _Told]:
    """The options that the fields of a dataclass are on the command line."""
    found, texts = {}, texts_of(kind)
    for one in fields(cast(Any, kind)):
        name = one.metadata.get("flag", one.name.replace("_", "-"))
        if name is None:
            continue
        hint, read = _said(hint_in(kind, one.name), f"--{name}")
        default = inspect.Parameter.empty if one.default is one.default_factory is MISSING else one.default
        if isinstance(default, tuple):
            default = ",".join(map(str, default)) or None
        help = " ".join(filter(None, [texts[one.name], one.metadata.get("more", str)()]))
        offers = formats_like if name == "to" else None
        negative = f"--no-{name}" if default is True else ()
        said = Parameter(name=f"--{name}", negative=negative, help=help, completer=offers)
        hint = Annotated[hint if default is not None else hint | None, said]
        kept = inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        found[one.name] = _Told(kept, read)
    return found


def _show(function: Any, signature: inspect.Signature, parameters: Sequence[inspect.Parameter]) -> None:
    """Let cyclopts see a function with these parameters."""
    function.__signature__ = signature.replace(parameters=parameters)
    function.__annotations__ = {one.name: one.annotation for one in parameters} | {
        "return": signature.return_annotation
    }


def _said(hint: Any, flag: str) -> tuple[Any, Callable[[Any], Any]]:
    """How an option is given on the command line, and how that becomes what its annotation wants."""
    if get_origin(hint) is Annotated:
        return _said(get_args(hint)[0], flag)
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if set(get_args(Size)) <= set(kinds):
        return str, pixels
    if get_origin(kinds[0]) is Sequence:
        (item,) = get_args(kinds[0])
        if _plain(item) is int:
            return str, functools.partial(numbers, flag)
        return (str, listed) if _plain(item) is str else (list[_plain(item)], list)  # type: ignore[misc]
    return _plain(hint), lambda value: value


def _options(verb: str) -> dict[str, dict[str, tuple[Any, str]]]:
    """Name of an option -> title of a task that has it -> its annotation and its help."""
    found: dict[str, dict[str, tuple[Any, str]]] = {}
    for name in tasks_with(verb):
        kind = options_of(name, verb)
        texts, common = texts_of(kind), fields(cast(Any, COMMON[verb])) if verb in COMMON else ()
        for field in fields(cast(Any, kind)):
            if field.name in {one.name for one in common}:
                continue
            described = hint_in(kind, field.name), texts.get(field.name, "")
            found.setdefault(field.name, {})[f"{TASKS[name].title}s"] = described
    return found


def _parameter(name: str, by: Mapping[str, tuple[Any, str]]) -> inspect.Parameter:
    texts = list(dict.fromkeys(text for _, text in by.values()))
    if len(texts) == 1:
        text = f"{texts[0].rstrip('.')} ({', '.join(by)})."
    else:
        text = " ".join(f"{title.capitalize()}: {text[:1].lower()}{text[1:]}" for title, (_, text) in by.items())
    hint = _plain(next(hint for hint, _ in by.values())) | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint, Parameter(help=text)]
    )


def _plain(hint: Any) -> Any:
    """An annotation without its bounds, which the dataclass checks; a path where several kinds begin with one."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [_plain(item) for item in get_args(hint) if item is not types.NoneType]
        return kinds[0] if Path in kinds else functools.reduce(operator.or_, kinds)
    if get_origin(hint) is tuple:
        return tuple[tuple(_plain(item) for item in get_args(hint))]  # type: ignore[misc]
    return hint
