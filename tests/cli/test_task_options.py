"""Options of the command line come from the tasks' dataclasses, whatever tasks there are."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cyclopts import App

from phonecv.cli.task_options import with_task_options
from phonecv.errors import UserError
from phonecv.options import Checked, Count, options_of, tasks_with
from phonecv.task import TASKS, Task
from phonecv.verbs import settled


@dataclass(frozen=True, slots=True)
class Guess(Checked):
    """Of a task of its own.

    Attributes:
        threshold: Least depth.
        rulers: Files with
            known lengths.
    """

    threshold: Count | None = None
    rulers: tuple[Count, Count] | None = None


@pytest.fixture
def fourth(monkeypatch: pytest.MonkeyPatch) -> None:
    room = ModuleType("measuring.verbs")
    room.OPTIONS, room.RESULTS = {"predict": Guess, "evaluate": Guess}, {}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "measuring", ModuleType("measuring"))
    monkeypatch.setitem(sys.modules, "measuring.verbs", room)
    monkeypatch.setitem(TASKS, "measure", Task("measure", "a measurer", "measuring"))


def command(verb: str) -> Any:
    @with_task_options(verb)
    def function(first: str, /, *, out: Path | None = None, **options: Any) -> dict[str, Any]:
        """Do it.

        Args:
            out: Where to.
        """
        return {"first": first, "out": out, **options}

    return function


def helps(verb: str) -> dict[str, str]:
    parameters = inspect.signature(command(verb)).parameters
    return {name: one.annotation.__metadata__[0].help for name, one in list(parameters.items())[2:]}


def test_the_options_of_all_tasks_are_one_commands(fourth: None) -> None:
    names = list(inspect.signature(command("predict")).parameters)
    assert names[:9] == ["first", "out", "batch_size", "device", "amp", "workers", "devices", "runtime", "topk"]
    assert names[-1] == "rulers"
    assert names.count("threshold") == 1
    app = App(result_action="return_value")
    app.command(command("predict"), name="verb")
    tokens = ["verb", "x", "--rulers", "3", "4", "--scales", "1", "--scales", "0.5", "--flip"]
    assert app(tokens) == {"first": "x", "out": None, "rulers": (3, 4), "scales": (1.0, 0.5), "flip": True}


def test_help_says_whose_an_option_is(fourth: None) -> None:
    shown = helps("predict")
    assert shown["rulers"] == "Files with known lengths (measurers)."
    assert shown["flip"] == "Average over mirrored pictures too (segmenters)."
    assert shown["threshold"].endswith("Detectors: least score of an object, 0.3 by default. Measurers: least depth.")
    assert shown["threshold"].startswith("Classifiers: probability from which on labels are told")


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_every_option_has_a_default_and_a_help(verb: str) -> None:
    for task in tasks_with(verb):
        options_of(task, verb)()
    assert all(helps(verb).values())


def test_a_verb_that_a_task_lacks_names_the_one_it_has(fourth: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["measuring.verbs"], "OPTIONS", {"survey": Guess, "evaluate": Guess})
    assert "measure" not in tasks_with("predict")
    with pytest.raises(UserError, match=r"'x' is a measurer, which predict does not take; .* `phonecv survey`"):
        settled("measure", "predict", {}, model="x")
    with pytest.raises(UserError, match=r"a classifier, which survey does not take; .* `phonecv predict`"):
        settled("classify", "survey", {}, model=None)
