"""Evaluating, whatever the task: the pictures in steps, what every result tells, and the folder it leaves."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

from phonecv.data.folders.splits import find_split
from phonecv.data.split_names import WHOLE
from phonecv.errors import UserError
from phonecv.files import write_json
from phonecv.opening import at_depth
from phonecv.options import EvaluateOptions, options_of
from phonecv.report import report_room, write_report
from phonecv.tables import write_csv
from phonecv.task import TASKS
from phonecv.text import counted, printable
from phonecv.verbs import Steps, Together

#: Skipped pictures that a result names.
NAMED = 20

#: Pictures and why they could not be used.
Skipped = Sequence[tuple[Path, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult(ABC):
    """What an evaluation found.

    Attributes:
        model: what was evaluated, for people.
        data: folder and split, for people.
        skipped: pictures that could not be read, with the reason; they count nowhere.
        seconds: reading, running and counting.
        notes: what a person should know.
        details: form, runtime, preprocessing and so on.
    """

    task: ClassVar[str]
    #: What `skipped` holds, for people.
    left_out: ClassVar[str] = "unreadable images"

    model: str = ""
    data: str = ""
    skipped: tuple[tuple[Path, str], ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    @abstractmethod
    def count(self) -> int:
        """Pictures that count."""

    @abstractmethod
    def measures(self) -> dict[str, Any]:
        """The task's own figures as plain values for JSON."""

    @abstractmethod
    def lines(self) -> list[str]:
        """What was evaluated and its figures, for people."""

    def summary(self) -> dict[str, Any]:
        """The figures as plain values for JSON; None where one is not defined."""
        return {
            "task": self.task,
            "model": self.model,
            "data": self.data,
            "count": self.count,
            **self.measures(),
            "skipped": len(self.skipped),
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            **self.details,
        }

    def __str__(self) -> str:
        lines = self.lines() + [f"note: {note}" for note in self.notes]
        if self.skipped:
            lines.append(f"{len(self.skipped)} {self.left_out} were skipped and count nowhere:")
            lines += [f"  {printable(path)}: {reason}" for path, reason in self.skipped[:NAMED]]
            more = len(self.skipped) - NAMED
            if more > 0:
                lines.append(f"  ... and {more} more (all are in skipped.csv of the output folder)")
        return "\n".join(lines)


Result = TypeVar("Result", bound=EvaluationResult)


class Evaluation(Protocol):
    """One evaluation: a model that is open, and data that is read and fits it.

    Attributes:
        runner: the model.
        data: folder and split, for people.
        notes: what a person should know; grows while it runs.
    """

    runner: Any
    data: str
    notes: list[str]

    @property
    def paths(self) -> Sequence[Path]:
        """Pictures that are going to be looked at."""

    def run(self, steps: Steps) -> Iterator[tuple[int, Skipped]]:
        """Run the model over all pictures; yields how many each step took, and those that could not be used."""

    def result(self) -> EvaluationResult:
        """The figures, after `run`; what `EvaluationResult` itself holds is filled in by `evaluate_opened`."""


@runtime_checkable
class Shared(Protocol):
    """An `Evaluation` whose `run` takes the pictures of `steps.world`'s process alone."""

    def gather(self, world: Together) -> None:
        """Bring together what all processes found, as if one had."""


class EvaluateRoom(Protocol):
    """The room "evaluate" of a task."""

    def evaluation(self, runner: Any, data: Any, split: str, limit: int | None, options: Any) -> Evaluation:
        """The data, read and matched with the model's classes.

        Args:
            runner: the model.
            data: a data folder, or a split that was read already.
            split: of a data folder.
            limit: only the first pictures.
            options: the task's.

        Raises:
            UserError: unusable data, or classes that do not fit.
        """


class ResultsRoom(Protocol):
    """The room "evaluate" of a task that also takes files of results, see `phonecv.options.VerbsRoom`."""

    def evaluate_results(self, truth: Any, results: Path | str, split: str, options: Any) -> EvaluationResult:
        """The figures of what stands in a file, see `phonecv.evaluate`."""


def own_list_told(path: Path, split: str) -> str:
    """That the list of the model's own run was taken."""
    what = "held out of its training" if split == "val" else "trained on"
    return f"these were {what}, as {printable(path)} lists them; --split {WHOLE} takes all there are"


def unlisted(model: Any, data: Any, own: EvaluateOptions) -> list[str]:
    """A warning where a model was trained on a share of undivided data, and nothing says which share that was."""
    file = isinstance(model, Path | str) and Path(model).suffix == ".safetensors" and Path(model).is_file()
    if not file or own.list_file is not None or not isinstance(data, Path | str) or not Path(data).is_dir():
        return []
    from phonecv.weights.record import header_record  # with torch, which exported files do without

    training = header_record(Path(model)).get("training") or {}
    if not isinstance(training, dict) or not training.get("held_out") or find_split(Path(data), own.split) is not None:
        return []
    if own.split == WHOLE:
        return ["those that the network was trained on are among these"]
    return [
        "this network's training held a share of its data out, and the lists of it (split/val.txt of the run folder)"
        " are not beside the model, or of another folder: if these are the same data, most were trained on; --list-file"
        " names the list"
    ]


def evaluate_room(task: str) -> EvaluateRoom:
    """What a task brings to evaluation."""
    return cast(EvaluateRoom, TASKS[task].room("evaluate"))


def evaluate_opened(
    evaluation: Evaluation,
    steps: Steps,
    *,
    out: Path | str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Run an evaluation to its end, see `phonecv.evaluate`; None on all processes but the first."""
    start, world = time.perf_counter(), steps.world
    if world.size > 1 and not isinstance(evaluation, Shared):
        noun = TASKS[evaluation.runner.task].noun
        raise UserError(f"devices={world.size}: {noun} is evaluated by one process; leave devices out")
    evaluation.runner, depth = at_depth(evaluation.runner, evaluation.paths)
    evaluation.notes += [depth] if depth else []
    runner, count = evaluation.runner, len(evaluation.paths)
    skipped: list[tuple[Path, str]] = []
    done = 0
    for taken, bad in evaluation.run(steps):
        skipped += bad
        done += taken
        if on_progress is not None:
            on_progress(done, len(range(world.rank, count, world.size)))
    if isinstance(evaluation, Shared) and world.size > 1:
        evaluation.gather(world)
        places = {path: place for place, path in enumerate(evaluation.paths)}
        skipped = sorted((one for part in world.gather(skipped) for one in part), key=lambda one: places[one[0]])
        if world.rank:
            return None
    if len(skipped) == count:
        path, reason = skipped[0]
        raise UserError(
            f"none of {counted(len(skipped), 'images')} could be read; the first: {printable(path)}: {reason}"
        )
    result = evaluation.result()
    return finished(
        replace(
            result,
            model=runner.description,
            data=evaluation.data,
            skipped=(*skipped, *result.skipped),
            notes=(*evaluation.notes, *result.notes),
            details=dict(runner.details) | result.details,
        ),
        start,
        out,
    )


def evaluate_runner(runner: Any, data: Any, *, split: str = "val") -> Any:
    """Evaluate a model that is open, with every option at its default, on a data folder or a split read already."""
    options = options_of(runner.task, "evaluate")()
    return evaluate_opened(evaluate_room(runner.task).evaluation(runner, data, split, None, options), Steps())


def finished(result: Result, start: float, out: Path | str | None) -> Result:
    """The result with the seconds it took; its folder, if one is wanted, is written."""
    result = replace(result, seconds=time.perf_counter() - start)
    if out is not None:
        write_evaluation(result, out)
    return result


def write_evaluation(result: EvaluationResult, out: Path | str) -> Path:
    """Write summary.json, skipped.csv if any picture was, the task's tables and pictures, and report.html.

    What an earlier evaluation into the same folder left without a successor goes.
    """
    out, room = Path(out), report_room(result.task)
    write_json(out / "summary.json", result.summary())
    for name in ("skipped.csv", *(name for name, *_ in room.PICTURES)):
        (out / name).unlink(missing_ok=True)
    if result.skipped:
        write_csv(out / "skipped.csv", ("path", "reason"), result.skipped)
    room.write_files(result, out)
    write_report(out)
    return out
