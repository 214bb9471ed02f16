"""What a classifier says about pictures: names and probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from phonecv.classify.opening import ClassifyRunner
from phonecv.classify.verbs import PredictOptions
from phonecv.data.pictures.opening import find_images, reopen
from phonecv.data.pictures.reading import eval_transform
from phonecv.predicting import pictures_only
from phonecv.verbs import Steps
from phonecv.whole import predict
from phonecv.whole.predict import PictureClasses

streams, find_samples = pictures_only, find_images


def predictions(
    runner: ClassifyRunner, paths: Sequence[Path], steps: Steps, options: PredictOptions, out: Path | None
) -> Iterator[list[PictureClasses]]:
    """See `phonecv.predicting.PredictRoom`."""
    return predict.predictions(runner, paths, steps, eval_transform(runner.preprocessing), options.topk)


write_predictions = partial(predict.write_predictions, show=reopen)
