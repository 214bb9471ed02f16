"""Recipes: YAML files of settings, shipped ones by name and a person's own by path, and what their heads promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, overload

from phonecv.errors import UserError, did_you_mean
from phonecv.plain_yaml import read_yaml_file
from phonecv.task import TASKS
from phonecv.training.config import TrainConfig, build_config

C = TypeVar("C", bound=TrainConfig)


@overload
def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> TrainConfig: ...
@overload
def load_config(recipe: str | Path, overrides: Sequence[str] = (), *, kind: type[C]) -> C: ...
def load_config(recipe: str | Path, overrides: Sequence[str] = (), *, kind: type[TrainConfig] = TrainConfig) -> Any:
    """The configuration of ``phonecv train RECIPE key=value ...``.

    A file given as ``model.weights`` without ``model.name`` says itself which network it holds.

    Args:
        recipe: a name of `recipe_names`, or a path.
        overrides: ``group.name=value`` texts laid over it.
        kind: what the caller counts on, such as `phonecv.classify.config.ClassifyConfig`.

    Raises:
        UserError: no such recipe, unreadable YAML, a training of another kind, or anything that
            `phonecv.training.config.build_config` refuses.
    """
    path = find_recipe(recipe)
    values = read_yaml_file(path, f"recipe {path}")
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise UserError(f"recipe {path} holds no groups of settings such as 'model:' and 'schedule:'")
    config = build_config(values, overrides)
    named = {text.partition("=")[0].strip() for text in overrides}
    if "model.weights" in named and not named & {"model", "model.name"}:
        from phonecv.training.start import follow_weights

        config = follow_weights(config)
    if not isinstance(config, kind):
        raise UserError(f"{path} trains {TASKS[config.task].noun}; {kind.__name__} is of another task")
    return config


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("phonecv.training") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe given by name or path."""
    path, name = Path(recipe), str(recipe)
    if name in recipe_names():
        return Path(str(resources.files("phonecv.training") / "recipes" / f"{name}.yaml"))
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise UserError(f"no recipe file {name!r}; give a YAML file or one of {', '.join(recipe_names())}")
    raise UserError(
        f"unknown recipe {name!r}{did_you_mean(name, recipe_names())} (recipes: {', '.join(recipe_names())})"
    )


#: What a head says, each on a line of its own that may go on in the next ones.
FIELDS = ("Data", "Hardware", "Time", "Score", "Source", "Command")


@dataclass(frozen=True, slots=True)
class Promise:
    """The head of a recipe: its title, fields by name in small letters (such as "score"), and the whole text."""

    title: str
    fields: dict[str, str]
    text: str


def read_promise(path: Path) -> Promise:
    """The head of a recipe file; empty where it has none."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    parts: dict[str, list[str]] = {"": []}
    field = ""
    for line in lines:
        name, found, rest = line.partition(": ")
        if found and name in FIELDS:
            field, line = name.lower(), rest
        parts.setdefault(field, []).append(line.strip())
    joined = {name: " ".join(words) for name, words in parts.items()}
    return Promise(joined.pop(""), joined, "\n".join(lines))
