"""What a run leaves to read: metrics.csv, TensorBoard events, curves.png, and lines or a bar on the terminal."""

from __future__ import annotations

import csv
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import Tensor

from phonecv.files import atomic_path, named
from phonecv.text import lasting
from phonecv.training.folder import check_still_there
from phonecv.training.pace import Pace
from phonecv.training.world import World

Row = dict[str, float]

#: Seconds between two drawings of the curves; the end of a run always draws them.
CURVES_EVERY = 60.0

#: Seconds between two lines about what is under way, where there is no terminal for a bar.
LINE_EVERY = 60.0


class LossMeter:
    """Sums of named losses over some steps; stays on the device and in this process until `average`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.names: tuple[str, ...] = ()
        self.sums = torch.zeros(0, device=device)  # one per name, then the number of steps

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Take in one step."""
        values = torch.stack([*(loss.detach().float() for loss in losses.values()), torch.ones((), device=self.device)])
        if not self.names:
            self.names, self.sums = tuple(losses), values
        else:
            self.sums = self.sums + values

    def average(self, world: World) -> Row:
        """Means over steps and processes, with their sum as "loss"; starts anew."""
        *sums, count = world.sum(self.sums).tolist()
        row = {name: value / count for name, value in zip(self.names, sums, strict=True)}
        self.reset()
        return {"loss": sum(row.values())} | row

    def reset(self) -> None:
        """Forget everything."""
        self.names, self.sums = (), torch.zeros(0, device=self.device)

    def state(self) -> dict[str, Any]:
        """Plain values for the resume state."""
        return {"names": list(self.names), "sums": self.sums.cpu()}

    def load(self, state: Mapping[str, Any]) -> None:
        """What `state` gave."""
        self.names, self.sums = tuple(state["names"]), state["sums"].to(self.device)


class RunLog:
    """Writes the records of a run; only the first process has one that does anything.

    metrics.csv has a row per `log_every` steps (columns lr, loss and its parts, images_per_second) and one per
    evaluation (net_top1, ema_top1, or what the task counts); `epoch` is the number of epochs done, with a fraction.
    """

    def __init__(self, folder: Path, world: World, *, progress: bool = True) -> None:
        self.folder, self.active = folder, world.first
        self.columns: list[str] = []
        self.path = folder / "metrics.csv"
        self.rows: list[dict[str, str]] = []
        self.seconds_before = 0.0
        self.started = time.monotonic()
        self.console = Console(quiet=not self.active, highlight=False, soft_wrap=True)
        self.bar: Progress | None = None
        self.follow = progress and self.active
        self.pace = Pace()
        self.board: Any = None
        self._drawn = 0.0
        self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent in this run, earlier parts included."""
        return self.seconds_before + time.monotonic() - self.started

    def open(self, columns: Sequence[str], rows: int = 0, seconds: float = 0.0, step: int = 0) -> None:
        """Start writing after the first `rows` rows of an earlier part that took so many seconds; later ones are cut.

        TensorBoard goes on from `step`; `columns` come after step, epoch and seconds.
        """
        self.columns = ["step", "epoch", "seconds", *columns]
        self.seconds_before = seconds
        if not self.active:
            return
        if rows and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                self.rows = list(csv.DictReader(file))[:rows]
        with atomic_path(self.path) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)
        if importlib.util.find_spec("tensorboard") is not None:
            from phonecv.training.board import Board

            self.board = Board(self.folder / "tensorboard", purge_step=step + 1)

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Add a row."""
        if not self.active:
            return
        row = {"step": str(step), "epoch": f"{epoch:.4f}", "seconds": f"{self.seconds:.1f}"}
        row |= {name: _text(value) for name, value in values.items() if name in self.columns}
        self.rows.append(row)
        check_still_there(self.folder)
        with named(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, extrasaction="ignore").writerow(row)
        if self.board is not None:
            self.board.write(step, values)

    def say(self, text: str) -> None:
        """A line for the person."""
        self.console.print(text, markup=False)
        self._told = time.monotonic()

    def bar_for(
        self, title: str, total: int, done: int = 0, *, later: Mapping[str, int] | None = None
    ) -> Callable[[int], None]:
        """Follow a stretch of work: a bar on a terminal, else a line now and then, with the time that is left.

        Args:
            title: what is done, such as "epoch 3/20"; its first word is the kind of work.
            total: steps of it.
            done: those done already.
            later: what comes after it, steps by the kind of work.

        Returns:
            The function that is told how many steps are done.
        """
        if not self.follow:
            return lambda count: None
        show, kind = self._shown(title, total, done), title.split(" ")[0]
        at, since = done, time.monotonic()

        def move(count: int) -> None:
            nonlocal at, since
            now = time.monotonic()
            if count > at:
                self.pace.note(kind, (now - since) / (count - at))
            at, since = count, now
            here = self.pace.left({kind: total - count})
            left = f"{lasting(here or 0)} left"
            if later:
                whole = self.pace.left({**later, kind: total - count + later.get(kind, 0)})
                left += f", {lasting(whole or 0)} of the run"
            show(count, left)

        return move

    def _shown(self, title: str, total: int, done: int) -> Callable[[int, str], None]:
        """What shows a count and the time left."""
        if not self.console.is_terminal:
            return lambda count, left: self._line(f"{title}  {count}/{total}  {left}") if count < total else None
        if self.bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.bar.start()
        bar = self.bar
        for task in bar.task_ids:
            bar.remove_task(task)
        task = bar.add_task(title, total=total, completed=done, left="")
        return lambda count, left: bar.update(task, completed=count, left=left)

    def _line(self, text: str) -> None:
        if time.monotonic() - self._told >= LINE_EVERY:
            self.say(text)

    def draw(self, score: str, *, final: bool = False) -> None:
        """Redraw curves.png, at most once a minute; the best epoch is that of this figure."""
        if not self.active or not self.rows or (not final and time.monotonic() - self._drawn < CURVES_EVERY):
            return
        from phonecv.plots import save_curves

        save_curves(self.path, self.folder / "curves.png", score=score)
        self._drawn = time.monotonic()

    def close(self) -> None:
        """Take the bar away and finish the files."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        if self.board is not None:
            self.board.close()
            self.board = None


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"
