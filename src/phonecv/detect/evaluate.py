"""Evaluating a detector, or a file of COCO results: AP as COCO counts it, and what goes wrong at one threshold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from phonecv.data.class_mapping import map_classes
from phonecv.data.coco.paths import has_split, undivided
from phonecv.data.coco.reader import CocoPaths, CocoReading, CocoSplit, find_coco, locate_coco, read_coco, read_results
from phonecv.data.coco.sizes import SizeCheck
from phonecv.data.foreign.layouts import foreign_layout
from phonecv.data.pictures.ahead import Pictures, read_pictures
from phonecv.data.pictures.audit import sampled
from phonecv.data.pictures.opening import printable
from phonecv.data.split_names import WHOLE
from phonecv.detect.average_precision import COUNTED, average_precision
from phonecv.detect.detections import Detections, with_boxes
from phonecv.detect.judging import judge, objects_of
from phonecv.detect.layouts import looks_sorted
from phonecv.detect.meter import DetectMeter, kinds, restricted
from phonecv.detect.opening import DetectRunner
from phonecv.detect.result import DetectionResult
from phonecv.detect.verbs import EvaluateOptions, OpeningOptions
from phonecv.errors import UserError
from phonecv.evaluating import Skipped
from phonecv.files import relative_name
from phonecv.text import counted
from phonecv.training.dividing import listed_rows
from phonecv.verbs import Steps, Together


@dataclass
class DetectorEvaluation:
    """A detector and a split with its classes; see `phonecv.evaluating.Evaluation`."""

    runner: DetectRunner
    part: CocoSplit
    meter: DetectMeter
    threshold: float | None
    notes: list[str]
    most: int | None = None
    resized: int = 0

    @property
    def data(self) -> str:
        """Folder and split."""
        return self.part.description

    @property
    def paths(self) -> list[Path]:
        """Pictures of the split."""
        return [image.path for image in self.part.images]

    def run(self, steps: Steps) -> Iterator[tuple[int, Skipped]]:
        """Find the objects of every picture."""
        runner, part = self.runner, self.part
        share = {"rank": steps.world.rank, "size": steps.world.size}
        size = steps.batch_size or runner.batch
        for batch in read_pictures(self.paths, size, steps.workers, bits=runner.bits, **share):
            rows = list(zip(batch.indices.tolist(), batch.errors, strict=True))
            good = [place for place, error in rows if not error]
            if good:
                sizes = zip(batch.tensors, (part.images[place] for place in good), strict=True)
                self.resized += sum(tuple(tensor.shape[1:]) != (told.height, told.width) for tensor, told in sizes)
                self.meter.update(runner(batch.tensors), Pictures(torch.tensor(good), [""] * len(good), batch.tensors))
            yield len(rows), [(part.path(place), error) for place, error in rows if error]

    def gather(self, world: Together) -> None:
        """See `phonecv.evaluating.Shared`."""
        meter = self.meter
        seen, found = meter.collected(world)
        meter.seen, meter.parts = dict.fromkeys(seen), [found[np.argsort(found.pictures, kind="stable")]]
        counts = world.gather((meter.broken, self.resized))
        meter.broken, self.resized = (sum(each) for each in zip(*counts, strict=True))

    def result(self) -> DetectionResult:
        """Figures of what was found."""
        notes = []
        if self.resized:
            sized = f"{counted(self.resized, 'images have')} another size than the annotations say"
            notes.append(f"{sized}; their boxes may not fit")
        if self.meter.broken:
            broken = f"{self.meter.broken} detections were not numbers and were left out"
            notes.append(f"{broken}; the weights may be broken")
        seen, found = restricted(self.part, *self.meter.collected())
        result = judged(seen, found, self.threshold, masks=self.meter.masks, most=self.most)
        return replace(result, notes=(*notes, *result.notes))


def evaluation(
    runner: DetectRunner, data: CocoSplit | Path | str, split: str, limit: int | None, options: EvaluateOptions
) -> DetectorEvaluation:
    """See `phonecv.evaluating.EvaluateRoom`."""
    notes: list[str] = []
    data = _read(data, split, options, masks=runner.masks, notes=notes)
    outputs = match_outputs(runner, data, notes)
    part = data if limit is None else data.select(range(min(limit, len(data))))
    meter = DetectMeter(part, masks=runner.masks and part.masks, outputs=outputs)
    busiest = int(part.object_counts.max(initial=0))
    if runner.most is not None and busiest > runner.most:
        notes.append(
            f"a picture shows {busiest} objects, and this detector gives the best {runner.most} of each; --max-objects"
        )
    return DetectorEvaluation(runner, part, meter, options.threshold, [*part.notes, *notes], options.max_objects)


def evaluate_results(
    truth: CocoSplit | Path | str, results: Path | str, split: str, options: EvaluateOptions
) -> DetectionResult:
    """Average precision of detections that stand in a file of COCO results, whoever wrote it.

    All pictures of the annotations count. Masks are evaluated where every result has one, with their own areas.

    Args:
        truth: the annotation file, the data folder, or a split that was read already (with masks, if results have any).
        results: list of {image_id, category_id, score, bbox and/or segmentation}.
        split: of a data folder.
        options: the pictures may be missing, they are for drawing alone.

    Raises:
        UserError: a file that cannot be read, or results for other pictures or classes.
    """
    if replace(options.opening, max_objects=None) != OpeningOptions():
        raise UserError(f"tile and class_agnostic are for models; {printable(results)} is a file of COCO results")
    notes: list[str] = []
    truth = _read(truth, split, options, masks=True, notes=notes, pictures=False)
    found = with_boxes(Detections(*read_results(results, truth)))
    with_masks = truth.masks and found.masks is not None
    result = judged(truth, found, options.threshold, masks=with_masks, most=options.max_objects)
    notes = [*truth.notes, *notes, *result.notes]
    return replace(result, model=printable(results), data=truth.description, notes=tuple(notes))


def match_outputs(runner: DetectRunner, split: CocoSplit, notes: list[str]) -> np.ndarray:
    """Label of the data for every output of the model, -1 where the data has no such class, which `notes` then tells.

    Raises:
        UserError: objects of the data are of classes that the model does not know.
    """
    size, names = len(runner.classes), split.classes
    known = runner.classes if runner.named else None
    there = np.flatnonzero(split.class_counts).tolist()
    hint = "; evaluate on data with the classes it was trained on, or rename the categories like them"
    found = map_classes(there or range(len(names)), names, names, known, size, hint=hint)
    outputs = np.full(size, -1, dtype=np.int64)
    outputs[list(found.values())] = list(found)
    for label in set(range(len(names))) - set(found):
        # Classes without objects may be unknown to the model; known ones give false detections their names.
        with suppress(UserError):
            (output,) = map_classes([label], names, names, known, size).values()
            outputs[output] = label if outputs[output] < 0 else outputs[output]
    if (outputs < 0).any():
        count = np.count_nonzero(outputs < 0)
        notes.append(
            f"{count} of the model's {counted(size, 'classes')} not in the data; what it finds of them is left out"
        )
    return outputs


def _read(
    data: CocoSplit | Path | str,
    split: str,
    options: EvaluateOptions,
    *,
    masks: bool,
    notes: list[str],
    pictures: bool = True,
) -> CocoSplit:
    """A split of a data folder or an annotation file; with masks if they are wanted and there."""
    if isinstance(data, CocoSplit):
        return data
    annotations, images, listed = options.annotations, options.images, options.list_file
    reading = CocoReading(options.boxes, options.sizes, options.stored)
    file = Path(data) if annotations is None and Path(data).is_file() else None
    try:
        every = undivided(data) if annotations is None and file is None else None
        if every is not None:
            paths = every if images is None else replace(every, images=Path(images))
            told = f"{printable(data)} has no splits: all of its pictures are taken, those that were learnt from, too"
            notes += [told] if listed is None else []
        elif file is None:
            # A share may have been held out of the training split.
            held = listed is not None and not has_split(data, split)
            split = "train" if held or (split == WHOLE and not has_split(data, "val")) else split
            paths = find_coco(data, split, annotations=annotations, images=images)
        else:
            paths = locate_coco(file, images, split)
    except UserError as error:
        if not pictures and images is None and (file is not None or annotations is not None):
            paths = CocoPaths(file or Path(str(annotations)), None)
        elif foreign_layout(data) is None and looks_sorted(Path(data), split):
            raise UserError(
                f"{printable(data)} holds a folder of pictures for each class, as classifiers take it; a detector needs"
                " boxes in COCO's format (annotations/instances_val.json and pictures)"
            ) from error
        else:
            raise

    def listed_of(found: CocoSplit) -> CocoSplit:
        if listed is None:
            return found
        root = Path(data) if Path(data).is_dir() else Path(data).parent
        return found.select(listed_rows([relative_name(image.path, root) for image in found.images], listed, root))

    if not masks:
        return _looked_at(listed_of(read_coco(paths, reading=reading)), notes)
    try:
        return _looked_at(listed_of(read_coco(paths, masks=True, reading=reading)), notes)
    except UserError as error:
        boxes = read_coco(paths, reading=reading)  # says itself what is wrong, if it is not the masks
        notes.append(f"only boxes are evaluated: {str(error).splitlines()[0]}")
        return _looked_at(listed_of(boxes), notes)


def _looked_at(split: CocoSplit, notes: list[str]) -> CocoSplit:
    """The split; `notes` gets what the headers of some pictures tell of their turns."""
    check = SizeCheck.of(split, sampled(len(split)) if split.images.folder.parts else ())
    fitted = any(problem.kind == "fitted" for problem in split.problems)
    if check.turned and not check.upright and not fitted:
        notes.append(check.turned_message())
    notes += [f"{printable(split.path(index))}: {message}" for index, message in check.messages()]
    return split


def judged(
    split: CocoSplit, found: Detections, threshold: float | None, *, masks: bool, most: int | None = None
) -> DetectionResult:
    """Figures of detections, whose `pictures` are places in `split`, and what is right and wrong at one threshold.

    That is the least score of what is counted; None takes the one with the best F1. AP counts the best `most` of a
    class in a picture, and never fewer than COCO's.
    """
    truth = split.to_ground_truth()
    notes: tuple[str, ...] = ()
    if not split.learnable:
        why = f"all of its {split.crowds} objects are crowds" if split.crowds else "no picture has an object"
        notes = (f"{split.description}: {why}: there is nothing to find, and no average precision",)
    most = max(most or 0, COUNTED)
    curves = {
        prefix: average_precision(truth, found, split.category_ids, kind, most=most)
        for prefix, kind in kinds(masks=masks).items()
    }
    objects = objects_of(truth, split.category_ids)
    busiest = int(np.bincount(objects.pictures * len(split.classes) + objects.labels, minlength=1).max())
    if most > COUNTED:
        notes += (f"AP counts {most} detections of a class in a picture; COCO's published figures count {COUNTED}",)
    elif busiest > most:
        count = f"AP counts the best {most} detections of a class in a picture, as COCO's does"
        notes += (f"{count}, and one shows {busiest} objects of a class; --max-objects {busiest} counts them",)
    return DetectionResult(
        figures={name: value for prefix, part in curves.items() for name, value in part.figures(prefix).items()},
        classes=split.classes,
        curves=curves,
        judged=judge(found, objects, len(split), len(split.classes), threshold),
        split=split,
        found=found,
        objects=objects,
        notes=notes,
    )
