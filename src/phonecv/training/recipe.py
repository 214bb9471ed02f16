"""Recipes: YAML files of settings, shipped ones by name and a person's own by path, and what their heads promise."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, overload

from phonecv.errors import UserError, did_you_mean
from phonecv.plain_scalars import number
from phonecv.plain_yaml import read_yaml_file
from phonecv.task import TASKS
from phonecv.text import counted
from phonecv.training.config import TrainConfig, build_config

log = logging.getLogger("phonecv")

C = TypeVar("C", bound=TrainConfig)

#: What a run folder keeps of its settings: all of them.
CONFIG = "config.yaml"


@overload
def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> TrainConfig: ...
@overload
def load_config(recipe: str | Path, overrides: Sequence[str] = (), *, kind: type[C]) -> C: ...
def load_config(recipe: str | Path, overrides: Sequence[str] = (), *, kind: type[TrainConfig] = TrainConfig) -> Any:
    """The configuration of ``phonecv train RECIPE key=value ...``.

    A file given as ``model.weights`` without ``model.name`` says itself which network it holds.

    Args:
        recipe: a name of `recipe_names`, a path, or a run folder, which is then `run.out`, wherever it is now.
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
    if path.parent == Path(recipe):
        overrides = [f"run.out={recipe}", *overrides]
    named = {text.partition("=")[0].strip() for text in overrides}
    config = build_config(_signed(dict(values), recipe), [*overrides, *_shorter_warmup(values, overrides, named)])
    if "model.weights" in named and not named & {"model", "model.name"}:
        from phonecv.training.start import follow_weights

        config = follow_weights(config)
    if not isinstance(config, kind):
        raise UserError(f"{path} trains {TASKS[config.task].noun}; {kind.__name__} is of another task")
    return config


def _signed(values: dict[str, Any], recipe: str | Path) -> dict[str, Any]:
    """The settings with where they are from, unless they say it."""
    run = values.get("run") or {}
    return values | {"run": {"recipe": str(recipe), **run}} if isinstance(run, Mapping) else values


def _shorter_warmup(values: Mapping[str, Any], overrides: Sequence[str], named: Set[str]) -> list[str]:
    """Warm-up in proportion, where fewer epochs were asked for than the recipe warms up for."""
    if "schedule.epochs" not in named or named & {"schedule", "schedule.warmup_epochs", "schedule.warmup_steps"}:
        return []
    try:
        recipe = build_config(values).schedule
    except UserError:  # which is told when all is put together
        return []
    text = next(text for text in reversed(overrides) if text.partition("=")[0].strip() == "schedule.epochs")
    asked = number(text.partition("=")[2].strip())
    if recipe.warmup_steps is not None or not asked or not 0 < asked <= recipe.warmup_epochs:
        return []
    shorter = f"{asked * recipe.warmup_epochs / recipe.epochs:.2g}"
    of = f"{recipe.warmup_epochs:g} of the {counted(recipe.epochs, 'epochs')} of the recipe"
    log.info("warm-up takes %s of %s, as it takes %s", shorter, counted(int(asked), "epochs"), of)
    return [f"schedule.warmup_epochs={shorter}"]


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("phonecv.training") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe given by name or path, or of the run in a folder."""
    path, name = Path(recipe), str(recipe)
    if name in recipe_names():
        return Path(str(resources.files("phonecv.training") / "recipes" / f"{name}.yaml"))
    if path.is_file():
        return path
    if path.is_dir():
        if (path / CONFIG).is_file():
            return path / CONFIG
        raise UserError(f"{path} is a folder without {CONFIG}, so no run is there to go on with; name a recipe")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        hint = did_you_mean(name, ())
        raise UserError(f"no recipe file {name!r}{hint}; give a YAML file or one of {', '.join(recipe_names())}")
    raise UserError(
        f"unknown recipe {name!r}{did_you_mean(name, recipe_names())} (recipes: {', '.join(recipe_names())})"
    )


#: What a head says, each on a line of its own that may go on in the next ones.
FIELDS = ("For", "Data", "Hardware", "Time", "Score", "Source", "Command")


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
