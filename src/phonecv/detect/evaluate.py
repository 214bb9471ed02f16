"""Evaluating a detector, or a file of COCO results: AP as COCO counts it, and what goes wrong at one threshold."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonecv.data.class_mapping import map_classes
from phonecv.data.coco.conventions import BoxLayout, Sizes
from phonecv.data.coco.paths import ALIASES
from phonecv.data.coco.reader import CocoPaths, CocoReading, CocoSplit, find_coco, locate_coco, read_coco, read_results
from phonecv.data.coco.sizes import SizeCheck
from phonecv.data.foreign import foreign_layout
from phonecv.data.pictures.ahead import Pictures, read_pictures
from phonecv.data.pictures.audit import sampled
from phonecv.data.pictures.bit_depth import bits_for
from phonecv.data.pictures.opening import is_image_name, printable
from phonecv.dense.model import DenseModel
from phonecv.detect.average_precision import average_precision
from phonecv.detect.detections import Detections, with_boxes
from phonecv.detect.judging import judge, objects_of
from phonecv.detect.meter import DetectMeter, kinds, restricted
from phonecv.detect.opening import DetectRunner, open_detector
from phonecv.detect.result import DetectionResult
from phonecv.errors import UserError
from phonecv.options import Count, Share, Workers, checked

__all__ = ["DetectMeter", "DetectionResult", "evaluate_detector", "evaluate_results"]


@checked
def evaluate_detector(
    model: DenseModel | DetectRunner | Path | str,
    data: CocoSplit | Path | str,
    *,
    split: str = "val",
    annotations: Path | str | None = None,
    images: Path | str | None = None,
    out: Path | str | None = None,
    batch_size: Count | None = None,
    workers: Workers | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    limit: Count | None = None,
    threshold: Share | None = None,
    boxes: BoxLayout = "xywh",
    sizes: Sizes = "told",
    stored: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **loading: Any,
) -> DetectionResult:
    """Average precision over a data set in COCO's format.

    Args:
        model: a detector, the path of a checkpoint or exported file of one, or a `DetectRunner`.
        data: the data folder, or a split that was read already.
        split: of a data folder.
        annotations: this file instead of the one found in the folder.
        images: folder of the pictures instead of the one found.
        out: folder for tables and pictures, see `phonecv.detect.report.write_evaluation`.
        batch_size: pictures per step, None chooses.
        workers: threads that decode pictures; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        limit: only the first pictures.
        threshold: least score for the confusion matrix, the pictures, precision and recall; None takes the one with
            the best F1. AP needs none.
        boxes: how the annotation file writes boxes, see `phonecv.data.coco.conventions`.
        sizes: what holds where a picture has another size than the file says, see there.
        stored: annotations are for pictures as they are stored, before their EXIF orientation turns them.
        on_progress: called with (done, all) after every batch.
        **loading: arguments of `load_checkpoint`.

    Raises:
        UserError: unusable model or data, classes that do not fit, or no readable picture.
    """
    start = time.perf_counter()
    runner = open_detector(model, device=device, amp=amp, **loading)
    notes: list[str] = []
    if not isinstance(data, CocoSplit):
        reading = CocoReading(boxes, sizes, stored)
        data = _read(data, split, annotations, images, reading, masks=runner.masks, notes=notes)
    outputs = match_outputs(runner, data, notes)
    part = data if limit is None else data.select(range(min(limit, len(data))))
    meter = DetectMeter(part, masks=runner.masks and part.masks, outputs=outputs)
    skipped: list[tuple[Path, str]] = []
    resized = done = 0
    paths = [image.path for image in part.images]
    bits, depth = bits_for(runner.details, paths)
    notes += [depth] if depth else []
    for batch in read_pictures(paths, batch_size or runner.batch, workers, bits=bits):
        rows = list(zip(batch.indices.tolist(), batch.errors, strict=True))
        skipped += [(part.path(place), error) for place, error in rows if error]
        good = [place for place, error in rows if not error]
        if good:
            told = [(part.images[place].height, part.images[place].width) for place in good]
            resized += sum(tuple(tensor.shape[1:]) != size for tensor, size in zip(batch.tensors, told, strict=True))
            meter.update(runner(batch.tensors), Pictures(torch.tensor(good), [""] * len(good), batch.tensors))
        done += len(rows)
        if on_progress is not None:
            on_progress(done, len(part))
    seen, found = meter.collected()
    if not seen:
        raise UserError(f"none of the {len(part)} images could be read; the first: {skipped[0][0]}: {skipped[0][1]}")
    if resized:
        notes.append(f"{resized} images have another size than the annotations say; their boxes may not fit")
    if meter.broken:
        notes.append(f"{meter.broken} detections were not numbers and were left out; the weights may be broken")
    return _judged(
        *restricted(part, seen, found),
        threshold,
        out,
        masks=meter.masks,
        skipped=tuple(skipped),
        start=start,
        model=runner.description,
        notes=tuple(notes),
        details=runner.details,
    )


@checked
def evaluate_results(
    truth: CocoSplit | Path | str,
    results: Path | str,
    *,
    split: str = "val",
    annotations: Path | str | None = None,
    images: Path | str | None = None,
    out: Path | str | None = None,
    threshold: Share | None = None,
    boxes: BoxLayout = "xywh",
    sizes: Sizes = "told",
    stored: bool = False,
) -> DetectionResult:
    """Average precision of detections that stand in a file of COCO results, whoever wrote it.

    All pictures of the annotations count. Masks are evaluated where every result has one, with their own areas.

    Args:
        truth: the annotation file, the data folder, or a split that was read already (with masks, if results have any).
        results: list of {image_id, category_id, score, bbox and/or segmentation}.
        split: of a data folder.
        annotations: of a data folder, as for `evaluate_detector`.
        images: folder of the pictures that are drawn into `out`; they may be missing.
        out: folder for tables and pictures.
        threshold: as for `evaluate_detector`.
        boxes: as for `evaluate_detector`, and so are the next two.
        sizes: where pictures have other sizes.
        stored: whether annotations are for pictures as they are stored.

    Raises:
        UserError: a file that cannot be read, or results for other pictures or classes.
    """
    start = time.perf_counter()
    notes: list[str] = []
    if not isinstance(truth, CocoSplit):
        reading = CocoReading(boxes, sizes, stored)
        truth = _read(truth, split, annotations, images, reading, masks=True, notes=notes, pictures=False)
    read = read_results(results, truth)
    found = with_boxes(Detections(*read))
    return _judged(
        truth,
        found,
        threshold,
        out,
        masks=truth.masks and found.masks is not None,
        skipped=(),
        start=start,
        model=printable(results),
        notes=tuple(notes),
        details={},
    )


def match_outputs(runner: DetectRunner, split: CocoSplit, notes: list[str]) -> np.ndarray:
    """Label of the data for every output of the model, -1 where the data has no such class.

    Args:
        runner: the detector.
        split: the data.
        notes: gets a line if some of the model's classes are not in the data.

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
        notes.append(f"{count} of the model's {size} classes are not in the data; what it finds of them is left out")
    return outputs


def _read(
    data: Path | str,
    split: str,
    annotations: Path | str | None,
    images: Path | str | None,
    reading: CocoReading,
    *,
    masks: bool,
    notes: list[str],
    pictures: bool = True,
) -> CocoSplit:
    """A split of a data folder or an annotation file; with masks if they are wanted and there."""
    file = Path(data) if annotations is None and Path(data).is_file() else None
    try:
        if file is None:
            paths = find_coco(data, split, annotations=annotations, images=images)
        else:
            paths = locate_coco(file, images)
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
    if not masks:
        return _looked_at(read_coco(paths, reading=reading), notes)
    try:
        return _looked_at(read_coco(paths, masks=True, reading=reading), notes)
    except UserError as error:
        boxes = read_coco(paths, reading=reading)  # says itself what is wrong, if it is not the masks
        notes.append(f"only boxes are evaluated: {str(error).splitlines()[0]}")
        return _looked_at(boxes, notes)


def _looked_at(split: CocoSplit, notes: list[str]) -> CocoSplit:
    """The split; `notes` gets what the headers of some pictures tell of their turns."""
    check = SizeCheck.of(split, sampled(len(split)) if split.images.folder.parts else ())
    fitted = any(problem.kind == "fitted" for problem in split.problems)
    if check.turned and not check.upright and not fitted:
        notes.append(check.turned_message())
    notes += [f"{printable(split.path(index))}: {message}" for index, message in check.messages()]
    return split


def looks_sorted(root: Path, split: str) -> bool:
    """Whether a folder is a data set of classifiers: several folders with pictures in it, or in that of the split."""
    if (root / "annotations").exists() or any(root.glob("*.json")):
        return False
    splits = {name for names in ALIASES.values() for name in names}
    for folder in (root / split, root):
        inner = [entry for entry in islice(folder.glob("*"), 1000) if entry.is_dir() and entry.name not in splits]
        if sum(any(is_image_name(file.name) for file in islice(entry.iterdir(), 10)) for entry in inner) > 1:
            return True
    return False


def _judged(
    split: CocoSplit,
    found: Detections,
    threshold: float | None,
    out: Path | str | None,
    *,
    masks: bool,
    skipped: tuple[tuple[Path, str], ...],
    start: float,
    model: str,
    notes: tuple[str, ...],
    details: dict[str, Any],
) -> DetectionResult:
    """Figures of detections, and the folder for them if one is wanted."""
    truth = split.to_ground_truth()
    if not split.learnable:
        why = f"all of its {split.crowds} objects are crowds" if split.crowds else "no picture has an object"
        notes = (*notes, f"{split.description}: {why}: there is nothing to find, and no average precision")
    curves = {
        prefix: average_precision(truth, found, split.category_ids, kind) for prefix, kind in kinds(masks=masks).items()
    }
    objects = objects_of(truth, split.category_ids)
    result = DetectionResult(
        figures={name: value for prefix, part in curves.items() for name, value in part.figures(prefix).items()},
        classes=split.classes,
        curves=curves,
        judged=judge(found, objects, len(split), len(split.classes), threshold),
        split=split,
        found=found,
        objects=objects,
        skipped=skipped,
        seconds=time.perf_counter() - start,
        model=model,
        data=split.description,
        notes=(*split.notes, *notes),
        details=details,
    )
    if out is not None:
        from phonecv.detect.report import write_evaluation

        write_evaluation(result, out)
    return result
