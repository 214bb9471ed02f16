"""Evaluating a classifier: counts of right answers, and every picture's score."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from torch import Tensor

from phonecv.classify.attention import looked
from phonecv.classify.many_result import LabelsResult
from phonecv.classify.opening import ClassifyRunner
from phonecv.classify.predict import sigmoid
from phonecv.classify.result import ClassificationResult
from phonecv.classify.verbs import EvaluateOptions
from phonecv.data.folders.listing import Listing, has_split, read_split
from phonecv.data.pictures.opening import printable
from phonecv.data.pictures.reading import EvalTransform, eval_transform
from phonecv.data.split_names import WHOLE
from phonecv.errors import UserError
from phonecv.evaluating import Evaluation
from phonecv.whole.evaluate import WholeEvaluation, evaluation_of


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


class LabelsEvaluation(WholeEvaluation):
    """The same where pictures have several labels or none; of each its path, probabilities and labels are kept."""

    def judged(self, logits: Tensor, places: Sequence[int], paths: Sequence[Path]) -> Sequence[Any]:
        """See `WholeEvaluation`."""
        assert self.listing.sets is not None
        truth = np.zeros((len(places), self.runner.num_classes), bool)
        truth[:, [*self.outputs.values()]] = self.listing.sets[places][:, [*self.outputs]]
        return list(zip(paths, np.nan_to_num(sigmoid(logits.numpy())), truth, strict=True))

    def result(self) -> LabelsResult:
        """What was found."""
        runner = cast(ClassifyRunner, self.runner)
        assert runner.thresholds is not None
        paths, probabilities, truth = zip(*(image for _, image in self.images), strict=True)
        spec = {"preprocessing": runner.preprocessing.to_dict(), "thresholds": list(runner.thresholds)}
        return LabelsResult(
            runner.classes, paths, np.stack(probabilities), np.stack(truth), runner.thresholds, details=spec
        )


def _reader(runner: ClassifyRunner) -> EvalTransform:
    return eval_transform(runner.preprocessing)
