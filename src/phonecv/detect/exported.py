"""Exported detectors: pictures are brought to the file's size, boxes back to the pictures'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from phonecv.dense.exported import DenseFile
from phonecv.dense.inputs import Prepared, prepare
from phonecv.detect.anchors import anchors_by_rule
from phonecv.detect.base import BoxRule
from phonecv.detect.boxes import decode
from phonecv.detect.masks import BoxMasks
from phonecv.detect.postprocess import Found, best_pairs, class_nms, suppressed
from phonecv.errors import UserError
from phonecv.exporting.fields import require

#: What each kind of decoding has to work on.
OUTPUTS = {
    "raw": ("class_logits", "box_codes"),
    "boxes": ("scores", "boxes"),
    "final": ("boxes", "scores", "labels", "count"),
    "mediapipe": ("boxes", "scores", "labels", "count"),
}


def finder(
    file: DenseFile, threshold: float, *, most: int | None = None, agnostic: bool = False
) -> Callable[[Sequence[Tensor]], list[Found]]:
    """What finds objects in pictures (``3 H W`` bytes each) by an exported detector.

    Args:
        file: the detector.
        threshold: least score.
        most: objects of a picture; None for what the record says. A file that suppresses by itself gives no more than
            it was written for.
        agnostic: whether boxes of different classes suppress each other, too.

    Raises:
        UserError: the record does not describe the outputs.
    """
    kind = file.decoding["kind"]
    chosen = kind in ("final", "mediapipe")
    if not chosen:
        require(file.decoding, ("candidates", "nms_overlap", "max_detections"), file.path, "its boxes cannot be chosen")
    least = max(float(file.decoding.get("score_threshold") or 0.0), threshold - 1e-6)
    overlap = float(file.decoding.get("nms_overlap") or 1.0)
    most = most or int(file.decoding.get("max_detections") or 0) or None

    @torch.inference_mode()
    def run(pictures: Sequence[Tensor]) -> list[Found]:
        prepared = prepare([picture.cpu() for picture in pictures], file.spec, canvas=file.size)
        outputs = file.run(prepared.batch)
        if kind == "mediapipe":
            outputs = _in_pixels(outputs, prepared.batch)
        if chosen:
            _check_final(file, outputs)
            found = _given(outputs, prepared, least)
            return [_limited(one, overlap, most, agnostic=agnostic) for one in found]
        return suppressed(
            *_offered(file, outputs, prepared, least),
            prepared.scales,
            overlap=overlap,
            keep=most or 1,
            agnostic=agnostic,
        )

    return run


def _offered(
    file: DenseFile, outputs: Mapping[str, Tensor], prepared: Prepared, least: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes, scores, labels and pictures to choose from, of a file that gives something for every anchor."""
    levels, rule = _levels(file, prepared)
    counts = [len(level) for level in levels]
    coded = "box_codes" in outputs
    given = outputs["box_codes" if coded else "boxes"].float()
    scores = rule.scores(outputs["class_logits"].float()) if coded else outputs["scores"].float()
    if given.ndim != 3 or given.shape[2] != 4 or scores.shape != (*given.shape[:2], len(file.classes)):
        raise UserError(
            f"{file.path} gives scores {list(scores.shape)} and boxes {list(given.shape)}, which do not go with the"
            f" {len(file.classes)} classes of its record; export it again"
        )
    if given.shape[1] != sum(counts):
        raise UserError(
            f"{file.path} gives {given.shape[1]} boxes, its record tells of {sum(counts)} anchors for"
            f" {prepared.batch.shape[2]}x{prepared.batch.shape[3]} pixels; export it again"
        )
    boxes = decode(torch.cat(levels), given, rule.stds) if coded else given
    sizes = torch.tensor(prepared.sizes).flip(1).repeat(1, 2)  # B 4: x y x y
    boxes = torch.minimum(boxes.clamp(min=0), sizes[:, None])
    found = []
    for score, box in zip(scores.split(counts, 1), boxes.split(counts, 1), strict=True):
        image, place, label, value = best_pairs(score, least, int(file.decoding["candidates"]))
        found.append((box[image, place], value, label, image))
    box, value, label, image = (torch.cat(parts) for parts in zip(*found, strict=True))
    return box, value, label, image


def _levels(file: DenseFile, prepared: Prepared) -> tuple[list[Tensor], BoxRule]:
    """Anchors of every level for the prepared batch."""
    options = file.decoding
    try:
        rule = BoxRule(options["activation"], tuple(options["stds"]), options["anchors"])
        if file.size is not None:
            sizes = [(int(height), int(width)) for height, width in options["maps"]]
            if sum(height * width for height, width in sizes) > 2 * file.size[0] * file.size[1]:
                raise ValueError("its maps are larger than the picture")
        else:
            height, width = prepared.batch.shape[2:]
            sizes = [(-(-height // stride), -(-width // stride)) for stride in rule.anchors["strides"]]
        return anchors_by_rule(sizes, rule.anchors), rule
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"the record of {file.path} does not describe its anchors ({error}); export it again"
        ) from error


def _in_pixels(outputs: Mapping[str, Tensor], batch: Tensor) -> dict[str, Tensor]:
    """What a file for MediaPipe gives of a batch, as a final one would."""
    height, width = batch.shape[2:]
    sides = batch.new_tensor((width, height, width, height))
    whole = {name: outputs[name].long() for name in ("labels", "count")}
    return {**outputs, **whole, "boxes": outputs["boxes"].float() * sides}


def _check_final(file: DenseFile, outputs: Mapping[str, Tensor]) -> None:
    """Refuse outputs of other shapes than final boxes have, or labels that the record has no class for."""
    count, boxes, scores, labels = (outputs[name] for name in ("count", "boxes", "scores", "labels"))
    fits = boxes.ndim == 3 and boxes.shape[2] == 4 and scores.shape == labels.shape == boxes.shape[:2]
    if not fits or count.numel() != len(boxes):
        shapes = ", ".join(f"{name} {list(output.shape)}" for name, output in outputs.items())
        raise UserError(f"{file.path} gives {shapes}, which are no final boxes; export it again")
    most = len(file.classes)
    used = labels[torch.arange(labels.shape[1]) < count.reshape(-1, 1)]  # the rows behind are filled up with -1
    if used.numel() and not 0 <= int(used.min()) <= int(used.max()) < most:
        raise UserError(f"{file.path} gives labels beyond the {most} classes of its record; export it again")


def _given(outputs: Mapping[str, Tensor], prepared: Prepared, least: float) -> list[Found]:
    """The boxes of a file that has chosen them, in pixels of the pictures given."""
    results = []
    for place, (size, original) in enumerate(zip(prepared.sizes, prepared.originals, strict=True)):
        count = int(outputs["count"][place])
        boxes, scores = outputs["boxes"][place, :count].float(), outputs["scores"][place, :count].float()
        height, width = size
        boxes = torch.minimum(boxes, boxes.new_tensor((width, height, width, height)))
        real = (boxes[:, 2:] > boxes[:, :2]).all(1) & (scores > least)
        shown = boxes[real] / prepared.scales[place].repeat(2)
        result: dict[str, Any] = {
            "boxes": shown,
            "scores": scores[real],
            "labels": outputs["labels"][place, :count][real].long(),
        }
        if "masks" in outputs:
            result["masks"] = BoxMasks(outputs["masks"][place, :count][real].float(), shown, *original)
        places = outputs["scores"].shape[1]
        full = f"the file gives no more than {places}" if count == places else ""
        results.append(Found(result, scores.new_zeros(0), full, float(scores.min()) if full else 0.0))
    return results


def _limited(found: Found, overlap: float, most: int | None, *, agnostic: bool) -> Found:
    """The same objects, fewer where fewer are wanted, or where those of other classes are to suppress them."""
    rows = torch.arange(len(found["scores"]))
    if agnostic:
        rows = class_nms(found["boxes"], found["scores"], torch.zeros_like(found["labels"]), overlap)
    kept = rows[:most]
    if len(kept) == len(found["scores"]):
        return found
    beyond = found["scores"][rows[len(kept) :]]
    return Found({name: column[kept] for name, column in found.items()}, beyond, found.full, found.surest)
