"""Every room of every task holds what its protocol says: types are told of them by a cast, which nothing checks."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from phonecv.bundles.room import BundlingRoom
from phonecv.data.layouts import LayoutsRoom
from phonecv.evaluating import EvaluateRoom
from phonecv.exporting.room import ExportingRoom
from phonecv.generating import GenerateRoom
from phonecv.models.names import PublishedRoom
from phonecv.opening import OpeningRoom
from phonecv.options import VerbsRoom
from phonecv.predicting import PredictRoom
from phonecv.quantization.room import QuantizingRoom
from phonecv.report import ReportRoom
from phonecv.task import ROOMS, TASKS, Task
from phonecv.training.checks import ChecksRoom
from phonecv.training.config import ConfigRoom
from phonecv.training.setup import TrainingRoom

PROTOCOLS: dict[str, type] = {
    "verbs": VerbsRoom,
    "config": ConfigRoom,
    "layouts": LayoutsRoom,
    "checks": ChecksRoom,
    "training": TrainingRoom,
    "opening": OpeningRoom,
    "predict": PredictRoom,
    "generate": GenerateRoom,
    "evaluate": EvaluateRoom,
    "exporting": ExportingRoom,
    "quantizing": QuantizingRoom,
    "bundling": BundlingRoom,
    "report": ReportRoom,
    "published": PublishedRoom,
}

ALL = (*TASKS.values(), Task("regress", "a regressor", "regress"))

#: Rooms called as a verb are in the tasks that have it; only those with heads to list have the last.
VERBS = {"predict", "generate", "evaluate"}
ROOMS_OF_ALL = [
    (task, room)
    for task in ALL
    for room in ROOMS
    if (room in task.room("verbs").OPTIONS if room in VERBS else room != "published" or task.has(room))
]


def faults(room: ModuleType, protocol: type) -> list[str]:
    """What a module lacks of a protocol, and functions that cannot be called as it says."""
    found = [f"no {name}" for name in inspect.get_annotations(protocol) if not hasattr(room, name)]
    for name, wanted in inspect.getmembers(protocol, inspect.isfunction):
        if name.startswith("_"):
            continue
        if not callable(function := getattr(room, name, None)):
            found.append(f"no {name}()")
            continue
        _, *parameters = inspect.signature(wanted).parameters.values()
        by_name = {one.name: one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
        try:
            inspect.signature(function).bind(*[one for one in parameters if one.name not in by_name], **by_name)
        except TypeError as error:
            found.append(f"{name}(): {error}")
    return found


@pytest.mark.parametrize(("task", "room"), ROOMS_OF_ALL, ids=lambda one: getattr(one, "name", one))
def test_a_room_holds_what_its_protocol_says(task: Task, room: str) -> None:
    assert faults(task.room(room), PROTOCOLS[room]) == []


def test_faults_are_found() -> None:
    room = ModuleType("room")
    room.LAYOUTS = ()  # type: ignore[attr-defined]
    assert faults(room, LayoutsRoom) == []
    room.streams = lambda sources: (sources, ())  # type: ignore[attr-defined]
    assert faults(room, PredictRoom) == [
        "no find_samples()", "no predictions()", "streams(): too many positional arguments", "no write_predictions()",
    ]  # fmt: skip
