"""`phonecv train`: train by a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from phonecv.cli.output import markdown_table, say, text_table

Recipe = Annotated[str | None, Parameter(help="Name or YAML file; without one the shipped recipes are listed.")]
Overrides = Annotated[
    str,
    Parameter(name="KEY=VALUE", help="Any setting of the recipe, such as `schedule.epochs=30` or `model.name=emo_2m`."),
]
Data = Annotated[
    Path | None,
    Parameter(
        help="Folder of the data set (`data.path`), as the recipe wants it: train/ and val/ with a folder per class or"
        " a list file, pictures with COCO annotations, or pictures and label maps."
    ),
]
Out = Annotated[Path | None, Parameter(help="Run folder (`run.out`).")]
Devices = Annotated[int, Parameter(help="Processes to train with on this machine, one per GPU where there are any.")]
Show = Annotated[bool, Parameter(help="Print the complete configuration and stop.")]


def train(
    recipe: Recipe = None,
    /,
    *overrides: Overrides,
    data: Data = None,
    out: Out = None,
    devices: Devices = 1,
    show: Show = False,
    about: Annotated[
        bool, Parameter(help="Print what the recipe promises (data, hardware, time, score, command) and stop.")
    ] = False,
    markdown: Annotated[bool, Parameter(show=False)] = False,
) -> int:
    """Train a classifier, detector or segmenter by a recipe.

    A recipe is a shipped one by name, or a YAML file of yours. The run folder gets the full configuration, metrics,
    curves and the last and best checkpoints. The same command goes on where a stopped or killed run left off. On
    several nodes start it under torchrun.

    For example:

    - `phonecv train finetune --data photos --out runs/photos schedule.epochs=20`
    - `phonecv train detect_small --data cells --out runs/cells`
    - `phonecv train segment_small --data streets --out runs/streets model.name=emov2_2m`
    - `phonecv train runs/photos/config.yaml` (go on)
    - `phonecv train probe --about`
    - `phonecv train finetune --show`
    """
    if recipe is None:
        list_recipes(markdown)
        return 0
    if about:
        from phonecv.training.recipe import find_recipe, read_promise

        say(read_promise(find_recipe(recipe)).text or f"{recipe} states no promise; --show prints its settings")
        return 0
    return run_recipe(recipe, overrides, data, out, devices, show)


def setting_for(option: str, value: str = "VALUE") -> str | None:
    """What to write in the place of an option that `train` does not have: the setting of that or a near name.

    The option is as typed, such as ``--epochs`` or ``--epochs=3``, and `value` followed it.
    """
    from phonecv.training.config import settings_named

    name, found, joined = option.lstrip("-").partition("=")
    names = settings_named(name.replace("-", "_"))
    if not names:
        return None
    return " or ".join(f"{each}={joined if found else value}" for each in names)


def list_recipes(markdown: bool = False) -> None:
    """Print the shipped recipes."""
    from phonecv.cli.tables import recipe_rows

    header, rows, right = recipe_rows()
    if markdown:
        say(markdown_table(header, rows, right=right))
    else:
        # The promises are sentences: too long for a line of a terminal.
        say(text_table(header[:3], [row[:3] for row in rows]))
        say("\n`phonecv train RECIPE --about` says what one promises, `--show` prints all of its settings")


def run_recipe(
    recipe: str,
    overrides: Sequence[str],
    data: Path | None,
    out: Path | None,
    devices: int,
    show: bool,
    *,
    distill: bool = False,
) -> int:
    """Train, or print the configuration; returns the exit status."""
    from phonecv.training.recipe import load_config
    from phonecv.training.run import check_teacher

    paths = ([] if data is None else [f"data.path={data}"]) + ([] if out is None else [f"run.out={out}"])
    config = load_config(recipe, [*overrides, *paths])
    if distill:
        check_teacher(config, f"recipe {recipe!r}", "--teacher ")
    if show:
        say(config.to_yaml().rstrip())
        return 0
    from phonecv.training.run import train as run

    result = run(config, devices=devices)
    # Stopped in good order, with everything saved: the shell still learns that it was stopped.
    return 0 if result.finished else 130
