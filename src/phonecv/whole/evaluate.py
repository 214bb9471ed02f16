"""Evaluating what names whole pictures or clips: counts of right answers, and the score of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.data.class_mapping import OutputMap, map_classes
from phonecv.data.folders.listing import Listing
from phonecv.data.loading.loader import ClassificationDataset, eval_batches, make_loader
from phonecv.data.loading.workers import workers_explained
from phonecv.data.pictures.opening import printable, reason_of
from phonecv.data.pictures.reading import Reader
from phonecv.devices import eval_workers
from phonecv.errors import UserError
from phonecv.evaluating import EvaluationResult, Skipped
from phonecv.verbs import Steps, Together
from phonecv.whole.metrics import label_rank
from phonecv.whole.opening import WholeRunner
from phonecv.whole.result import ImageScore, WholeResult

#: Pictures per step.
BATCH = 64


@dataclass
class WholeEvaluation:
    """A model and a split whose labels are its outputs; see `phonecv.evaluating.Evaluation`.

    Attributes:
        reader: what reads the files for a model.
        kind: the task's result.
        images: places of those that could be read, and what `judged` made of them.
    """

    runner: WholeRunner
    listing: Listing
    outputs: OutputMap
    data: str
    notes: list[str]
    reader: Callable[[WholeRunner], Reader]
    kind: Callable[..., WholeResult] = WholeResult
    images: list[tuple[int, Any]] = field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        """Pictures of the split."""
        return [sample.path for sample in self.listing.samples]

    def run(self, steps: Steps) -> Iterator[tuple[int, Skipped]]:
        """Judge every picture."""
        samples = self.listing.samples
        reader, batch = self.reader(self.runner), steps.batch_size or BATCH
        for logits, indices, errors in run_images(self.runner, self.listing, reader, batch, steps):
            places = indices.tolist()
            paths = [samples[place].path for place in places]
            judged = zip(places, self.judged(logits, places, paths), errors, strict=True)
            self.images += [(place, image) for place, image, error in judged if not error]
            yield len(errors), [(path, reason_of(bad, path)) for path, bad in zip(paths, errors, strict=True) if bad]

    def judged(self, logits: Tensor, places: Sequence[int], paths: Sequence[Path]) -> Sequence[Any]:
        """What is kept of each picture of a batch: of logits ``B C``, places in the listing and files."""
        labels = torch.tensor([self.outputs[self.listing.samples[place].label] for place in places])
        return score(logits, labels, paths)

    def gather(self, world: Together) -> None:
        """See `phonecv.evaluating.Shared`."""
        self.images = sorted((one for part in world.gather(self.images) for one in part), key=lambda one: one[0])

    def result(self) -> EvaluationResult:
        """What was found."""
        spec = {"preprocessing": self.runner.preprocessing.to_dict()}
        return self.kind(self.runner.classes, tuple(image for _, image in self.images), details=spec)


def evaluation_of(
    runner: WholeRunner,
    listing: Listing,
    limit: int | None,
    *,
    trust_labels: bool,
    reader: Callable[[Any], Reader],
    kind: Callable[..., WholeResult] = WholeResult,
    made: type[WholeEvaluation] = WholeEvaluation,
) -> WholeEvaluation:
    """The evaluation of a model on a split, of its first `limit` files; for `reader` and `kind` see `WholeEvaluation`.

    `made` is what goes through the files. With `trust_labels` labels are the model's outputs where the classes cannot
    be matched by name.
    """
    if limit is not None:
        sets = None if listing.sets is None else listing.sets[:limit]
        listing = replace(listing, samples=listing.samples[:limit], sets=sets)
    outputs = match_outputs(runner, listing, trust_labels=trust_labels)
    notes = [*listing.problems, *filter(None, [outputs.note])]
    where = f"{printable(listing.list_file or listing.root)} ({listing.split})"
    return made(runner, listing, outputs, where, notes, reader, kind)


def run_images(
    runner: Callable[[Tensor], Tensor], listing: Listing, reader: Reader, batch_size: int, steps: Steps
) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """What `runner` makes of each batch, places in the listing, and errors; an unreadable picture has an error text."""
    workers, world = eval_workers(len(listing), steps.workers), steps.world
    dataset = ClassificationDataset(listing, reader, substitute=False)
    # Channels last is what Pillow gives, and what convolutions on CPUs are faster with.
    loader = make_loader(
        dataset, eval_batches(len(listing), batch_size, world.rank, world.size), workers, channels_last=True
    )
    with workers_explained(f"lower workers ({workers} now; 0 loads in this process) or batch_size ({batch_size} now)"):
        for batch in loader:
            yield runner(batch.images), batch.indices, batch.errors


def match_outputs(runner: WholeRunner, listing: Listing, *, trust_labels: bool) -> OutputMap:
    """The model output of every label in the data; with `trust_labels` those that match no name are outputs already."""
    labels = np.flatnonzero(listing.counts).tolist()
    ids = listing.class_ids or listing.classes
    hint = (
        "; name the class folders like the model's classes, or pass a list file with lines `path index`, "
        "index being the model's output (--list-file)"
    )
    try:
        return map_classes(labels, ids, listing.classes, runner.class_names, runner.num_classes, hint=hint)
    except UserError:
        if trust_labels and max(labels, default=0) < runner.num_classes:
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
