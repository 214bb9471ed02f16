"""Options that verbs take for the models of some tasks: on the command line, straight from the tasks' dataclasses."""

from __future__ import annotations

import functools
import inspect
import operator
import re
import types
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from phonecv.options import options_of
from phonecv.task import TASKS

F = TypeVar("F", bound=Callable[..., Any])

#: Name and text of an attribute in a docstring.
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def with_task_options(verb: str) -> Callable[[F], F]:
    """Put the options of every task into the place of a function's ``**options``, each with whose it is.

    What the person does not give does not arrive either, so that the task's own default holds.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        shown = [*own, *(_parameter(name, by) for name, by in _options(verb).items())]
        function.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
        function.__annotations__ = {one.name: one.annotation for one in shown} | {"return": signature.return_annotation}
        return function

    return decorate


def _options(verb: str) -> dict[str, dict[str, tuple[Any, str]]]:
    """Name of an option -> title of a task that has it -> its annotation and its help."""
    found: dict[str, dict[str, tuple[Any, str]]] = {}
    for name, task in TASKS.items():
        kind = options_of(name, verb)
        docs = "\n".join(inspect.cleandoc(base.__doc__ or "") for base in reversed(kind.__mro__))
        texts = {key: " ".join(text.split()) for key, text in _ATTRIBUTE.findall(docs)}
        hints = get_type_hints(kind, include_extras=True)
        for field in fields(cast(Any, kind)):
            found.setdefault(field.name, {})[f"{task.title}s"] = hints[field.name], texts.get(field.name, "")
    return found


def _parameter(name: str, by: dict[str, tuple[Any, str]]) -> inspect.Parameter:
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
    """An annotation without its bounds, which the task's dataclass checks."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [_plain(item) for item in get_args(hint) if item is not types.NoneType]
        return Path if Path in kinds else functools.reduce(operator.or_, kinds)
    if get_origin(hint) is tuple:
        return tuple[tuple(_plain(item) for item in get_args(hint))]  # type: ignore[misc]
    return hint
