"""What a model says about whole pictures or clips: names and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from phonecv.data.folders.listing import Listing, Sample
from phonecv.data.pictures.opening import reason_of
from phonecv.data.pictures.reading import Reader
from phonecv.errors import UserError
from phonecv.files import write_json
from phonecv.predicting import Prediction
from phonecv.tables import write_csv
from phonecv.text import printable_name
from phonecv.verbs import Steps
from phonecv.whole.evaluate import run_images
from phonecv.whole.opening import WholeRunner

#: How a file is drawn; None where it cannot be read any more.
Show = Callable[[Path], Image.Image | None]

#: Pictures per step.
BATCH = 32

#: Pictures in the grid; the tables hold all of them.
GRID = 36


@dataclass(frozen=True, slots=True)
class PictureClasses(Prediction):
    """What a model says about one picture or clip.

    Attributes:
        labels: names, the most probable first; empty if the picture could not be used.
        probabilities: of these names, softmax over all classes.
        indices: the outputs these names belong to.
    """

    labels: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    indices: tuple[int, ...] = ()

    def said(self) -> str:
        """See `Prediction`."""
        guesses = zip(self.labels, self.probabilities, strict=True)
        return ", ".join(f"{printable_name(label)} {share:.1%}" for label, share in guesses)

    def values(self) -> dict[str, Any]:
        """See `Prediction`."""
        rows = zip(self.indices, self.labels, self.probabilities, strict=True)
        guesses = [{"index": index, "label": label, "probability": share} for index, label, share in rows]
        return {"predictions": guesses}


def predictions(
    runner: WholeRunner, paths: Sequence[Path], steps: Steps, reader: Reader, topk: int
) -> Iterator[list[PictureClasses]]:
    """Names (`topk` each) of files, those of a step at a time."""
    listing = Listing(Path(), "val", (), tuple(Sample(path, 0) for path in paths))
    for logits, indices, errors in run_images(runner, listing, reader, steps.batch_size or BATCH, steps.workers):
        guesses = best_classes(logits, [paths[index] for index in indices.tolist()], runner.classes, topk)
        yield [
            PictureClasses(guess.path, error=reason_of(error, guess.path)) if error else guess
            for guess, error in zip(guesses, errors, strict=True)
        ]


def best_classes(logits: Tensor, paths: Sequence[Path], names: Sequence[str], topk: int) -> list[PictureClasses]:
    """The most probable classes of every row of `logits` ``B C``."""
    shares, order = logits.softmax(1).topk(min(topk, len(names)))
    said = []
    rows = zip(paths, shares.tolist(), order.tolist(), logits.isnan().any(1).tolist(), strict=True)
    for path, row_shares, row_order, nan in rows:
        if nan:
            said.append(PictureClasses(path, error="the model's output is NaN; its weights may be broken"))
        else:
            labels = tuple(names[output] for output in row_order)
            said.append(PictureClasses(path, labels, tuple(row_shares), tuple(row_order)))
    return said


def write_predictions(
    predictions: Sequence[PictureClasses],
    out: Path | str,
    *,
    show: Show,
    title: str = "",
    truth: Mapping[Path, str] | None = None,
) -> Path:
    """Write predictions.csv (a line per picture and name), predictions.json, and predictions.png with the first ones.

    `show` draws a file. Where true names are known by path, mistakes stand out in the picture.
    """
    from phonecv.plots import COLOURS, INK, save_image_grid  # matplotlib, for those who want pictures

    if not predictions:
        raise UserError("there are no predictions to write")
    out = Path(out)
    rows: list[tuple[Any, ...]] = []
    for prediction in predictions:
        if prediction.error:
            rows.append((prediction.path, "", "", "", prediction.error))
        guesses = zip(prediction.labels, prediction.probabilities, strict=True)
        rows += [(prediction.path, place, name, f"{share:.6f}", "") for place, (name, share) in enumerate(guesses, 1)]
    write_csv(out / "predictions.csv", ("path", "place", "label", "probability", "error"), rows)
    write_json(out / "predictions.json", [prediction.to_dict() for prediction in predictions])
    shown = list(predictions[:GRID])
    more = f" (the first {GRID} of {len(predictions)})" if len(predictions) > GRID else ""
    save_image_grid(
        [None if prediction.error else show(prediction.path) for prediction in shown],
        [_caption(prediction) for prediction in shown],
        out / "predictions.png",
        title=(title or "Predictions") + more,
        colours=[COLOURS[1] if prediction.error or _wrong(prediction, truth) else INK for prediction in shown],
    )
    return out


def _wrong(prediction: PictureClasses, truth: Mapping[Path, str] | None) -> bool:
    return truth is not None and prediction.labels[:1] != (truth.get(prediction.path),)


def _caption(prediction: PictureClasses) -> str:
    lines = [prediction.path.name]
    guesses = zip(prediction.labels, prediction.probabilities, strict=True)
    lines += [f"{name} {share:.1%}" for name, share in guesses]
    return "\n".join([*lines[:3], prediction.error] if prediction.error else lines[:3])
