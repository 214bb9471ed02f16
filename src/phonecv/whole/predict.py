"""What a model says about whole pictures or clips: names and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from phonecv.data.pictures.opening import ImageError, reason_of
from phonecv.data.pictures.reading import EvalTransform, Reader
from phonecv.devices import eval_workers
from phonecv.files import write_json
from phonecv.predicting import Prediction
from phonecv.tables import write_csv
from phonecv.text import printable_name
from phonecv.verbs import Steps, Together
from phonecv.whole.opening import WholeRunner

#: How a file is drawn; None where it cannot be read any more.
Show = Callable[[Path], Image.Image | None]

#: Logits, places among the paths, and errors of a batch.
Found = tuple[np.ndarray, Sequence[int], list[str]]

#: Logits of pictures -> what is said about each.
Say = Callable[[np.ndarray, Sequence[Path]], "list[PictureClasses]"]

#: Pictures per step.
BATCH = 32

#: Said of an output that holds what is no number.
BROKEN = "the model's output is NaN; its weights may be broken"

#: Said of a picture that has none of the labels.
NO_LABEL = "no label"

#: Pictures in the grid; the tables hold all of them.
GRID = 36


@dataclass(frozen=True, slots=True)
class PictureClasses(Prediction):
    """What a model says about one picture or clip.

    Attributes:
        labels: names, the most probable first; empty if the picture could not be used.
        probabilities: of these names: softmax over all classes, or sigmoid where they do not exclude each other.
        indices: the outputs these names belong to.
    """

    labels: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    indices: tuple[int, ...] = ()

    def said(self) -> str:
        """See `Prediction`."""
        guesses = zip(self.labels, self.probabilities, strict=True)
        return ", ".join(f"{printable_name(label)} {share:.1%}" for label, share in guesses) or NO_LABEL

    def values(self) -> dict[str, Any]:
        """See `Prediction`."""
        rows = zip(self.indices, self.labels, self.probabilities, strict=True)
        guesses = [{"index": index, "label": label, "probability": share} for index, label, share in rows]
        return {"predictions": guesses}


def predictions(
    runner: WholeRunner, paths: Sequence[Path], steps: Steps, reader: Reader, say: Say
) -> Iterator[list[PictureClasses]]:
    """What is said about files, those of a step at a time."""
    batch = steps.batch_size or BATCH
    if runner.arrays is not None and isinstance(reader, EvalTransform) and not eval_workers(len(paths), steps.workers):
        found = _of_arrays(runner.arrays, paths, reader, batch, steps.world)
    else:
        found = _of_tensors(runner, paths, reader, batch, steps)
    for logits, places, errors in found:
        guesses = say(logits, [paths[place] for place in places])
        yield [
            PictureClasses(guess.path, error=reason_of(error, guess.path)) if error else guess
            for guess, error in zip(guesses, errors, strict=True)
        ]


def _of_tensors(
    runner: WholeRunner, paths: Sequence[Path], reader: Reader, batch: int, steps: Steps
) -> Iterator[Found]:
    from phonecv.data.folders.listing import Listing, Sample
    from phonecv.whole.evaluate import run_images

    listing = Listing(Path(), "val", (), tuple(Sample(path, 0) for path in paths))
    for logits, places, errors in run_images(runner, listing, reader, batch, steps):
        yield logits.numpy(), places.tolist(), errors


def _of_arrays(
    run: Callable[[np.ndarray], np.ndarray], paths: Sequence[Path], reader: EvalTransform, batch: int, world: Together
) -> Iterator[Found]:
    """The same without torch, whose import takes longer than some pictures."""
    own = range(world.rank, len(paths), world.size)
    for start in range(0, len(own), batch):
        places = own[start : start + batch]
        pixels, errors = np.zeros((len(places), reader.side, reader.side, 3), np.uint8), []
        for row, place in zip(pixels, places, strict=True):
            try:
                row[:] = reader.array(paths[place])
                errors.append("")
            except ImageError as error:
                errors.append(str(error))
        yield run(reader.normalise.arrays(pixels)), places, errors


def best_classes(logits: np.ndarray, paths: Sequence[Path], names: Sequence[str], topk: int) -> list[PictureClasses]:
    """The most probable classes of every row of `logits` ``B C``."""
    said = []
    for path, row in zip(paths, logits, strict=True):
        if np.isnan(row).any():
            said.append(PictureClasses(path, error=BROKEN))
            continue
        shares = np.exp(row - row.max())
        shares /= shares.sum()
        order = np.argsort(-row, kind="stable")[:topk].tolist()
        labels = tuple(names[output] for output in order)
        said.append(PictureClasses(path, labels, tuple(shares[order].tolist()), tuple(order)))
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

    out = Path(out)
    rows: list[tuple[Any, ...]] = []
    for prediction in predictions:
        if not prediction.labels:
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
    lines += [f"{name} {share:.1%}" for name, share in guesses] or [NO_LABEL]
    return "\n".join([*lines[:3], prediction.error] if prediction.error else lines[:3])
