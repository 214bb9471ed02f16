"""Evaluating a segmenter: mIoU and its kin over a data set with label maps, and what goes wrong."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from phonecv.data.class_mapping import map_classes
from phonecv.data.coco.paths import has_split, undivided
from phonecv.data.labelmaps import ade20k
from phonecv.data.labelmaps.classes import find_class_file, palette_for, read_label_classes
from phonecv.data.labelmaps.drawn import has_outlines, read_split
from phonecv.data.labelmaps.folders import label_splits
from phonecv.data.labelmaps.listing import IGNORE, LabelSplit
from phonecv.data.labelmaps.loading import SegmentationDataset, make_segmentation_loader
from phonecv.data.loading.loader import eval_batches
from phonecv.data.pictures.opening import printable, reason_of
from phonecv.data.split_names import WHOLE
from phonecv.devices import eval_workers
from phonecv.errors import UserError
from phonecv.evaluating import Skipped
from phonecv.files import relative_name
from phonecv.segment.metrics import SegmentMeter, SegmentScores
from phonecv.segment.opening import SegmentRunner
from phonecv.segment.result import PictureScore, SegmentationResult
from phonecv.segment.verbs import EvaluateOptions
from phonecv.text import counted
from phonecv.training.dividing import listed_rows
from phonecv.verbs import Steps, Together

#: Pictures per step.
BATCH = 8

#: Pictures that are drawn of the best, and as many of the worst.
SHOWN = 6


@dataclass
class SegmenterEvaluation:
    """A segmenter and a split whose labels are its classes; see `phonecv.evaluating.Evaluation`."""

    runner: SegmentRunner
    split: LabelSplit
    part: LabelSplit
    outputs: np.ndarray
    data: str
    notes: list[str]

    def __post_init__(self) -> None:
        self._meter = SegmentMeter(len(self.runner.classes), self.runner.device)
        self._pictures: list[tuple[int, PictureScore]] = []
        self._extremes = _Extremes(SHOWN)

    @property
    def paths(self) -> Sequence[Path]:
        """Pictures that are looked at."""
        return self.part.images

    def run(self, steps: Steps) -> Iterator[tuple[int, Skipped]]:
        """Count every picture's pixels."""
        runner, part = self.runner, self.part
        dataset = SegmentationDataset(part, None, substitute=False, bits=runner.bits)
        table = torch.from_numpy(self.outputs).to(runner.device)
        batches = eval_batches(len(part), steps.batch_size or BATCH, steps.world.rank, steps.world.size)
        for loaded in make_segmentation_loader(dataset, batches, eval_workers(len(part), steps.workers)):
            batch = loaded.to(runner.device)
            images, labels = list(batch.images), list(batch.labels)
            good = [place for place, error in enumerate(batch.errors) if not error]
            found = iter(runner([images[place] for place in good]))
            skipped = []
            for place, index in enumerate(batch.indices.tolist()):
                path, error = part.images[index], batch.errors[place]
                if error:
                    skipped.append((path, reason_of(error, path)))
                    continue
                classes = next(found)
                scores = SegmentScores.of(self._meter.add(classes, table[labels[place]]))
                shares, pixels = (scores.miou, scores.aacc), int(scores.labelled.sum())
                self._pictures.append((index, PictureScore(path, part.labels[index], *shares, pixels)))
                self._extremes.add(self._pictures[-1], classes)
            yield len(batch), skipped

    def gather(self, world: Together) -> None:
        """See `phonecv.evaluating.Shared`."""
        shares = world.gather((self._meter.matrix.cpu(), self._pictures, self._extremes.kept))
        self._meter.matrix = torch.stack([matrix for matrix, _, _ in shares]).sum(0)
        self._pictures = sorted((one for _, pictures, _ in shares for one in pictures), key=lambda one: one[0])
        self._extremes = _Extremes(SHOWN)
        for place, score in sorted((one for _, _, kept in shares for one in kept), key=lambda one: one[0]):
            assert score.found is not None
            self._extremes.add((place, score), torch.from_numpy(score.found))

    def result(self) -> SegmentationResult:
        """What was found."""
        scores, runner, split = self._meter.scores, self.runner, self.split
        if not scores.labelled.any():
            raise UserError(
                f"no pixel of {counted(len(self._pictures), 'images')} is labelled, so there is nothing to score;"
                " `phonecv audit` tells what the label maps hold"
            )
        return SegmentationResult(
            scores=scores,
            classes=runner.classes,
            palette=split.palette if runner.classes == split.classes else palette_for(runner.classes),
            matrix=self._meter.matrix.cpu().numpy(),
            pictures=tuple(score for _, score in self._pictures),
            best=self._extremes.best,
            worst=self._extremes.worst,
            split=split,
            outputs=self.outputs,
            skipped=tuple(split.left_out),
        )


def evaluation(
    runner: SegmentRunner, data: LabelSplit | Path | str, split: str, limit: int | None, options: EvaluateOptions
) -> SegmenterEvaluation:
    """See `phonecv.evaluating.EvaluateRoom`."""
    notes: list[str] = []
    if not isinstance(data, LabelSplit):
        root, reduce, classes = Path(data), options.reduce_zero_label, None
        whole = WHOLE in label_splits(root)
        if has_outlines(root):
            whole = undivided(root) is not None
            if whole and options.list_file is None:
                split = WHOLE
                notes.append(
                    f"{printable(root)} has no splits: all of its pictures are taken, those that were learnt from, too"
                )
        else:
            if reduce is None and options.threshold is None:
                reduce, note = choose_reading(root, runner)
                notes.append(note)
            # Without a class file the model's classes are all there is to go by.
            classes = None if find_class_file(root) is not None else runner.classes
        val = has_split(root, "val") if has_outlines(root) else "val" in label_splits(root)
        # A list divides what is undivided, or the training split.
        if options.list_file is not None or (split == WHOLE and not val):
            split = WHOLE if whole else "train"
        data = read_split(
            root,
            split,
            reduce_zero_label=bool(reduce),
            threshold=options.threshold,
            classes=classes,
            stored=options.stored,
        )
        if options.list_file is not None:
            names = [relative_name(path, root) for path in data.images]
            data = data.select(listed_rows(names, options.list_file, root))
        if data.reading.note:
            notes.append(data.reading.note)
        notes += data.problems if has_outlines(root) else ()
    part = data if limit is None else data.select(range(len(data))[:limit])
    where = f"{printable(data.root)} ({data.split})"
    return SegmenterEvaluation(runner, data, part, match_outputs(runner, data), where, notes)


def choose_reading(root: Path, runner: SegmentRunner) -> tuple[bool, str]:
    """Whether the value 0 of the data's label maps means nothing, by the classes of the model; and a note about it."""
    file = find_class_file(root)
    if file is None:
        # ADE20K's own archive has no class file in this place, and its convention is well known.
        reduce = runner.classes == ade20k.CLASSES
        why = "the model's classes are ADE20K's" if reduce else "there is no class file"
    else:
        listed = read_label_classes(file)
        if listed.first is None:
            reduce, why = False, f"{file.name} lists names without values"
        else:
            fits = [
                names == runner.classes if runner.named else len(names) == len(runner.classes)
                for names in (listed.under(reading)[0] for reading in (False, True))
            ]
            reduce = fits[1] and not fits[0]
            why = f"so {file.name} fits the model" if any(fits) else f"neither reading of {file.name} fits the model"
    meaning = "0 in the label maps means nothing and 1 is class 0" if reduce else "0 in the label maps is class 0"
    return reduce, f"reduce_zero_label={str(reduce).lower()} was chosen, {meaning} ({why})"


def match_outputs(runner: SegmentRunner, data: LabelSplit) -> np.ndarray:
    """The model's class for every label of the data, 256 numbers; ignored stays ignored."""
    other = str(not data.values.reduce_zero_label).lower()
    hint = f"; name the classes in classes.txt as the model does, or choose reduce_zero_label={other}"
    names = runner.classes if runner.named else None
    outputs = map_classes(range(len(data.classes)), data.classes, data.classes, names, len(runner.classes), hint=hint)
    table = np.full(IGNORE + 1, IGNORE, dtype=np.uint8)
    table[list(outputs)] = list(outputs.values())
    return table


class _Extremes:
    """Keeps the label maps of the best and the worst pictures, and of no others."""

    def __init__(self, each: int) -> None:
        self._each = each
        self.kept: list[tuple[int, PictureScore]] = []  # by rising mIoU

    def add(self, picture: tuple[int, PictureScore], found: Tensor) -> None:
        """Consider one picture, by its place; those without labelled pixels are neither."""
        kept, each, (place, score) = self.kept, self._each, picture
        between = len(kept) == 2 * each and kept[each - 1][1].miou <= score.miou <= kept[each][1].miou
        if not score.pixels or between:
            return
        insort(kept, (place, replace(score, found=found.cpu().numpy())), key=lambda one: one[1].miou)
        if len(kept) > 2 * each:
            del kept[each]

    @property
    def worst(self) -> tuple[PictureScore, ...]:
        """Worst first."""
        return tuple(score for _, score in self.kept[: -(-len(self.kept) // 2)])

    @property
    def best(self) -> tuple[PictureScore, ...]:
        """Best first; none that is among the worst."""
        return tuple(score for _, score in self.kept[-(-len(self.kept) // 2) :][::-1])
