"""`phonecv predict`: what a model says about pictures, videos and a camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phonecv.cli.options import Classifier, Device, Ema, Flip, Model, Scales, Slide, loading
from phonecv.cli.output import say, say_json, say_line, text_table
from phonecv.errors import UserError
from phonecv.task import given


def predict(
    checkpoint: Classifier,
    /,
    *images: str,
    out: Path | None = None,
    topk: int | None = None,
    threshold: float | None = None,
    camera: str | None = None,
    slide: Slide = None,
    scales: Scales = None,
    flip: Flip = None,
    batch_size: int | None = None,
    workers: int | None = None,
    model: Model = None,
    ema: Ema = None,
    device: Device = None,
    json: bool = False,
) -> int:
    """Names and probabilities for pictures, or what is where in them.

    The checkpoint decides: classifiers name pictures, detectors find objects, segmenters label pixels. With --out they
    are drawn. A picture that cannot be read is reported and the others go on; the exit status is then 1.

    Detectors also take videos (.mp4, .mov, .mkv and so on), and a camera until Ctrl-C, with the extra "video".

    For example:

    - `phonecv predict runs/signs/best.safetensors hand.jpg`
    - `phonecv predict emov2_5m photos "more/*.png" --out runs/predictions`
    - `phonecv predict runs/cells/best.safetensors cells/images walk.mp4 --out found --threshold 0.4`
    - `phonecv predict runs/cells/best.safetensors --camera 0 --out found`

    Args:
        images: Pictures, folders or patterns; for detectors also videos.
        out: Folder for tables (predictions.csv, predictions.json) and pictures of the predictions.
        topk: Names per picture, 5 by default (classifiers).
        threshold: Least score of an object, 0.3 by default (detectors).
        camera: Number of a camera, or its device such as /dev/video0 (detectors).
        batch_size: Pictures per step; by default what suits the model and the device.
        workers: Loader processes or threads; by default chosen from the cores and the number of pictures.
        json: Print JSON; for a camera a line per frame.
    """
    if not images and camera is None:
        raise UserError("no pictures were named; give files, folders or patterns such as 'photos/*.jpg'")
    chosen = loading(checkpoint, model, ema)
    from phonecv.classify.predict import predict_all

    predictions = predict_all(
        checkpoint,
        images,
        camera=camera,
        out=out,
        batch_size=batch_size,
        workers=workers,
        device=device,
        on_frame=say_line if json and camera is not None else None,
        **given(topk=topk, threshold=threshold, slide=slide, scales=scales, flip=flip),
        **chosen,
    )
    if json:
        if camera is None:
            say_json([prediction.to_dict() for prediction in predictions])
    else:
        _show(predictions)
        if out is not None:
            say(f"tables and pictures are in {out}")
    return int(any(prediction.error for prediction in predictions))


def _show(predictions: list[Any]) -> None:
    """A line for each; where there are rows of a table, aligned."""
    rows = [prediction.row() for prediction in predictions if hasattr(prediction, "row")]
    if rows:
        say(text_table(("picture", "objects", "best", "what"), rows, right=(1, 2)))
    for prediction in predictions:
        if not hasattr(prediction, "row"):
            say(prediction)
