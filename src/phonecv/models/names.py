"""What may stand in the place of a file: a network of the catalog; and what is said of other names. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

from phonecv.errors import UserError, did_you_mean, near_path
from phonecv.models.catalog import MODELS
from phonecv.tables import Table
from phonecv.task import TASKS

#: Before "owner/name", a repository of the Hugging Face hub that `phonecv.weights.hub` fetches.
HUB = "hf://"

#: How checkpoints end.
_CHECKPOINTS = (".safetensors", ".pth", ".pt", ".tar", ".pdparams")


class PublishedRoom(Protocol):
    """The room "published" of a task, if it has one: what its networks are called beside the catalog's names."""

    def heads_rows(self) -> Table:
        """One row per published network, then those without published figures; the first column names them."""

    def recipe_for(self, name: str) -> str:
        """What has to follow `phonecv train` to train the network of this name."""


def published_room(task: str) -> PublishedRoom:
    """What a task's networks are called."""
    return cast(PublishedRoom, TASKS[task].room("published"))


def task_named(name: str) -> str | None:
    """The task that has networks of this name, without weights that one could download; None where none has."""
    return next((task for task, names in _names().items() if name in names), None)


def check_no_folder(model: Path | str) -> None:
    """Refuse a folder where a file is wanted.

    Raises:
        UserError: it is one, naming the checkpoints in it.
    """
    path = Path(model)
    if path.is_dir():
        there = sorted(str(file) for file in path.iterdir() if file.suffix in _CHECKPOINTS)
        if not there:
            raise UserError(f"{str(model)!r} is a folder without a checkpoint; give a run's best.safetensors")
        raise UserError(f"{str(model)!r} is a folder; give a checkpoint in it: {' or '.join(map(repr, there[:2]))}")


def check_named(model: Path | str) -> None:
    """Refuse what is neither a file or folder nor a network, with or without a tag ("name:tag"), nor on the hub.

    Raises:
        UserError: it is not, naming the nearest; a name that other tasks' networks have says how to get a file of one.
    """
    text, path = str(model), Path(model)
    name = text.partition(":")[0]
    if name in MODELS or path.exists() or text.startswith(HUB):
        return
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"there is no file {text!r}{did_you_mean(text, ()) or near_path(path)}")
    if (task := task_named(name)) is not None:
        raise UserError(
            f"{name!r} is {TASKS[task].noun}, of which there are no weights by name; train one, `phonecv train"
            f" {published_room(task).recipe_for(name)} --data DATA --out runs/new`, and give runs/new/best.safetensors"
        )
    known = [*MODELS, *(name for names in _names().values() for name in names)]
    raise UserError(
        f"{text!r} is neither a file nor a model (`phonecv models` lists them, with --heads TASK those of another task)"
        f"{did_you_mean(name, known)}"
    )


def _names() -> dict[str, list[str]]:
    tasks = [name for name, task in TASKS.items() if task.has("published")]
    return {task: list(dict.fromkeys(row[0] for row in published_room(task).heads_rows()[1])) for task in tasks}
