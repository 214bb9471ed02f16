"""What a classifier says about pictures: names and probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phonecv.classify.opening import ClassifyRunner
from phonecv.classify.verbs import PredictOptions
from phonecv.data.pictures.opening import find_images, reopen
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.files import atomic_path, check_writable
from phonecv.predicting import pictures_only
from phonecv.text import printable
from phonecv.verbs import Steps
from phonecv.whole import predict
from phonecv.whole.opening import in_parts
from phonecv.whole.predict import BROKEN, PictureClasses, Say, best_classes

if TYPE_CHECKING:
    from torch import Tensor

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
    reader, file = eval_transform(runner.preprocessing), options.embeddings
    if file is None:
        return predict.predictions(runner, paths, steps, reader, say)
    if steps.world.size > 1:
        raise UserError(f"devices={steps.world.size}: embeddings are written by one process; leave devices out")
    rows: list[np.ndarray] = []
    if not names:
        say = partial(best_classes, names=names, topk=0)
    found = predict.predictions(embedding(runner, rows, Path(file)), paths, steps, reader, say)
    return _with_embeddings(found, rows, Path(file), unit_length=options.unit_length)


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


def embedding(runner: ClassifyRunner, rows: list[np.ndarray], file: Path) -> ClassifyRunner:
    """The runner, which puts the features of all pictures into `rows` (``B D`` each) on its way to the logits.

    Raises:
        UserError: an exported file, which gives logits alone, or a name that is none of an .npz file.
    """
    if file.suffix != ".npz":
        raise UserError(f"embeddings {str(file)!r}: a file .npz is written, which NumPy reads")
    if runner.placed is None:
        raise UserError(
            f"{runner.description} gives logits alone; give the checkpoint or name of a network for embeddings"
        )
    check_writable(file)
    network = runner.placed.network

    def through(images: Tensor) -> Tensor:
        features = network.forward_head(network.forward_features(images), pre_logits=True)
        rows.append(features.float().cpu().numpy())
        return network.get_classifier()(features) if runner.num_classes else features[:, :1] * 0

    return replace(runner, run=in_parts(runner.placed, forward=through), arrays=None)


def _with_embeddings(
    said: Iterator[list[PictureClasses]], rows: list[np.ndarray], file: Path, *, unit_length: bool
) -> Iterator[list[PictureClasses]]:
    """The same, and in the end the features of the readable pictures in a file."""
    every: list[PictureClasses] = []
    for step in said:
        every += step
        yield step
    good = [not one.error for one in every]
    features = np.concatenate(rows)[good]
    if unit_length:
        features /= np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    paths = np.array([printable(one.path) for one, there in zip(every, good, strict=True) if there])
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, features=features, paths=paths)


write_predictions = partial(predict.write_predictions, show=reopen)
