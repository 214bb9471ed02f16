"""The time that is left, and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from phonecv.text import counted, lasting
from phonecv.training.log import Pace, RunLog
from phonecv.training.world import World


def test_the_first_step_of_a_kind_counts_until_the_second() -> None:
    pace = Pace()
    assert pace.left({"epoch": 10}) is None
    pace.note("epoch", 30.0)
    assert pace.left({"epoch": 10}) == 300
    for seconds in (1.0, 3.0):
        pace.note("epoch", seconds)
    assert pace.left({"epoch": 10, "evaluation": 5}) == pytest.approx(20)
    pace.note("evaluation", 0.5)
    assert pace.left({"epoch": 10, "evaluation": 4}) == pytest.approx(22)


def test_later_steps_weigh_most() -> None:
    pace = Pace()
    for seconds in [1.0] * 1000 + [4.0] * 1000:
        pace.note("epoch", seconds)
    assert pace.left({"epoch": 1}) == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (1, "epochs", "1 epoch"),
        (0, "pictures", "0 pictures"),
        (1, "loader workers", "1 loader worker"),
        (2000, "training pictures", "2,000 training pictures"),
        (1, "classes", "1 class"),
        (1, "passes", "1 pass"),
        (1, "boxes", "1 box"),
        (1, "images", "1 image"),
        (1, "entries", "1 entry"),
        (1, "classes are", "1 class is"),
        (1, "pictures have", "1 picture has"),
        (2, "classes are", "2 classes are"),
    ],
)
def test_one_is_singular(number: int, nouns: str, text: str) -> None:
    assert counted(number, nouns) == text


def test_of_several_the_verb_bends() -> None:
    assert counted(1, "classes are", of=3) == "1 of 3 classes is"
    assert counted(2, "classes have", of=3) == "2 of 3 classes have"
    assert counted(1, "pictures", of=1) == "1 of 1 picture"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (45, "45 s"), (600, "10 min"), (12000, "3 h 20 min"), (200_000, "2 d 7 h"), (7199, "2 h 0 min")],
)
def test_times_are_said_as_people_do(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


def test_without_a_terminal_a_line_comes_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr("phonecv.training.log.time.monotonic", lambda: clock[0])
    log = RunLog(tmp_path, World())
    move = log.bar_for("epoch 1/3", 10, later={"epoch": 20, "evaluation": 8})
    for count in range(1, 11):
        clock[0] += 25.0
        move(count)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "epoch 1/3  3/10  3 min left, 11 min of the run",
        "epoch 1/3  6/10  2 min left, 10 min of the run",
        "epoch 1/3  9/10  25 s left, 9 min of the run",
    ]
    quiet = RunLog(tmp_path, World(), progress=False).bar_for("epoch 1/3", 10)
    clock[0] += 1000
    quiet(5)
    assert capsys.readouterr().out == ""
