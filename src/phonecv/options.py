"""Options of the verbs in Python: known, of the right type and in range before work starts, as on the command line.

An annotation says all there is to say: ``topk: Count = 5`` is a whole number from 1 on, wherever it is given. A verb's
options are a frozen dataclass: `by_keywords` makes the function that takes its fields, `phonecv.cli` the command.
"""

from __future__ import annotations

import inspect
import numbers
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from phonecv.errors import UserError, did_you_mean
from phonecv.settings import Range, coerce
from phonecv.task import TASKS
from phonecv.text import counted

if TYPE_CHECKING:
    import torch

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M")
D = TypeVar("D")
O = TypeVar("O")  # noqa: E741 - options

Count = Annotated[int, Range(low=1)]
Workers = Annotated[int, Range(low=0)]
Share = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(above=0)]
#: Side of tiles in pixels, 0 for none; and what they share, where with more their number would grow without end.
Tile = Annotated[int, Range(low=0)]
Overlap = Annotated[float, Range(0, 0.9)]
#: Side of a square in pixels, or height and width.
Size = Count | tuple[Count, Count]


#: Name and text of an attribute in a docstring.
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def flag(name: str | None) -> Mapping[str, str | None]:
    """What a field's metadata say of the command line: its name there, where it has another; None for Python alone."""
    return {"flag": name}


class Checked:
    """Frozen dataclasses whose fields are what their annotations say, however they are made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for one in fields(cast(Any, self)):
            hint = hint_in(type(self), one.name)
            object.__setattr__(self, one.name, taken(getattr(self, one.name), hint, one.name))


class OpeningOptions(Checked):
    """What a task wants to know when a model of it is opened; each has a default."""

    __slots__ = ()

    @property
    def free(self) -> bool:
        """Whether a runner that is open already may be asked for these values."""
        return True


class VerbOptions(Checked):
    """What a verb takes for a task; each has a default."""

    __slots__ = ()

    @property
    def opening(self) -> OpeningOptions | None:
        """Those that the opening of the model is about."""
        return None


@dataclass(frozen=True, kw_only=True)  # without slots, so that it can stand beside another base that has them
class RunOptions(VerbOptions):
    """What verbs that run a model take for every one.

    Attributes:
        out: Folder for tables and pictures, and after an evaluation for a page that shows them (report.html).
        batch_size: Pictures per step; by default what suits the model and the device. No result depends on it.
        device: cpu, cuda, cuda:1 or mps; by default a GPU if there is one.
        amp: Autocast; figures are usually published without.
        on_progress: called with (done, all) after every step.
    """

    out: Path | str | None = None
    batch_size: Count | None = None
    device: str | torch.device | None = None
    amp: Literal["none", "bf16", "fp16"] = "none"
    on_progress: Callable[[int, int], None] | None = field(default=None, metadata=flag(None))


@dataclass(frozen=True, kw_only=True)
class PictureOptions(RunOptions):
    """What verbs take that go through pictures.

    Attributes:
        workers: Loader processes or threads; by default chosen from the cores and the number of pictures.
        devices: Processes that share the pictures, one per GPU where there are any; torchrun says so by itself.
        runtime: Of a network on a CPU: auto takes a faster one than PyTorch where it pays for its start, eager stays
            with PyTorch, and openvino, onnxruntime, executorch or compiled is that one.
    """

    workers: Workers | None = None
    devices: Count = 1
    runtime: str = "auto"


@dataclass(frozen=True, kw_only=True)
class PredictOptions(PictureOptions):
    """What `predict` takes for every model; each task adds its own.

    Attributes:
        on_frame: called with {"frame", "time", ...} of each frame of a video or camera.
    """

    on_frame: Callable[[dict[str, Any]], None] | None = field(default=None, metadata=flag(None))


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(PictureOptions):
    """What `evaluate` takes for every model; each task adds its own.

    Attributes:
        split: Split to evaluate; all takes the whole of data without splits. Of a run that held a share of such data
            out, its own lists say what val and train are.
        list_file: Only what this list names, one a line. Classifiers read the labels, too; where the classes cannot be
            matched by name, these are the model's outputs.
        limit: Only the first so many pictures.
    """

    split: str = "val"
    list_file: Path | str | None = None
    limit: Count | None = None


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(RunOptions):
    """What `generate` takes for every model; each task adds its own."""


#: What a verb of tasks takes for every model.
COMMON: Mapping[str, type[VerbOptions]] = {
    "predict": PredictOptions,
    "evaluate": EvaluateOptions,
    "generate": GenerateOptions,
}


class VerbsRoom(Protocol):
    """The room "verbs" of a task. It is read for the help page too, so it imports nothing heavy.

    Attributes:
        OPTIONS: verb -> the frozen dataclass of its options, whose docstring is the help. The task has the verbs that
            stand there, and a room of each.
        RESULTS: suffix of files with results that `evaluate` takes in the place of a model -> what such a file is.
        DECODINGS: how much of the work after the network `export` can put into a file -> what that gives, beside "raw";
            a task without any may leave it out.
    """

    OPTIONS: Mapping[str, type[VerbOptions]]
    RESULTS: Mapping[str, str]


def verbs_room(task: str) -> VerbsRoom:
    """What a task's verbs take."""
    return cast(VerbsRoom, TASKS[task].room("verbs"))


def options_of(task: str, verb: str) -> type[VerbOptions]:
    """The dataclass of what a verb takes for a task that has it, with what it takes for every model."""
    return verbs_room(task).OPTIONS[verb]


def decodings_of(task: str) -> Mapping[str, str]:
    """How much of the work after the network a file of a task can hold -> what the file gives.

    "raw" holds what accelerators and int8 are made for, and leaves to the app what the record describes.
    """
    return {"raw": "what the network gives"} | getattr(verbs_room(task), "DECODINGS", {})


def tasks_with(verb: str) -> list[str]:
    """Names of the tasks that have a verb."""
    return [name for name in TASKS if verb in verbs_room(name).OPTIONS]


def check_verb(task: str, verb: str, model: object) -> None:
    """Refuse a model of a task that has no such verb.

    Raises:
        UserError: naming the verbs that this task has and not all have.
    """
    if verb in verbs_room(task).OPTIONS:
        return
    own = [f"`phonecv {other}`" for other in verbs_room(task).OPTIONS if len(tasks_with(other)) < len(TASKS)]
    noun = TASKS[task].noun
    raise UserError(
        f"{named(model)} is {noun}, which {verb} does not take; for {noun} there is {', '.join(own)};"
        f" {verb} takes {' or '.join(TASKS[other].noun for other in tasks_with(verb))}"
    )


def named(model: object) -> str:
    """How a message calls what a person gave for a model."""
    return repr(str(model)) if isinstance(model, Path | str) else "this model"


@overload
def by_keywords(function: Callable[[M, D, O], R], kind: Callable[P, O], /) -> Callable[Concatenate[M, D, P], R]: ...
@overload
def by_keywords(function: Callable[[M, O], R], kind: Callable[P, O], /) -> Callable[Concatenate[M, P], R]: ...
def by_keywords(function: Callable[..., Any], kind: Any, /) -> Callable[..., Any]:
    """A verb's function as people call it: its options one by one, as keywords, in the place of the object.

    Args:
        function: ``<verb>_with``; its last parameter takes the options.
        kind: their frozen dataclass, a `Checked`, whose docstring tells what they are.

    Returns:
        The function, which raises a UserError that names the nearest option for one that does not exist, and what goes
        before the options where more or less was given.
    """

    def verb(*arguments: Any, **options: Any) -> Any:
        check_names(options, inspect.signature(kind).parameters)
        if len(arguments) != len(first):
            names = ", ".join(one.name for one in first)
            raise UserError(
                f"{verb.__name__}() was given {counted(len(arguments), 'values')} without a name; call"
                f" {verb.__name__}({names}), with options by name behind them"
            )
        return function(*arguments, kind(**options))

    own = inspect.signature(function)
    first = [one.replace(kind=one.POSITIONAL_ONLY) for one in own.parameters.values()][:-1]
    shown = own.replace(parameters=[*first, *inspect.signature(kind).parameters.values()])
    verb.__signature__ = shown  # type: ignore[attr-defined]
    verb.__module__, verb.__name__ = function.__module__, function.__name__.removesuffix("_with")
    verb.__qualname__ = verb.__name__
    listed = "\n".join(f"    {name}: {text}" for name, text in texts_of(kind).items())
    verb.__doc__ = f"{inspect.getdoc(function)}\n\nOptions, as fields of `{kind.__name__}`:\n{listed}"
    return verb


def texts_of(kind: type) -> dict[str, str]:
    """What the docstrings of a dataclass and its bases say of each field."""
    docs = "\n".join(inspect.cleandoc(base.__doc__ or "") for base in reversed(kind.__mro__))
    return {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(docs)}


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Check that options exist."""
    known = list(known)
    for name in given:
        if name not in known:
            raise UserError(f"there is no option {name!r}{did_you_mean(name, known)} (options: {', '.join(known)})")


def hint_in(kind: type, name: str) -> Any:
    """The annotation of a dataclass's field, whichever of its bases has it; Any for a class that only types need."""
    owner = next(base for base in kind.__mro__ if name in inspect.get_annotations(base))
    holder = types.SimpleNamespace(__annotations__={name: owner.__annotations__[name]})
    try:
        return get_type_hints(holder, vars(sys.modules[owner.__module__]), include_extras=True)[name]
    except NameError:
        return Any


def taken(value: Any, hint: Any, name: str) -> Any:
    """A value as its annotation wants it, see `check_options`."""
    if not _plain(hint):
        return value
    if isinstance(value, numbers.Number) and hasattr(value, "item"):
        value = value.item()  # NumPy's
    return coerce(value, hint, name)


def _plain(hint: Any) -> bool:
    """Whether the annotation speaks of nothing but numbers, texts, choices and lists of them."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType, tuple, Sequence):
        return all(_plain(item) for item in get_args(hint))
    return get_origin(hint) is Literal or hint in (int, float, bool, str, types.NoneType, Ellipsis)
