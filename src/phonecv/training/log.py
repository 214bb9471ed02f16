"""What a run leaves to read: metrics.csv, steps.csv, other records, curves.png, and lines or a bar on the terminal."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import Tensor

from phonecv.files import atomic_path, named
from phonecv.settings import flatten
from phonecv.text import lasting
from phonecv.training.config import TrainConfig
from phonecv.training.folder import check_still_there
from phonecv.training.loggers import Logger, open_loggers
from phonecv.training.world import World

Row = dict[str, float]

#: The tables of a run folder: a row for each epoch, and one for every `run.log_every` steps.
EPOCHS, STEPS = "metrics.csv", "steps.csv"

#: How columns of figures begin, by the network they are of.
FIGURES_OF = {"net": "val", "ema": "ema"}

#: Seconds between two drawings of the curves; the end of a run always draws them.
CURVES_EVERY = 60.0

#: Seconds between two lines about what is under way, where there is no terminal for a bar.
LINE_EVERY = 60.0


#: Steps that `Pace` goes back over: later epochs may have larger pictures.
MEMORY = 200


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


class Table:
    """A CSV file that grows by rows, in a folder that has to stay."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []
        self.rows: list[dict[str, str]] = []

    def open(self, columns: Sequence[str], kept: int) -> None:
        """Start writing after the first `kept` rows of an earlier part; later ones are cut."""
        self.columns = list(columns)
        if kept and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                self.rows = list(csv.DictReader(file))[:kept]
        with atomic_path(self.path) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)

    def add(self, row: Mapping[str, str]) -> None:
        """Add a row; what has no column is left out."""
        own = {name: text for name, text in row.items() if name in self.columns}
        self.rows.append(own)
        check_still_there(self.path.parent)
        with named(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(own)


class Pace:
    """How long what is left of a run will take: seconds of a step of each kind of work, by the last ones."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._steps: dict[str, int] = {}

    def note(self, kind: str, seconds: float) -> None:
        """Take in a step. The first of a kind, in which loaders start, counts until the second."""
        steps = self._steps[kind] = self._steps.get(kind, -1) + 1
        before = self._mean.get(kind, seconds) if steps > 1 else seconds
        self._mean[kind] = before + (seconds - before) / min(max(1, steps), MEMORY)

    def left(self, steps: Mapping[str, int]) -> float | None:
        """Seconds for so many more steps of each kind; None where none of any kind was done yet."""
        known = [self._mean[kind] * count for kind, count in steps.items() if kind in self._mean]
        return sum(known) if known else None


class RunLog:
    """Writes the records of a run; only the first process has one that does anything.

    steps.csv has a row per `log_every` steps: lr, loss and its parts where there are several, images_per_second; its
    `epoch` is the number of epochs done, with a fraction. metrics.csv has a row per epoch: their means, and the figures
    of an evaluation (val_top1, or what the task counts, of the live network and ema_top1 of its average).
    """

    def __init__(self, folder: Path, world: World, *, progress: bool = True) -> None:
        self.folder, self.active = folder, world.first
        self.epochs, self.steps = Table(folder / EPOCHS), Table(folder / STEPS)
        self.seconds_before = 0.0
        self.started = time.monotonic()
        self.console = Console(quiet=not self.active, highlight=False, soft_wrap=True)
        self.bar: Progress | None = None
        self.follow = progress and self.active
        self.pace = Pace()
        self.loggers: list[Logger] = []
        self._drawn = 0.0
        self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent in this run, earlier parts included."""
        return self.seconds_before + time.monotonic() - self.started

    def open(
        self,
        losses: Sequence[str],
        figures: Sequence[str],
        config: TrainConfig,
        rows: tuple[int, int] = (0, 0),
        seconds: float = 0.0,
        step: int = 0,
    ) -> None:
        """Start writing.

        Args:
            losses: names of the parts of the loss.
            figures: columns of an evaluation.
            config: of the run; says where else figures go.
            rows: of an earlier part that are kept, of epochs and of steps.
            seconds: that it took.
            step: that it goes on from.
        """
        self.seconds_before = seconds
        if not self.active:
            return
        parts = ["loss", *(losses if len(losses) > 1 else ())]
        trained = [f"train_{part}" for part in parts]
        self.epochs.open(["epoch", "step", "seconds", "lr", *trained, "images_per_second", *figures], rows[0])
        self.steps.open(["step", "epoch", "seconds", "lr", *parts, "images_per_second"], rows[1])
        self.loggers = open_loggers(config.run.loggers, self.folder, flatten(config), step)

    def write_step(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Add a row about the last steps; `epoch` counts those done, with a fraction."""
        self._write(self.steps, step, f"{epoch:.4f}", values)

    def write_epoch(self, step: int, epoch: int, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Add a row about an epoch: means over its steps, and figures by network ("net", "ema") of an evaluation."""
        if not self.active:
            return
        figures = {f"{FIGURES_OF[net]}_{name}": value for net, row in scores.items() for name, value in row.items()}
        self._write(self.epochs, step, str(epoch), self._means() | figures)

    def _means(self) -> Row:
        """Means over the steps since the last epoch's row: each row of steps counts by how many it is of."""
        before = int(self.epochs.rows[-1]["step"]) if self.epochs.rows else 0
        rows = [row for row in self.steps.rows if int(row["step"]) > before]
        ends = [int(row["step"]) for row in rows]
        counts = [end - start for start, end in zip([before, *ends], ends, strict=False)]
        if not rows:
            return {}

        def mean(name: str) -> float:
            return sum(float(row[name]) * count for row, count in zip(rows, counts, strict=True)) / sum(counts)

        losses = self.steps.columns[4:-1]
        means = {"lr": float(rows[-1]["lr"])} | {f"train_{name}": mean(name) for name in losses}
        slow = sum(count / float(row["images_per_second"]) for row, count in zip(rows, counts, strict=True))
        return means | {"images_per_second": sum(counts) / slow}

    def _write(self, table: Table, step: int, epoch: str, values: Mapping[str, float]) -> None:
        if not self.active:
            return
        row = {"step": str(step), "epoch": epoch, "seconds": f"{self.seconds:.1f}"}
        table.add(row | {name: _text(value) for name, value in values.items()})
        shown = {name: value for name, value in values.items() if name in table.columns}
        for logger in self.loggers:
            logger.write(step, shown)

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
        if not self.active or not self.epochs.rows or (not final and time.monotonic() - self._drawn < CURVES_EVERY):
            return
        from phonecv.plots import save_curves

        save_curves(self.epochs.path, self.folder / "curves.png", score=score)
        self._drawn = time.monotonic()

    def close(self, *, finished: bool) -> None:
        """Take the bar away and finish the records."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        for logger in self.loggers:
            logger.close(finished=finished)
        self.loggers = []


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"
