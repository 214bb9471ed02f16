"""Plain options of `phonecv train` and `phonecv distill`: what people type first, and the setting that each is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from phonecv.errors import UserError


@dataclass(frozen=True, slots=True)
class Flag:
    """An option that is a setting.

    Attributes:
        setting: its full name.
        kind: what is taken.
        help: a sentence or two.
    """

    setting: str
    kind: Any
    help: str


#: Of every training, by the name in Python; a setting that is none of these is written KEY=VALUE.
FLAGS: Mapping[str, Flag] = {
    "data": Flag(
        "data.path",
        Path,
        "Folder of the data set, as the recipe wants it: train/ and val/ with a folder per class or a list file,"
        " pictures with COCO annotations, or pictures and label maps.",
    ),
    "out": Flag("run.out", Path, "Run folder. The same command goes on where a stopped run in it left off."),
    "model": Flag("model.name", str, "Network, or the backbone below the heads: `phonecv models` lists them."),
    "weights": Flag(
        "model.weights", str, "To start from: `official`, another tag of the catalog, a checkpoint file, or `none`."
    ),
    "epochs": Flag("schedule.epochs", int, "Times that the training pictures are gone through."),
    "patience": Flag("schedule.patience", int, "Stop where so many epochs in a row have brought no better score."),
    "batch_size": Flag("data.batch_size", int, "Pictures per step, over all devices."),
    "lr": Flag(
        "optimizer.lr",
        float,
        "Highest learning rate; where the recipe has `optimizer.lr_batch`, for a batch of so many.",
    ),
    "val": Flag(
        "data.val", float, "Share held out for validation, of data without a validation split; a fifth by default."
    ),
    "input_size": Flag("data.size", int, "Side of the pictures in pixels; by default the network's own."),
    "seed": Flag("run.seed", int, "Of everything that is drawn by chance."),
    "workers": Flag("data.workers", int, "Processes that load pictures; by default by the number of cores."),
}

#: Of a training with a teacher, beside those.
TEACHER_FLAGS: Mapping[str, Flag] = {
    "teacher": Flag("distill.teacher", str, "`timm:NAME`, a name that `phonecv models` lists, or a checkpoint file."),
    "teacher_weights": Flag("distill.weights", str, "A tag of the catalog; for timm `pretrained` or a file."),
    "kind": Flag(
        "distill.kind",
        Literal["soft", "hard", "features"],
        "Soft matches the teacher's probabilities, hard its first guess, features what it sees in pictures without"
        " labels.",
    ),
    "weight": Flag("distill.weight", float, "Factor of the teacher's loss."),
    "temperature": Flag("distill.temperature", float, "Softens both opinions."),
}


def spelt(flag: str) -> str:
    """As it is typed: "batch_size" is --batch-size."""
    return f"--{flag.replace('_', '-')}"


def flag_overrides(flags: Mapping[str, Flag], given: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """What plain options stand for, as ``group.name=value`` texts.

    Args:
        flags: those that there are.
        given: value by the name in `flags`.
        overrides: what was given in that form beside them.

    Raises:
        UserError: an option and an override say different things.
    """
    said = {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in overrides)}
    for name, value in given.items():
        setting = flags[name].setting
        group, _, leaf = setting.partition(".")
        other = setting if setting in said else group
        told = other in said and (other == setting or re.search(rf"\b{leaf}\b", said[group]))
        if told and not (other == setting and _same(flags[name], value, said[setting])):
            raise UserError(f"{spelt(name)} {value} and {other}={said[other]} set the same; leave one of them out")
    return [f"{flags[name].setting}={value}" for name, value in given.items()]


def _same(flag: Flag, value: Any, text: str) -> bool:
    try:
        return text == value if not isinstance(flag.kind, type) else flag.kind(text) == value
    except ValueError:
        return False
