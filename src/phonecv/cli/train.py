"""`phonecv train`: train by a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from phonecv.cli.completing import overrides_like, recipes_like
from phonecv.cli.output import markdown_table, say
from phonecv.cli.task_options import with_flags
from phonecv.tables import text_table
from phonecv.training.flags import FLAGS, flag_overrides

Recipe = Annotated[
    str | None, Parameter(help="Name or YAML file; without one the recipes are listed.", completer=recipes_like)
]
Overrides = Annotated[
    str,
    Parameter(
        name="KEY=VALUE",
        help="Any setting, such as `schedule.warmup_epochs=2`; `phonecv train RECIPE --help` shows all of them.",
        completer=overrides_like,
    ),
]
Devices = Annotated[int, Parameter(help="Processes to train with on this machine, one per GPU where there are any.")]
Show = Annotated[bool, Parameter(help="Print the complete configuration and stop.")]


@with_flags(FLAGS)
def train(
    recipe: Recipe = None,
    /,
    *overrides: Overrides,
    devices: Devices = 1,
    show: Show = False,
    about: Annotated[
        bool, Parameter(help="Print what the recipe promises (data, hardware, time, score, command) and stop.")
    ] = False,
    markdown: Annotated[bool, Parameter(show=False)] = False,
    **flags: Any,
) -> int:
    """Train a classifier, detector, segmenter or another network by a recipe.

    A recipe is a shipped one by name, or a YAML file of yours. The run folder gets the full configuration, metrics,
    curves and the last and best checkpoints. The same command goes on where a stopped or killed run left off. On
    several nodes start it under torchrun.

    For example:

    - `phonecv train finetune --data photos --out runs/photos --epochs 20`
    - `phonecv train detect_small --data cells --out runs/cells --batch-size 8`
    - `phonecv train segment_small --data streets --out runs/streets --model emov2_2m ema.decay=0.99`
    - `phonecv train runs/photos/config.yaml` (go on)
    - `phonecv train finetune --help` (its settings, with what each means)
    - `phonecv train probe --about`
    """
    if recipe is None:
        list_recipes(markdown)
        return 0
    if about:
        from phonecv.training.recipe import find_recipe, read_promise

        say(read_promise(find_recipe(recipe)).text or f"{recipe} states no promise; --show prints its settings")
        return 0
    return run_recipe(recipe, [*overrides, *flag_overrides(FLAGS, flags, overrides)], devices, show)


def setting_for(option: str, value: str = "VALUE", *, exact: bool = False) -> str | None:
    """What to write in the place of an option that `train` does not have: the setting of that name, or of a near one.

    The option is as typed, such as ``--warmup-epochs`` or ``--warmup-epochs=3``, and `value` followed it.
    """
    from phonecv.training.config import settings_named

    name, found, joined = option.lstrip("-").partition("=")
    names = settings_named(name.replace("-", "_"), exact=exact)
    if not names:
        return None
    return " or ".join(f"{each}={joined if found else value}" for each in names)


def list_recipes(markdown: bool = False) -> None:
    """Print the shipped recipes, one group after the other."""
    from phonecv.cli.tables import RECIPE_GROUPS, recipe_rows

    header, rows, right = recipe_rows()
    for title, about in RECIPE_GROUPS.items():
        own = [row[1:] for row in rows if row[0] == title]
        if markdown:
            say(f"### {title}\n\n{about}\n\n{markdown_table(header[1:], own, right=right)}\n")
        else:
            # The promises are sentences: too long for a line of a terminal.
            say(f"{title}: {about}\n\n{text_table(header[1:4], [row[:3] for row in own])}\n")
    if not markdown:
        say("`phonecv train RECIPE --about` says what one promises, `--help` explains its settings")


def run_recipe(recipe: str, overrides: Sequence[str], devices: int, show: bool, *, distill: bool = False) -> int:
    """Train, or print the configuration; returns the exit status."""
    from phonecv.training.recipe import load_config
    from phonecv.training.run import check_teacher

    config = load_config(recipe, overrides)
    if distill:
        check_teacher(config, f"recipe {recipe!r}", "--teacher ")
    if show:
        say(config.to_yaml().rstrip())
        return 0
    from phonecv.training.run import train as run

    result = run(config, devices=devices)
    # Stopped in good order, with everything saved: the shell still learns that it was stopped.
    return 0 if result.finished else 130
