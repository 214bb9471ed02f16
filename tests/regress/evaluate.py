from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phonecv.evaluating import Skipped
from phonecv.verbs import Steps
from regress.data import Split, read_split
from regress.opening import RegressRunner
from regress.result import RegressionResult
from regress.verbs import EvaluateOptions


@dataclass
class RegressEvaluation:
    runner: RegressRunner
    split: Split
    data: str
    notes: list[str] = field(default_factory=list)
    wanted: list[float] = field(default_factory=list)
    found: list[float] = field(default_factory=list)

    @property
    def paths(self) -> Sequence[Path]:
        return self.split.paths

    def run(self, steps: Steps) -> Iterator[tuple[int, Skipped]]:
        for wanted, (path, number, error) in zip(
            self.split.numbers, self.runner.numbers(self.split.paths), strict=True
        ):
            if not error:
                self.wanted.append(wanted)
                self.found.append(number)
            yield 1, [(path, error)] if error else []

    def result(self) -> RegressionResult:
        return RegressionResult(tuple(self.wanted), tuple(self.found))


def evaluation(
    runner: RegressRunner, data: Split | Path | str, split: str, limit: int | None, options: EvaluateOptions
) -> RegressEvaluation:
    found = data if isinstance(data, Split) else read_split(data, split, limit)
    return RegressEvaluation(runner, found, f"{found.listing.root} ({found.listing.split})")
