"""Evaluating a segmenter: mIoU and its kin over a data set with label maps, and what goes wrong."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from phonecv.data.class_mapping import map_classes
from phonecv.data.labelmaps import ade20k
from phonecv.data.labelmaps.classes import find_class_file, palette_for, read_label_classes
from phonecv.data.labelmaps.listing import IGNORE, LabelSplit, read_label_split
from phonecv.data.labelmaps.loading import SegmentationDataset, make_segmentation_loader
from phonecv.data.loading.loader import eval_batches, eval_workers
from phonecv.data.pictures.bit_depth import bits_for
from phonecv.data.pictures.opening import printable, reason_of
from phonecv.errors import UserError
from phonecv.options import Count, Positive, Workers, checked
from phonecv.segment.base import Segmenter
from phonecv.segment.metrics import SegmentMeter, SegmentScores
from phonecv.segment.opening import SegmentRunner, open_segmenter
from phonecv.segment.report import write_evaluation
from phonecv.segment.result import PictureScore, SegmentResult
from phonecv.settings import Range

#: A value of a label map.
Level = Annotated[float, Range(0, 255)]

#: Pictures that are drawn of the best, and as many of the worst.
SHOWN = 6


@checked
def evaluate_segmenter(
    model: Segmenter | SegmentRunner | Path | str,
    data: LabelSplit | Path | str,
    *,
    split: str = "val",
    reduce_zero_label: bool | None = None,
    threshold: Level | None = None,
    stored: bool = False,
    out: Path | str | None = None,
    batch_size: Count = 8,
    workers: Workers | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    limit: Count | None = None,
    slide: tuple[Count, Count] | None = None,
    scales: Sequence[Positive] = (1.0,),
    flip: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **loading: Any,
) -> SegmentResult:
    """mIoU, pixel accuracy and mean class accuracy over a data set, at the label maps' own sizes.

    Args:
        model: a segmenter, the path of a checkpoint or exported file of one, or a `SegmentRunner` (which has its device
            and way of inference already).
        data: the data folder (see `phonecv.data.labelmaps.listing.find_labels`), or a split that was read already.
        split: of a data folder.
        reduce_zero_label: the value 0 means nothing and 1 is class 0 (ADE20K). None takes whichever makes the data's
            classes the model's, else False.
        threshold: values from this one on are class 1, all others class 0 (black and white masks).
        stored: label maps are drawn on the pictures as stored, see `phonecv.data.labelmaps.listing.read_label_split`.
        out: folder for tables and pictures, see `phonecv.segment.report.write_evaluation`.
        batch_size: pictures per step; no result depends on it.
        workers: loader processes; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        limit: only the first pictures.
        slide: see `open_segmenter`, as the next two.
        scales: sizes of the input to average over.
        flip: average over mirrored pictures too.
        on_progress: called with (done, all) after every batch.
        **loading: arguments of `load_checkpoint`.

    Raises:
        UserError: unusable model or data, classes that do not fit, or no picture that could be used.
    """
    start = time.perf_counter()
    runner = open_segmenter(model, device=device, amp=amp, slide=slide, scales=scales, flip=flip, **loading)
    notes: list[str] = []
    if not isinstance(data, LabelSplit):
        if reduce_zero_label is None and threshold is None:
            reduce_zero_label, note = choose_reading(Path(data), runner)
            notes.append(note)
        # Without a class file the model's classes are all there is to go by.
        classes = None if find_class_file(Path(data)) is not None else runner.classes
        data = read_label_split(
            data, split, reduce_zero_label=bool(reduce_zero_label), threshold=threshold, classes=classes, stored=stored
        )
        if data.reading.note:
            notes.append(data.reading.note)
    outputs = match_outputs(runner, data)
    part = data if limit is None else data.first(limit)
    meter = SegmentMeter(len(runner.classes), runner.device)
    pictures: list[PictureScore] = []
    kept = _Extremes(SHOWN)
    skipped: list[tuple[Path, str]] = []
    done = 0
    bits, depth = bits_for(runner.details, part.images)
    notes += [depth] if depth else []
    dataset = SegmentationDataset(part, None, substitute=False, bits=bits)
    table = torch.from_numpy(outputs).to(runner.device)
    loader = make_segmentation_loader(dataset, eval_batches(len(part), batch_size), eval_workers(len(part), workers))
    for loaded in loader:
        batch = loaded.to(runner.device)
        images, labels = list(batch.images), list(batch.labels)
        good = [place for place, error in enumerate(batch.errors) if not error]
        found = iter(runner([images[place] for place in good]))
        for place, index in enumerate(batch.indices.tolist()):
            path, label_path, error = part.images[index], part.labels[index], batch.errors[place]
            if error:
                skipped.append((path, reason_of(error, path)))
                continue
            classes_found = next(found)
            counts = meter.add(classes_found, table[labels[place]])
            pictures.append(_picture_score(path, label_path, counts))
            kept.add(pictures[-1], classes_found)
        done += len(batch)
        if on_progress is not None:
            on_progress(done, len(part))
    scores = meter.scores
    _check_counted(scores, pictures, skipped)
    result = SegmentResult(
        scores=scores,
        classes=runner.classes,
        palette=data.palette if runner.classes == data.classes else palette_for(runner.classes),
        matrix=meter.matrix.cpu().numpy(),
        pictures=tuple(pictures),
        best=kept.best,
        worst=kept.worst,
        skipped=(*skipped, *data.left_out),
        split=data,
        outputs=outputs,
        seconds=time.perf_counter() - start,
        model=runner.description,
        data=f"{printable(data.root)} ({data.split})",
        notes=tuple(notes),
        details=runner.details,
    )
    if out is not None:
        write_evaluation(result, out)
    return result


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
    """The model's class for every label of the data, 256 numbers; ignored stays ignored.

    Raises:
        UserError: they cannot be matched, with what to do next.
    """
    other = str(not data.reduce_zero_label).lower()
    hint = f"; name the classes in classes.txt as the model does, or choose reduce_zero_label={other}"
    names = runner.classes if runner.named else None
    outputs = map_classes(range(len(data.classes)), data.classes, data.classes, names, len(runner.classes), hint=hint)
    table = np.full(IGNORE + 1, IGNORE, dtype=np.uint8)
    table[list(outputs)] = list(outputs.values())
    return table


def _picture_score(path: Path, label_path: Path, counts: Tensor) -> PictureScore:
    scores = SegmentScores.of(counts)
    return PictureScore(path, label_path, scores.miou, scores.aacc, int(scores.labelled.sum()))


def _check_counted(
    scores: SegmentScores, pictures: Sequence[PictureScore], skipped: Sequence[tuple[Path, str]]
) -> None:
    if not pictures:
        path, reason = skipped[0]
        raise UserError(f"none of the {len(skipped)} images could be used; the first: {printable(path)}: {reason}")
    if not scores.labelled.any():
        raise UserError(
            f"no pixel of the {len(pictures)} images is labelled, so there is nothing to score; `phonecv audit` tells"
            " what the label maps hold"
        )


class _Extremes:
    """Keeps the label maps of the best and the worst pictures, and of no others."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._kept: list[PictureScore] = []  # by rising mIoU

    def add(self, score: PictureScore, found: Tensor) -> None:
        """Consider one picture; those without labelled pixels are neither."""
        kept, each = self._kept, self._each
        between = len(kept) == 2 * each and kept[each - 1].miou <= score.miou <= kept[each].miou
        if not score.pixels or between:
            return
        insort(kept, replace(score, found=found.cpu().numpy()), key=lambda one: one.miou)
        if len(kept) > 2 * each:
            del kept[each]

    @property
    def worst(self) -> tuple[PictureScore, ...]:
        """Worst first."""
        return tuple(self._kept[: -(-len(self._kept) // 2)])

    @property
    def best(self) -> tuple[PictureScore, ...]:
        """Best first; none that is among the worst."""
        return tuple(self._kept[-(-len(self._kept) // 2) :][::-1])
