"""Evaluating whatever a file holds; for classifiers counts, tables and pictures of what goes wrong are here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from phonecv.classify.metrics import Accuracy, label_rank
from phonecv.classify.opening import Runner, open_runner
from phonecv.data.class_mapping import OutputMap, map_classes
from phonecv.data.folders.listing import Listing, read_split
from phonecv.data.loading.loader import ClassificationDataset, eval_batches, eval_workers, make_loader
from phonecv.data.loading.workers import workers_explained
from phonecv.data.pictures.bit_depth import settle_depth
from phonecv.data.pictures.opening import printable, reason_of, reopen
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.files import write_json
from phonecv.models import VisionModel
from phonecv.opening import task_of
from phonecv.options import Count, Workers, checked
from phonecv.tables import write_csv
from phonecv.task import function_of, given
from phonecv.text import printable_name

if TYPE_CHECKING:
    from phonecv.dense import DenseModel
    from phonecv.detect.opening import DetectRunner
    from phonecv.segment.opening import SegmentRunner

#: Pictures in the grid of the worst.
WORST = 24


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One evaluated picture.

    Attributes:
        path: the file.
        label: the true class, an output of the model.
        predicted: the class with the largest logit.
        rank: place of the true class, 0 for right at the first guess.
        true_probability: softmax of the true class.
        probability: softmax of the predicted class.
    """

    path: Path
    label: int
    predicted: int
    rank: int
    true_probability: float
    probability: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One line of the per-class table."""

    name: str
    count: int
    top1: int
    top5: int


@dataclass(frozen=True, slots=True)
class EvalResult:
    """What an evaluation found. `top1` and `top5` are counts of right answers among `count` pictures.

    Attributes:
        classes: names of the model's outputs.
        confusion: pictures per true class (row) and predicted class (column), over the model's outputs.
        images: every evaluated picture, in the order of the data.
        skipped: pictures that could not be read, with the reason; they count nowhere.
        seconds: reading, transforming and running.
        model: what was evaluated, for people.
        data: folder and split, for people.
        notes: what a person should know about the data.
        details: form, runtime, preprocessing and so on.
    """

    count: int
    top1: int
    top5: int
    classes: tuple[str, ...]
    confusion: np.ndarray
    images: tuple[ImageScore, ...]
    skipped: tuple[tuple[Path, str], ...]
    seconds: float
    model: str
    data: str
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> Accuracy:
        """The counts as a pair of shares."""
        return Accuracy(self.count, self.top1, self.top5, len(self.classes))

    @property
    def top1_percent(self) -> float:
        """Share right at the first guess, in percent."""
        return self.accuracy.top1_percent

    @property
    def top5_percent(self) -> float:
        """Share right within five guesses, in percent."""
        return self.accuracy.top5_percent

    @property
    def per_class(self) -> list[ClassScore]:
        """A line for every class that has pictures."""
        labels = np.array([image.label for image in self.images], dtype=np.int64)
        ranks = np.array([image.rank for image in self.images], dtype=np.int64)
        size = len(self.classes)
        count = np.bincount(labels, minlength=size)
        top1 = np.bincount(labels[ranks < 1], minlength=size)
        top5 = np.bincount(labels[ranks < 5], minlength=size)
        return [
            ClassScore(self.classes[label], int(count[label]), int(top1[label]), int(top5[label]))
            for label in np.flatnonzero(count)
        ]

    @property
    def worst(self) -> list[ImageScore]:
        """Pictures by rising probability of their true class: the clearest mistakes first."""
        return sorted(self.images, key=lambda image: image.true_probability)

    def summary(self) -> dict[str, Any]:
        """The figures as plain values for JSON."""
        five = {"top5": self.top5, "top5_percent": round(self.top5_percent, 4)} if self.accuracy.five_guesses else {}
        return {
            "model": self.model,
            "data": self.data,
            "count": self.count,
            "top1": self.top1,
            "top1_percent": round(self.top1_percent, 4),
            "top1_error": round(self.accuracy.error, 4),
            **five,
            "skipped": len(self.skipped),
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            **self.details,
        }

    def __str__(self) -> str:
        lines = [f"{self.model} on {self.data}: {self.accuracy}"]
        lines += [f"note: {note}" for note in self.notes]
        if self.skipped:
            lines.append(f"{len(self.skipped)} unreadable images were skipped and count nowhere:")
            lines += [f"  {printable(path)}: {reason}" for path, reason in self.skipped[:20]]
            if len(self.skipped) > 20:
                lines.append(f"  ... and {len(self.skipped) - 20} more (all are in skipped.csv of the output folder)")
        return "\n".join(lines)


@overload
def evaluate(model: VisionModel | Runner, data: Listing | Path | str, **options: Any) -> EvalResult: ...


@overload
def evaluate(model: DenseModel | DetectRunner | SegmentRunner | Path | str, data: Any, **options: Any) -> Any: ...


def evaluate(
    model: Any,
    data: Any,
    *,
    split: str = "val",
    out: Path | str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    limit: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Any:
    """Evaluate a classifier, detector or segmenter on a data set; the model decides which.

    Classifiers give top-1 and top-5 on a folder per class or a list, detectors COCO's average precision on a data set
    in COCO's format, segmenters IoU on label maps.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights), the path of an
            exported file, or a runner. A ``.json`` file of COCO results stands for the detector that wrote it.
        data: a data folder, or a split that was read already.
        split: of a data folder.
        out: folder for tables and pictures.
        batch_size: pictures per step; None chooses. No result depends on it.
        workers: of the loader; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        limit: only the first pictures.
        on_progress: called with (done, all) after every batch.
        **options: more arguments of `evaluate_classifier` (list_file), `phonecv.detect.evaluate.evaluate_detector`
            (annotations, images, threshold) or `phonecv.segment.evaluate.evaluate_segmenter` (threshold,
            reduce_zero_label, stored, slide, scales, flip), and those of `load_checkpoint`, such as ``ema=True``.

    Returns:
        An `EvalResult`, a `phonecv.detect.evaluate.DetectionResult`, or what `evaluate_segmenter` returns. Each
        prints its figures and has `summary()`.

    Raises:
        UserError: unusable model or data, classes that do not fit, no readable picture, an unknown option or one of
            another task, or a value out of range.
    """
    results_file = isinstance(model, Path | str) and Path(model).suffix.lower() == ".json"
    chosen = options | given(out=out, batch_size=batch_size, workers=workers, device=device, limit=limit)
    if amp != "none":
        chosen["amp"] = amp
    if results_file:  # a moment's work, without progress
        evaluate_results = function_of("evaluate", "results", model, chosen)
        return evaluate_results(data, model, split=split, **chosen)
    function = function_of("evaluate", task_of(model), model, chosen)
    return function(model, data, split=split, on_progress=on_progress, **chosen)


@checked
def evaluate_classifier(
    model: VisionModel | Runner | Path | str,
    data: Listing | Path | str,
    *,
    split: str = "val",
    list_file: Path | str | None = None,
    out: Path | str | None = None,
    batch_size: Count = 64,
    workers: Workers | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    limit: Count | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **loading: Any,
) -> EvalResult:
    """Count right answers of a classifier over a data set.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights), the path of an
            exported file, or a `Runner`.
        data: a data folder, or the listing of a split.
        split: of a data folder.
        list_file: pictures and labels from this list instead; its labels are the model's outputs where the
            classes cannot be matched by name.
        out: folder for tables and pictures, see `write_evaluation`.
        batch_size: pictures per step; no result depends on it.
        workers: loader processes; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        limit: only the first pictures.
        on_progress: called with (done, all) after every batch.
        **loading: arguments of `load_checkpoint`, such as ``ema=True``.

    Raises:
        UserError: unusable model or data, classes that do not fit, or no readable picture.
    """
    listing = data if isinstance(data, Listing) else read_split(data, split, list_file=list_file)
    if limit is not None:
        listing = Listing(
            root=listing.root,
            split=listing.split,
            classes=listing.classes,
            samples=listing.samples[:limit],
            problems=listing.problems,
            class_ids=listing.class_ids,
            list_file=listing.list_file,
        )
    runner = open_runner(model, device=device, amp=amp, **loading)
    runner, depth = at_depth(runner, [sample.path for sample in listing.samples])
    outputs = match_outputs(runner, listing, trust_labels=list_file is not None)

    start = time.perf_counter()
    images: list[ImageScore] = []
    skipped: list[tuple[Path, str]] = []
    done = 0
    for logits, indices, errors in run_images(runner, listing, batch_size, workers):
        paths = [listing.samples[int(index)].path for index in indices]
        labels = torch.tensor([outputs[listing.samples[int(index)].label] for index in indices])
        scores = score(logits, labels, paths)
        images += [image for image, error in zip(scores, errors, strict=True) if not error]
        skipped += [(path, reason_of(error, path)) for path, error in zip(paths, errors, strict=True) if error]
        done += len(errors)
        if on_progress is not None:
            on_progress(done, len(listing))
    if not images:
        raise UserError(f"none of the {len(skipped)} images could be read; the first: {skipped[0][0]}: {skipped[0][1]}")

    confusion = np.zeros((runner.num_classes, runner.num_classes), dtype=np.int64)
    np.add.at(confusion, ([image.label for image in images], [image.predicted for image in images]), 1)
    result = EvalResult(
        count=len(images),
        top1=sum(image.rank < 1 for image in images),
        top5=sum(image.rank < 5 for image in images),
        classes=runner.names,
        confusion=confusion,
        images=tuple(images),
        skipped=tuple(skipped),
        seconds=time.perf_counter() - start,
        model=runner.description,
        data=f"{printable(listing.list_file or listing.root)} ({listing.split})",
        notes=(*listing.problems, *filter(None, [outputs.note, depth])),
        details={"preprocessing": runner.preprocessing.to_dict(), **runner.details},
    )
    if out is not None:
        write_evaluation(result, out)
    return result


def run_images(
    runner: Runner, listing: Listing, batch_size: int, workers: int | None
) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """Logits, places in the listing, and errors of every batch; an unreadable picture has an error text."""
    workers = eval_workers(len(listing), workers)
    dataset = ClassificationDataset(listing, eval_transform(runner.preprocessing), substitute=False)
    # Channels last is what Pillow gives, and what convolutions on CPUs are faster with.
    loader = make_loader(dataset, eval_batches(len(listing), batch_size), workers, channels_last=True)
    with workers_explained(f"lower workers ({workers} now; 0 loads in this process) or batch_size ({batch_size} now)"):
        for batch in loader:
            yield runner(batch.images), batch.indices, batch.errors


def at_depth(runner: Runner, paths: Sequence[Path]) -> tuple[Runner, str]:
    """The runner with the depth that the 16-bit pictures among `paths` are read with, and what to say of it."""
    preprocessing, note = settle_depth(runner.preprocessing, paths)
    return replace(runner, preprocessing=preprocessing), note


def match_outputs(runner: Runner, listing: Listing, *, trust_labels: bool) -> OutputMap:
    """The model output of every label in the data.

    Args:
        runner: the model.
        listing: the data.
        trust_labels: the person named a list file, so labels that match no name are outputs already.

    Raises:
        UserError: they cannot be matched, with what to do next.
    """
    labels = sorted(set(listing.labels.tolist()))
    ids = listing.class_ids or listing.classes
    hint = (
        "; name the class folders like the model's classes, or pass a list file with lines `path index`, "
        "index being the model's output (--list-file)"
    )
    try:
        return map_classes(labels, ids, listing.classes, runner.class_names, runner.num_classes, hint=hint)
    except UserError:
        if trust_labels and labels[-1] < runner.num_classes:
            return OutputMap({label: label for label in labels})
        raise


def score(logits: Tensor, labels: Tensor, paths: Sequence[Path]) -> list[ImageScore]:
    """Judge a batch: `logits` B C, `labels` B."""
    ranks = label_rank(logits, labels)
    probabilities = logits.float().softmax(1).nan_to_num(0.0)
    predicted = logits.nan_to_num(float("-inf")).argmax(1)
    true = probabilities.gather(1, labels[:, None])[:, 0]
    top = probabilities.gather(1, predicted[:, None])[:, 0]
    rows = zip(paths, labels.tolist(), predicted.tolist(), ranks.tolist(), true.tolist(), top.tolist(), strict=True)
    return [ImageScore(*row) for row in rows]


# -------------------------------------------------------------------------------------------- files


def write_evaluation(result: EvalResult, out: Path | str) -> Path:
    """Write summary.json, per_class.csv, predictions.csv, confusion.png, worst.png, and skipped.csv if any were."""
    from phonecv.plots import save_confusion

    out = Path(out)
    write_json(out / "summary.json", result.summary())
    write_csv(
        out / "per_class.csv",
        ("class", "count", "top1", "top5", "top1_percent"),
        ((row.name, row.count, row.top1, row.top5, f"{100 * row.top1 / row.count:.2f}") for row in result.per_class),
    )
    names = result.classes
    write_csv(
        out / "predictions.csv",
        ("path", "true", "predicted", "probability", "true_probability", "rank"),
        (
            (
                i.path,
                names[i.label],
                names[i.predicted],
                f"{i.probability:.6f}",
                f"{i.true_probability:.6f}",
                i.rank + 1,
            )
            for i in result.images
        ),
    )
    (out / "skipped.csv").unlink(missing_ok=True)  # of an earlier evaluation into the same folder
    if result.skipped:
        write_csv(out / "skipped.csv", ("path", "reason"), result.skipped)
    save_confusion(result.confusion, names, out / "confusion.png", title=str(result.accuracy))
    save_worst(result, out / "worst.png")
    return out


def save_worst(result: EvalResult, png_path: Path, *, most: int = WORST) -> Path:
    """Draw the pictures whose true class got the least probability."""
    from phonecv.plots import COLOURS, INK, save_image_grid

    names = result.classes
    worst = result.worst[:most]
    return save_image_grid(
        [reopen(image.path) for image in worst],
        [
            f"{image.path.name}\nis {printable_name(names[image.label])} {image.true_probability:.1%}\n"
            + (f"→ {printable_name(names[image.predicted])} {image.probability:.1%}" if image.rank else "right")
            for image in worst
        ],
        png_path,
        title=f"Least probable true class ({sum(image.rank > 0 for image in result.images)} mistakes in all)",
        colours=[COLOURS[1] if image.rank else INK for image in worst],
    )
