"""Evaluating a classifier: counts of right answers, and every picture's score."""

from __future__ import annotations

from pathlib import Path

from phonecv.classify.opening import ClassifyRunner
from phonecv.classify.result import ClassificationResult
from phonecv.classify.verbs import EvaluateOptions
from phonecv.data.folders.listing import Listing, read_split
from phonecv.data.pictures.reading import EvalTransform, eval_transform
from phonecv.whole.evaluate import WholeEvaluation, evaluation_of


def evaluation(
    runner: ClassifyRunner, data: Listing | Path | str, split: str, limit: int | None, options: EvaluateOptions
) -> WholeEvaluation:
    """See `phonecv.evaluating.EvaluateRoom`."""
    listing = data if isinstance(data, Listing) else read_split(data, split, list_file=options.list_file)
    trust, kind = options.list_file is not None, ClassificationResult
    return evaluation_of(runner, listing, limit, trust_labels=trust, reader=_reader, kind=kind)


def _reader(runner: ClassifyRunner) -> EvalTransform:
    return eval_transform(runner.preprocessing)
