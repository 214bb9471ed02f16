"""What a data folder is: the layouts that the tasks read, how each is told, and what looks it over.

A further layout is a further row of `LAYOUTS` in the room "layouts" of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from phonecv.data.findings import FIXES, Look, Notes, Numbers
from phonecv.task import TASKS


@dataclass(frozen=True, slots=True)
class Layout:
    """A way in which a data set lies in its folder.

    Attributes:
        name: for people.
        task: name of the task that it is for.
        fits: whether a folder has it.
        run: looks it over.
        fixes: kind of finding -> what to do about it.
        nearly: what a folder without a layout seems to be that comes near to this one, and what to do; empty where it
            is nothing of the kind.
        assumed: a folder that shows no layout is taken for this one, with this name.
        surely: whether a folder that fits and has another layout too is of this one; if not, only who asks for the
            task's data gets it looked over.
        called: what a folder that fits is more precisely, for people; empty where `name` says it.
    """

    name: str
    task: str
    fits: Callable[[Path], bool]
    run: Callable[[Notes, Path, Look], Numbers]
    fixes: Mapping[str, str]
    nearly: Callable[[Path], str] = lambda _: ""
    assumed: bool = False
    surely: Callable[[Path], bool] = lambda _: True
    called: Callable[[Path], str] = lambda _: ""

    def describe(self, root: Path) -> str:
        """What a folder of this layout is, for people."""
        return self.called(root) or self.name


class LayoutsRoom(Protocol):
    """What an audit asks of a task: the module ``layouts`` of its folder.

    Attributes:
        LAYOUTS: that it reads; the first that a folder has counts.
    """

    LAYOUTS: Sequence[Layout]


def known_layouts() -> list[Layout]:
    """The layouts of all tasks; those of the first task last, as nearly any folder may be one of class folders."""
    first, *others = (task for task in TASKS.values() if task.has("layouts"))
    return [layout for task in (*others, first) for layout in cast(LayoutsRoom, task.room("layouts")).LAYOUTS]


def find_layouts(root: Path) -> list[Layout]:
    """The layouts that a folder has, one of each audit; lists win over folders, as in training."""
    found: list[Layout] = []
    for layout in known_layouts():
        if layout.run not in [other.run for other in found] and layout.fits(root):
            found.append(layout)
    return found


def fixes_of(layouts: Sequence[Layout]) -> dict[str, str]:
    """What to do about every kind of finding of these layouts."""
    return FIXES | {kind: fix for layout in layouts for kind, fix in layout.fixes.items()}
