"""`phonecv predict`: names and probabilities for pictures."""

from __future__ import annotations

from pathlib import Path

from phonecv.cli.options import Classifier, Device, Ema, Model, loading
from phonecv.cli.output import say, say_json
from phonecv.errors import UserError


def predict(
    checkpoint: Classifier,
    /,
    *images: str,
    out: Path | None = None,
    topk: int = 5,
    batch_size: int = 32,
    workers: int | None = None,
    model: Model = None,
    ema: Ema = None,
    device: Device = None,
    json: bool = False,
) -> int:
    """Names and probabilities for pictures, folders or patterns.

    A picture that cannot be read is reported and the others go on; the exit status is then 1.

    For example:

    - `phonecv predict runs/signs/best.safetensors hand.jpg`
    - `phonecv predict emov2_5m photos "more/*.png" --out runs/predictions`

    Args:
        images: Pictures, folders or patterns.
        out: Folder for predictions.csv, predictions.json and a picture of them.
        topk: Names per picture.
        batch_size: Pictures per step.
        workers: Loader processes; by default chosen from the cores and the number of pictures.
        json: Print JSON.
    """
    if not images:
        raise UserError("no pictures were named; give files, folders or patterns such as 'photos/*.jpg'")
    chosen = loading(checkpoint, model, ema)
    from phonecv.predict import predict as run
    from phonecv.predict import write_predictions

    predictions = run(checkpoint, images, topk=topk, batch_size=batch_size, workers=workers, device=device, **chosen)
    if json:
        say_json([prediction.to_dict() for prediction in predictions])
    else:
        for prediction in predictions:
            say(prediction)
    if out is not None:
        write_predictions(predictions, out)
        if not json:
            say(f"predictions.csv, predictions.json and predictions.png are in {out}")
    return int(any(prediction.error for prediction in predictions))
