"""Predictions for pictures: a file, a folder, a pattern, or a list of them; those of classifiers are made here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from phonecv.classify.evaluate import at_depth, run_images
from phonecv.classify.opening import Runner, open_runner
from phonecv.data.folders.listing import Listing, Sample
from phonecv.data.pictures.bit_depth import tell_depth
from phonecv.data.pictures.opening import find_images, printable, reason_of, reopen
from phonecv.errors import UserError
from phonecv.files import write_json
from phonecv.models import VisionModel
from phonecv.opening import task_of
from phonecv.options import Count, Workers, checked
from phonecv.tables import write_csv
from phonecv.task import belongs_elsewhere, function_of, given
from phonecv.text import printable_name

if TYPE_CHECKING:
    from phonecv.dense import DenseModel
    from phonecv.detect.opening import DetectRunner
    from phonecv.segment.opening import SegmentRunner

#: Pictures in the grid; the tables hold all of them.
GRID = 36


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says about one picture.

    Attributes:
        path: the file.
        labels: names, the most probable first; empty if the picture could not be used.
        probabilities: of these names, softmax over all classes.
        indices: the outputs these names belong to.
        error: why the picture could not be used, or an empty text.
    """

    path: Path
    labels: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    indices: tuple[int, ...] = ()
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"{printable(self.path)}: {self.error}"
        guesses = ", ".join(
            f"{printable_name(label)} {share:.1%}" for label, share in zip(self.labels, self.probabilities, strict=True)
        )
        return f"{printable(self.path)}: {guesses}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = zip(self.indices, self.labels, self.probabilities, strict=True)
        guesses = [{"index": index, "label": label, "probability": share} for index, label, share in rows]
        return {"path": printable(self.path), "predictions": guesses, "error": self.error}


@overload
def predict(
    model: VisionModel | Runner, images: Path | str | Sequence[Path | str], **options: Any
) -> list[Prediction]: ...


@overload
def predict(
    model: DenseModel | DetectRunner | SegmentRunner | Path | str,
    images: Path | str | Sequence[Path | str],
    **options: Any,
) -> list[Any]: ...


def predict(
    model: Any,
    images: Path | str | Sequence[Path | str],
    *,
    out: Path | str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    **options: Any,
) -> list[Any]:
    """What a classifier, detector or segmenter says about pictures; the model decides which.

    A picture that cannot be read gets an error and the others go on.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights), the path of an
            exported file, or a runner.
        images: a picture, a folder (searched through), a pattern such as "photos/*.jpg", or several of them.
        out: folder for tables and pictures of the predictions.
        batch_size: pictures per step; None chooses.
        workers: of the loader; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        **options: more arguments of `predict_classifier` (topk), `phonecv.detect.predict.predict_detector`
            (threshold) or `phonecv.segment.predict.predict_segmenter` (slide, scales, flip), and those of
            `load_checkpoint`, such as ``ema=True``.

    Returns:
        One entry per picture, in the order found: `Prediction`, `phonecv.detect.predict.PictureDetections`, or what
        `predict_segmenter` returns. Each prints itself, and has `path`, `error` and `to_dict()`.

    Raises:
        UserError: unusable model, no pictures, an unknown option or one of another task, a value out of range.
    """
    chosen = options | given(out=out, batch_size=batch_size, workers=workers, device=device)
    if amp != "none":
        chosen["amp"] = amp
    return list(function_of("predict", task_of(model), model, chosen)(model, images, **chosen))


@checked
def predict_classifier(
    model: VisionModel | Runner | Path | str,
    images: Path | str | Sequence[Path | str],
    *,
    topk: Count = 5,
    out: Path | str | None = None,
    batch_size: Count = 32,
    workers: Workers | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    **loading: Any,
) -> list[Prediction]:
    """Classify pictures; one that cannot be read gets an error and the others go on.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights), the path of an
            exported file, or a `Runner`.
        images: a picture, a folder (searched through), a pattern such as "photos/*.jpg", or several of them.
        topk: names per picture, at most as many as there are classes.
        out: folder for tables and a picture, see `write_predictions`.
        batch_size: pictures per step.
        workers: loader processes; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        **loading: arguments of `load_checkpoint`, such as ``ema=True``.

    Returns:
        One entry per picture, in the order found.

    Raises:
        UserError: unusable model, no pictures, a number that is not positive.
    """
    sources = [images] if isinstance(images, Path | str) else list(images)
    paths = [path for source in sources for path in find_images(source)]
    if not paths:
        raise UserError("no pictures were named; give a file, a folder or a pattern such as 'photos/*.jpg'")
    runner = open_runner(model, device=device, amp=amp, **loading)
    runner, depth = at_depth(runner, paths)
    tell_depth(depth)
    names = runner.names
    listing = Listing(Path(), "val", (), tuple(Sample(path, 0) for path in paths))
    predictions: list[Prediction] = []
    for logits, indices, errors in run_images(runner, listing, batch_size, workers):
        shares, order = logits.softmax(1).topk(min(topk, runner.num_classes))
        broken = logits.isnan().any(1).tolist()
        rows = zip(indices.tolist(), shares.tolist(), order.tolist(), errors, broken, strict=True)
        for index, row_shares, row_order, error, nan in rows:
            path = paths[index]
            if error or nan:
                reason = reason_of(error, path) if error else "the model's output is NaN; its weights may be broken"
                predictions.append(Prediction(path, error=reason))
                continue
            labels = tuple(names[output] for output in row_order)
            predictions.append(Prediction(path, labels, tuple(row_shares), tuple(row_order)))
    if out is not None:
        write_predictions(predictions, out)
    return predictions


def predict_all(
    model: Path | str,
    images: Sequence[Path | str],
    *,
    camera: str | None = None,
    out: Path | str | None = None,
    on_frame: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> list[Any]:
    """What `phonecv predict` does: `predict`, for detectors also videos and a camera, and the files of it all.

    Args:
        model: as for `predict`.
        images: pictures, folders and patterns, for detectors also videos.
        camera: number or device of a camera, for detectors.
        out: folder for tables and pictures of the predictions.
        on_frame: called with {"frame", "time", "detections"} of each frame of a video or camera.
        **options: arguments of `predict`.

    Returns:
        One entry per picture, then one per video or camera (`phonecv.detect.video.VideoDetections`).

    Raises:
        UserError: as `predict`, or a camera for something else than a detector.
    """
    task = task_of(model)
    if task != "detect":
        if camera is not None:
            raise belongs_elsewhere("camera", ["detect"], task, model)
        return predict(model, images, out=out, **options)
    from phonecv.detect.sources import detect_all

    function_of("predict", task, model, given(**options))
    return detect_all(model, images, camera=camera, out=out, on_frame=on_frame, **options)


def write_predictions(
    predictions: Sequence[Prediction], out: Path | str, *, title: str = "", truth: Mapping[Path, str] | None = None
) -> Path:
    """Write predictions.csv (a line per picture and name), predictions.json, and predictions.png with the first ones.

    Args:
        predictions: see `predict`.
        out: folder.
        title: of the picture.
        truth: true names by path where they are known; mistakes then stand out in the picture.

    Raises:
        UserError: there are no predictions.
    """
    from phonecv.plots import COLOURS, INK, save_image_grid

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
        [None if prediction.error else reopen(prediction.path) for prediction in shown],
        [_caption(prediction) for prediction in shown],
        out / "predictions.png",
        title=(title or "Predictions") + more,
        colours=[COLOURS[1] if prediction.error or _wrong(prediction, truth) else INK for prediction in shown],
    )
    return out


def _wrong(prediction: Prediction, truth: Mapping[Path, str] | None) -> bool:
    return truth is not None and prediction.labels[:1] != (truth.get(prediction.path),)


def _caption(prediction: Prediction) -> str:
    lines = [prediction.path.name]
    guesses = zip(prediction.labels, prediction.probabilities, strict=True)
    lines += [f"{name} {share:.1%}" for name, share in guesses]
    return "\n".join([*lines[:3], prediction.error] if prediction.error else lines[:3])
