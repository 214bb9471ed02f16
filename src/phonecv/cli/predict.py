"""`phonecv predict`: what a model says about pictures, videos and a camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from phonecv.cli.options import Ema, Model, Runnable, by_torchrun, check_there, loading
from phonecv.cli.output import say, say_json, say_line
from phonecv.cli.task_options import with_task_options
from phonecv.tables import text_table

if TYPE_CHECKING:
    from phonecv.predicting import Prediction


@with_task_options("predict")
def predict(
    checkpoint: Runnable,
    /,
    *images: str,
    model: Model = None,
    ema: Ema = None,
    json: bool = False,
    **options: Any,
) -> int:
    """Names and probabilities for pictures, or what is where in them.

    The checkpoint decides: classifiers name pictures, detectors find objects, segmenters label pixels. With --out they
    are drawn. A picture that cannot be read is reported and the others go on; the exit status is then 1.

    Detectors also take videos (.mp4, .mov, .mkv and so on), and a camera until Ctrl-C, with the extra "video". Video
    classifiers name videos, folders of frames, and the last seconds before a camera.

    For example:

    - `phonecv predict runs/signs/best.safetensors hand.jpg`
    - `phonecv predict emov2_5m photos "more/*.png" --out runs/predictions`
    - `phonecv predict runs/cells/best.safetensors cells/images walk.mp4 --out found --threshold 0.4`
    - `phonecv predict runs/cells/best.safetensors --camera 0 --out found`

    Args:
        images: Pictures, folders or patterns; for detectors also videos; for video classifiers videos and frames.
        json: Print JSON; for a camera a line per frame.
    """
    chosen = loading(checkpoint, model, ema)
    check_there(*images)
    from phonecv.api import predict as run

    live = "camera" in options
    predictions = run(
        checkpoint, images, on_frame=say_line if json and live else None, **(by_torchrun() | options), **chosen
    )
    if predictions is None:  # torchrun has started others, and the first of them says it
        return 0
    if not json:
        _show(predictions)
        if "out" in options:
            say(f"tables and pictures are in {options['out']}")
    elif not live:
        say_json([prediction.to_dict() for prediction in predictions])
    return int(any(prediction.error for prediction in predictions))


def _show(predictions: Sequence[Prediction]) -> None:
    """A line for each; where there are rows of a table, aligned."""
    rows = [prediction for prediction in predictions if prediction.columns]
    if rows:
        say(text_table(rows[0].columns, [prediction.row() for prediction in rows], right=(1, 2)))
    for prediction in predictions:
        if not prediction.columns:
            say(prediction)
