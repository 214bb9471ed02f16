"""Evaluating a classifier: counts of right answers, and every picture's score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np

from phonecv.classify.attention import looked
from phonecv.classify.many_result import LabelsResult
from phonecv.classify.opening import ClassifyRunner
from phonecv.classify.predict import sigmoid
from phonecv.classify.result import ClassificationResult
from phonecv.classify.verbs import EvaluateOptions
from phonecv.data.folders.listing import Listing, has_split, read_split
from phonecv.data.pictures.opening import printable, reason_of
from phonecv.data.pictures.reading import EvalTransform, eval_transform
from phonecv.data.split_names import WHOLE
from phonecv.errors import UserError
from phonecv.evaluating import Evaluation, Skipped
from phonecv.verbs import Steps, Together
from phonecv.whole.evaluate import BATCH, WholeEvaluation, evaluation_of, run_images


def evaluation(
    runner: ClassifyRunner, data: Listing | Path | str, split: str, limit: int | None, options: EvaluateOptions
) -> Evaluation:
    """See `phonecv.evaluating.EvaluateRoom`."""
    many = runner.thresholds is not None
    labels: Literal["one", "many"] = "many" if many else "one"
    if split == WHOLE and not isinstance(data, Listing) and not has_split(Path(data), "val"):
        split = "train" if has_split(Path(data), "train") else split  # of which a share was held out
    listing = data if isinstance(data, Listing) else read_split(data, split, list_file=options.list_file, labels=labels)
    if (listing.sets is not None) != many:
        kinds = ("any number of labels", "one class")
        raise UserError(
            f"{printable(listing.root)} gives each picture {kinds[many]}, the model {kinds[not many]};"
            f" read it with labels={labels!r}, or take a model that was trained on such data"
        )
    trust = options.list_file is not None
    if many:
        return evaluation_of(runner, listing, limit, trust_labels=trust, reader=_reader, made=LabelsEvaluation)
    kind = partial(ClassificationResult, look=None if runner.placed is None else partial(looked, runner.placed))
    return evaluation_of(runner, listing, limit, trust_labels=trust, reader=_reader, kind=kind)


@dataclass
class LabelsEvaluation(WholeEvaluation):
    """The same where pictures have several labels or none: `rows` are place, path, probabilities and labels of each."""

    rows: list[tuple[int, Path, np.ndarray, np.ndarray]] = field(default_factory=list)

    def run(self, steps: Steps) -> Iterator[tuple[int, Skipped]]:
        """Judge every picture."""
        sets, count = self.listing.sets, self.runner.num_classes
        assert sets is not None
        labels, outputs = [*self.outputs], [*self.outputs.values()]
        reader, batch = self.reader(self.runner), steps.batch_size or BATCH
        for logits, indices, errors in run_images(self.runner, self.listing, reader, batch, steps):
            bad = []
            for index, row, error in zip(indices.tolist(), sigmoid(logits.numpy()), errors, strict=True):
                path, truth = self.listing.samples[index].path, np.zeros(count, bool)
                truth[outputs] = sets[index, labels]
                if error:
                    bad.append((path, reason_of(error, path)))
                else:
                    self.rows.append((index, path, np.nan_to_num(row), truth))
            yield len(errors), bad

    def gather(self, world: Together) -> None:
        """See `phonecv.evaluating.Shared`."""
        self.rows = sorted((row for part in world.gather(self.rows) for row in part), key=lambda row: row[0])

    def result(self) -> LabelsResult:
        """What was found."""
        runner = cast(ClassifyRunner, self.runner)
        assert runner.thresholds is not None
        _, paths, probabilities, truth = zip(*self.rows, strict=True)
        spec = {"preprocessing": runner.preprocessing.to_dict(), "thresholds": list(runner.thresholds)}
        return LabelsResult(
            runner.classes, paths, np.stack(probabilities), np.stack(truth), runner.thresholds, details=spec
        )


def _reader(runner: ClassifyRunner) -> EvalTransform:
    return eval_transform(runner.preprocessing)
