"""Evaluating a generator: the Frechet distance of its samples from pictures, and whether their class is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from phonecv.data.class_mapping import OutputMap, map_classes
from phonecv.data.folders.listing import Listing, read_split
from phonecv.data.pictures.opening import printable, reason_of
from phonecv.data.pictures.reading import eval_transform
from phonecv.errors import UserError
from phonecv.evaluating import Skipped
from phonecv.generation.autoencoder import Autoencoder
from phonecv.generation.frechet import Features, FrechetDistance, open_features
from phonecv.generation.generate import made_pictures
from phonecv.generation.opening import GenerateRunner
from phonecv.generation.pictures import MOST, to_bytes
from phonecv.generation.result import GenerationResult
from phonecv.generation.verbs import EvaluateOptions
from phonecv.verbs import Steps
from phonecv.whole.evaluate import run_images

#: Pictures per step.
BATCH = 64

#: Samples that published distances are of.
PUBLISHED_SAMPLES = 50_000


@dataclass
class GeneratorEvaluation:
    """A generator and a split whose labels are its classes; see `phonecv.evaluating.Evaluation`."""

    runner: GenerateRunner
    listing: Listing
    asked: list[int]
    features: Features
    readers: OutputMap | None
    autoencoder: Autoencoder | None
    options: EvaluateOptions
    data: str
    notes: list[str]
    read: list[int] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)
    counted: int = 0
    frechet: FrechetDistance | None = None

    @property
    def paths(self) -> list[Path]:
        """Pictures of the split."""
        return [sample.path for sample in self.listing.samples]

    def run(self, steps: Steps) -> Iterator[tuple[int, Skipped]]:
        """Take the features of pictures and of samples, both by turns."""
        size, count = steps.batch_size or BATCH, len(self.listing)
        reader = eval_transform(self.runner.preprocessing)
        samples = made_pictures(
            self.runner, self.autoencoder, self.asked, self.options, self.options.seed, steps.batch_size
        )
        done = made = 0
        for images, indices, errors in run_images(lambda images: images, self.listing, reader, size, steps):
            good = torch.tensor([not error for error in errors])
            if good.any():
                self._count(to_bytes(images[good]), real=True)
                self.counted += int(good.sum())
            done += len(errors)
            while made < len(self.asked) * done // count:
                made += self._take(next(samples))
            paths = [self.listing.samples[int(index)].path for index in indices]
            bad = [(path, reason_of(error, path)) for path, error in zip(paths, errors, strict=True) if error]
            yield len(errors), bad

    def _take(self, pictures: Tensor) -> int:
        logits = self._count(pictures, real=False)
        if self.readers is not None and logits is not None:
            back = {output: number for number, output in self.readers.items()}
            self.read += [back.get(output, -1) for output in logits.argmax(1).tolist()]
        if sum(map(len, self.shown)) < MOST:
            self.shown.append(pictures)
        return len(pictures)

    def _count(self, pictures: Tensor, *, real: bool) -> Tensor | None:
        found, logits = self.features.run(pictures)
        if self.frechet is None:
            self.frechet = FrechetDistance(found.shape[1])
        self.frechet.update(found, real=real)
        return logits

    def result(self) -> GenerationResult:
        """What was found."""
        assert self.frechet is not None
        options = self.options
        made = {"sampler": options.sampler, "steps": options.steps, "guidance": options.guidance, "seed": options.seed}
        least = min(self.counted, len(self.asked))
        few = (
            f"the Frechet distance of few pictures is too large (here {len(self.asked)} samples and {self.counted}"
            f" pictures); compare it with those of equal numbers and equal features alone. Published ones are of"
            f" {PUBLISHED_SAMPLES:,} samples by Inception v3"
        )
        return GenerationResult(
            self.frechet.distance(),
            tuple(self.asked),
            tuple(self.read),
            self.runner.classes,
            self.counted,
            torch.cat(self.shown)[:MOST],
            notes=(few,) if least < PUBLISHED_SAMPLES else (),
            details={"features": self.features.name, **made},
        )


def evaluation(
    runner: GenerateRunner, data: Listing | Path | str, split: str, limit: int | None, options: EvaluateOptions
) -> GeneratorEvaluation:
    """See `phonecv.evaluating.EvaluateRoom`; samples have the classes of the pictures, in equal shares."""
    features = open_features(options.features, runner.device)
    autoencoder = runner.autoencoder(options.autoencoder)
    listing = data if isinstance(data, Listing) else read_split(data, split, list_file=options.list_file)
    listing = listing if limit is None else replace(listing, samples=listing.samples[:limit])
    classes = sorted(set(listing.labels.tolist()))
    ids = listing.class_ids or listing.classes
    own = map_classes(classes, ids, listing.classes, runner.class_names, runner.num_classes)
    labels = [own[label] for label in listing.labels.tolist()]
    count = options.count or len(labels)
    asked = [labels[place * len(labels) // count] for place in range(count)]
    notes = [*listing.problems, *filter(None, [own.note])]
    readers = _readers(runner, features, sorted(set(asked)), notes)
    where = f"{printable(listing.list_file or listing.root)} ({listing.split})"
    return GeneratorEvaluation(runner, listing, asked, features, readers, autoencoder, options, where, notes)


def _readers(runner: GenerateRunner, features: Features, asked: Sequence[int], notes: list[str]) -> OutputMap | None:
    """Class of the generator -> output of the features' classifier that means it; None where there are none."""
    if features.classes is None:
        return None
    try:
        return map_classes(asked, runner.classes, runner.classes, features.classes, len(features.classes))
    except UserError as error:
        notes.append(f"whether the class asked for is read in the samples was not counted: {error}")
        return None
