"""The tasks: what a model does, and the folder that holds all that is special about it.

To add a task: one folder with the rooms of `ROOMS` that it needs, and one row in `TASKS`. Nothing else names a task.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

from phonecv.errors import UserError, did_you_mean, nearest
from phonecv.preprocessing import DensePreprocessing, Preprocessing

#: The modules of a task's folder that the rest of the package asks for. What one has to hold is a protocol that stands
#: where it is used: `phonecv.training.setup` for "training", and so on. The last is for tasks with heads to list.
ROOMS = (
    "config",
    "layouts",
    "training",
    "opening",
    "predict",
    "evaluate",
    "exporting",
    "quantizing",
    "bundling",
    "report",
    "published",
)


@dataclass(frozen=True, slots=True)
class Task:
    """What a model does.

    Attributes:
        name: as it stands in the records of files, in recipes and on the command line.
        noun: what a model of it is called, with its article.
        package: import path of its folder.
        preprocessing: how pictures are brought to its networks.
    """

    name: str
    noun: str
    package: str
    preprocessing: type[Preprocessing] | type[DensePreprocessing] = Preprocessing

    @property
    def title(self) -> str:
        """What a model of it is called, without the article."""
        return self.noun.partition(" ")[2]

    def room(self, name: str) -> ModuleType:
        """A module of its folder, imported when it is asked for.

        Raises:
            KeyError: not one of `ROOMS`, a mistake in the package.
            ImportError: the task has no such module.
        """
        if name not in ROOMS:
            raise KeyError(name)
        return import_module(f"{self.package}.{name}")

    def has(self, room: str) -> bool:
        """Whether its folder has such a module."""
        return find_spec(f"{self.package}.{room}") is not None


#: What a model does that says nothing of itself. Its networks are those of the catalog, all others have heads on one.
DEFAULT_TASK = "classify"

TASKS = {
    task.name: task
    for task in (
        Task(DEFAULT_TASK, "a classifier", "phonecv.classify"),
        Task("detect", "a detector", "phonecv.detect", DensePreprocessing),
        Task("segment", "a segmenter", "phonecv.segment", DensePreprocessing),
    )
}


def find_task(name: str) -> Task:
    """The task of this name.

    Raises:
        UserError: there is none, naming the nearest.
    """
    if name not in TASKS:
        raise UserError(f"unknown task {name!r}{did_you_mean(name, TASKS)} (known: {', '.join(TASKS)})")
    return TASKS[name]


_NOUNS = {task.name: task.noun for task in TASKS.values()} | {"results": "a file of COCO results"}

#: Verb -> task -> import path of the function that does it.
FUNCTIONS: dict[str, dict[str, str]] = {
    "predict": {
        "classify": "phonecv.classify.predict:predict_classifier",
        "detect": "phonecv.detect.predict:predict_detector",
        "segment": "phonecv.segment.predict:predict_segmenter",
    },
    "evaluate": {
        "classify": "phonecv.classify.evaluate:evaluate_classifier",
        "detect": "phonecv.detect.evaluate:evaluate_detector",
        "segment": "phonecv.segment.evaluate:evaluate_segmenter",
        "results": "phonecv.detect.evaluate:evaluate_results",
    },
}


def done_by(model: object) -> Task:
    """What a network or a runner does."""
    return TASKS[getattr(model, "task", DEFAULT_TASK)]


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def function_of(verb: str, task: str, model: Any, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that does a verb for a task, if none of the options belongs to other tasks only.

    Args:
        verb: a key of `FUNCTIONS`.
        task: of the model; "results" for a file of COCO results.
        model: for the message.
        options: as given.

    Raises:
        UserError: naming the option and whose it is.
    """
    own = resolve_name(FUNCTIONS[verb][task])
    unknown = options.keys() - inspect.signature(own).parameters.keys()
    if unknown:
        known = {other: inspect.signature(resolve_name(path)).parameters for other, path in FUNCTIONS[verb].items()}
        for name in unknown:
            near = nearest(name, {option: None for options in known.values() for option in options})
            owners = [other for other, options in known.items() if near in options]
            if near == name:
                raise belongs_elsewhere(name, owners, task, model)
            if owners and task not in owners:
                raise UserError(f"there is no option {name!r}; {belongs_elsewhere(near, owners, task, model)}")
    return own


def belongs_elsewhere(name: str, owners: Sequence[str], task: str, model: Any) -> UserError:
    """The error for an option of other tasks."""
    named = f"{str(model)!r}" if isinstance(model, Path | str) else "this model"
    return UserError(f"{name} is for {' and '.join(_NOUNS[owner] for owner in owners)}; {named} is {_NOUNS[task]}")
