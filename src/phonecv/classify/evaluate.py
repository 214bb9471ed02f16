"""Evaluating a classifier: counts of right answers, and every picture's score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from phonecv.classify.metrics import label_rank
from phonecv.classify.opening import ClassifyRunner
from phonecv.classify.result import ClassificationResult, ImageScore
from phonecv.classify.verbs import EvaluateOptions
from phonecv.data.class_mapping import OutputMap, map_classes
from phonecv.data.folders.listing import Listing, read_split
from phonecv.data.loading.loader import ClassificationDataset, eval_batches, eval_workers, make_loader
from phonecv.data.loading.workers import workers_explained
from phonecv.data.pictures.opening import printable, reason_of
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.evaluating import Skipped
from phonecv.verbs import Steps

#: Pictures per step.
BATCH = 64


@dataclass
class ClassifierEvaluation:
    """A classifier and a split whose labels are its outputs; see `phonecv.evaluating.Evaluation`."""

    runner: ClassifyRunner
    listing: Listing
    outputs: OutputMap
    data: str
    notes: list[str]
    images: list[ImageScore] = field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        """Pictures of the split."""
        return [sample.path for sample in self.listing.samples]

    def run(self, steps: Steps) -> Iterator[tuple[int, Skipped]]:
        """Judge every picture."""
        samples = self.listing.samples
        for logits, indices, errors in run_images(self.runner, self.listing, steps.batch_size or BATCH, steps.workers):
            paths = [samples[int(index)].path for index in indices]
            labels = torch.tensor([self.outputs[samples[int(index)].label] for index in indices])
            scores = score(logits, labels, paths)
            self.images += [image for image, error in zip(scores, errors, strict=True) if not error]
            yield len(errors), [(path, reason_of(bad, path)) for path, bad in zip(paths, errors, strict=True) if bad]

    def result(self) -> ClassificationResult:
        """What was found."""
        spec = {"preprocessing": self.runner.preprocessing.to_dict()}
        return ClassificationResult(self.runner.classes, tuple(self.images), details=spec)


def evaluation(
    runner: ClassifyRunner, data: Listing | Path | str, split: str, limit: int | None, options: EvaluateOptions
) -> ClassifierEvaluation:
    """See `phonecv.evaluating.EvaluateRoom`."""
    listing = data if isinstance(data, Listing) else read_split(data, split, list_file=options.list_file)
    if limit is not None:
        listing = replace(listing, samples=listing.samples[:limit])
    outputs = match_outputs(runner, listing, trust_labels=options.list_file is not None)
    notes = [*listing.problems, *filter(None, [outputs.note])]
    where = f"{printable(listing.list_file or listing.root)} ({listing.split})"
    return ClassifierEvaluation(runner, listing, outputs, where, notes)


def run_images(
    runner: ClassifyRunner, listing: Listing, batch_size: int, workers: int | None
) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """Logits, places in the listing, and errors of every batch; an unreadable picture has an error text."""
    workers = eval_workers(len(listing), workers)
    dataset = ClassificationDataset(listing, eval_transform(runner.preprocessing), substitute=False)
    # Channels last is what Pillow gives, and what convolutions on CPUs are faster with.
    loader = make_loader(dataset, eval_batches(len(listing), batch_size), workers, channels_last=True)
    with workers_explained(f"lower workers ({workers} now; 0 loads in this process) or batch_size ({batch_size} now)"):
        for batch in loader:
            yield runner(batch.images), batch.indices, batch.errors


def match_outputs(runner: ClassifyRunner, listing: Listing, *, trust_labels: bool) -> OutputMap:
    """The model output of every label in the data; with `trust_labels` those that match no name are outputs already.

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
