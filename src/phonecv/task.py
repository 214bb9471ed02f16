"""The tasks: what a model does, and the folder that holds all that is special about it.

To add a task: one folder with the rooms of `ROOMS` that it needs, and one row in `TASKS`. Nothing else names a task.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from phonecv.errors import UserError, did_you_mean
from phonecv.preprocessing import DensePreprocessing, Preprocessing

#: The modules of a task's folder that the rest of the package asks for. What one has to hold is a protocol that stands
#: where it is used: `phonecv.training.setup` for "training", and so on. Rooms called as a verb are for tasks that have
#: it (`phonecv.options.VerbsRoom`), the last is for tasks with heads to list.
ROOMS = (
    "verbs",
    "config",
    "layouts",
    "checks",
    "training",
    "opening",
    "predict",
    "generate",
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
        pipeline: what the Hugging Face hub calls it.
    """

    name: str
    noun: str
    package: str
    preprocessing: type[Preprocessing] | type[DensePreprocessing] = Preprocessing
    pipeline: str = "other"

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
        Task(DEFAULT_TASK, "a classifier", "phonecv.classify", pipeline="image-classification"),
        Task("detect", "a detector", "phonecv.detect", DensePreprocessing, "object-detection"),
        Task("segment", "a segmenter", "phonecv.segment", DensePreprocessing, "image-segmentation"),
        Task("generate", "a generator", "phonecv.generation", pipeline="unconditional-image-generation"),
        Task("video", "a video classifier", "phonecv.video", pipeline="video-classification"),
    )
}


def find_task(name: str) -> Task:
    """The task of this name."""
    if name not in TASKS:
        raise UserError(f"unknown task {name!r}{did_you_mean(name, TASKS)} (known: {', '.join(TASKS)})")
    return TASKS[name]


def done_by(model: object) -> Task:
    """What a network or a runner does."""
    return TASKS[getattr(model, "task", DEFAULT_TASK)]
