"""`phonecv train RECIPE --help`: what a recipe is, and every setting with the value that it has there."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping

from phonecv.cli.output import say
from phonecv.settings import changed, written
from phonecv.training.flags import FLAGS, TEACHER_FLAGS, Flag, spelt


def explain_recipe(verb: str, recipe: str) -> None:
    """Print it."""
    from phonecv.training.config import setting_texts
    from phonecv.training.recipe import find_recipe, load_config, read_promise

    promise, config = read_promise(find_recipe(recipe)), load_config(recipe)
    values, own = config.flat(), changed(config)
    texts = {name: text for name, text in setting_texts(type(config)).items() if not name.startswith(config.unread)}
    flags = {name: flag for name, flag in _flags(verb).items() if flag.setting in texts}
    say(f"phonecv {verb} {recipe} --data FOLDER --out RUN [--OPTION VALUE ...] [KEY=VALUE ...]\n")
    say(f"{promise.text}\n" if promise.text else f"{recipe} states no promise.\n")
    say("Options\n")
    shown = {name: _value(values[flag.setting]) for name, flag in flags.items()}
    wide, deep = max(map(len, flags)) + 4, max(map(len, shown.values()))
    for name, flag in flags.items():
        _say_hanging(f"  {spelt(name):{wide}} {shown[name]:{deep}} ", f"{flag.help} (`{flag.setting}`)")
    say("\nSettings, written KEY=VALUE; those that this recipe has chosen are marked *")
    group = ""
    for name, text in texts.items():
        if name.startswith("run.recipe"):
            continue
        if name.partition(".")[0] != group:
            group = name.partition(".")[0]
            say()
        _say_hanging(f"{'*' if name in own else ' '} {name}={_value(values[name])}", f"  {text}", under=6)


def _flags(verb: str) -> Mapping[str, Flag]:
    return {**FLAGS, **TEACHER_FLAGS} if verb == "distill" else FLAGS


def _value(value: object) -> str:
    return written(value) if value != "" else "-"


def _say_hanging(start: str, text: str, under: int | None = None) -> None:
    """A start, and a text that goes on below it, indented."""
    width = min(110, shutil.get_terminal_size().columns)
    indent = " " * (len(start) + 1 if under is None else under)
    say(textwrap.fill(f"{start} {text}".rstrip(), width, subsequent_indent=indent, break_on_hyphens=False))
