"""What a classifier says about pictures: names and probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from phonecv.classify.opening import ClassifyRunner
from phonecv.classify.verbs import PredictOptions
from phonecv.data.pictures.opening import find_images, reopen
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.predicting import pictures_only
from phonecv.verbs import Steps
from phonecv.whole import predict
from phonecv.whole.predict import BROKEN, PictureClasses, Say, best_classes

streams, find_samples = pictures_only, find_images

#: Names that are given of classes that exclude each other.
TOP = 5


def predictions(
    runner: ClassifyRunner, paths: Sequence[Path], steps: Steps, options: PredictOptions, out: Path | None
) -> Iterator[list[PictureClasses]]:
    """See `phonecv.predicting.PredictRoom`."""
    names, thresholds = runner.classes, runner.thresholds
    if thresholds is None:
        if options.threshold is not None:
            raise UserError(
                f"threshold={options.threshold:g} is for labels that do not exclude each other; this model gives each"
                " picture one class"
            )
        say: Say = partial(best_classes, names=names, topk=TOP if options.topk is None else options.topk)
    else:
        if options.threshold is not None:
            thresholds = (options.threshold,) * len(names)
        say = partial(labels_told, names=names, thresholds=thresholds, topk=options.topk)
    return predict.predictions(runner, paths, steps, eval_transform(runner.preprocessing), say)


def labels_told(
    logits: np.ndarray,
    paths: Sequence[Path],
    names: Sequence[str],
    thresholds: Sequence[float],
    topk: int | None,
) -> list[PictureClasses]:
    """The labels of every row of `logits` ``B C`` whose probability reaches their threshold, or `topk` of them."""
    said = []
    probabilities = sigmoid(logits)
    for path, shares in zip(paths, probabilities, strict=True):
        if np.isnan(shares).any():
            said.append(PictureClasses(path, error=BROKEN))
            continue
        order = np.argsort(-shares, kind="stable").tolist()
        order = order[:topk] if topk is not None else [label for label in order if shares[label] >= thresholds[label]]
        labels = tuple(names[label] for label in order)
        said.append(PictureClasses(path, labels, tuple(shares[order].tolist()), tuple(order)))
    return said


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of labels that do not exclude each other, float64."""
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


write_predictions = partial(predict.write_predictions, show=reopen)
