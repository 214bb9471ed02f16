"""`phonecv eval`: how good a model is on a data set, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from phonecv.cli.options import Device, Ema, Evaluated, Flip, Model, Scales, Slide, loading
from phonecv.cli.output import progress, say, say_json
from phonecv.task import given


def evaluate(
    checkpoint: Evaluated,
    /,
    *,
    data: Path,
    out: Path | None = None,
    split: str = "val",
    list_file: Path | None = None,
    annotations: Path | None = None,
    images: Path | None = None,
    threshold: float | None = None,
    boxes: Literal["xywh", "xyxy", "cxcywh", "xywh_shares", "xyxy_shares", "cxcywh_shares"] | None = None,
    sizes: Literal["told", "pictures", "scaled"] | None = None,
    reduce_zero_label: bool | None = None,
    stored: bool | None = None,
    slide: Slide = None,
    scales: Scales = None,
    flip: Flip = None,
    model: Model = None,
    ema: Ema = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: Device = None,
    amp: Literal["none", "bf16", "fp16"] = "none",
    limit: int | None = None,
    json: bool = False,
) -> None:
    """How good a classifier, detector or segmenter is on a data set, and its worst mistakes.

    The checkpoint decides: top-1 and top-5, COCO's average precision, or IoU. With --out the run folder gets summary,
    per-class table, predictions, confusion matrix, and for detectors precision over recall, best and worst pictures.

    For example:

    - `phonecv eval runs/signs/best.safetensors --data signs --out runs/signs-eval`
    - `phonecv eval mobileone_s0.pth.tar --data imagenet`
    - `phonecv eval runs/cells/best.safetensors --data cells --split test --out runs/cells-eval`
    - `phonecv eval detections.json --data coco`

    Args:
        data: Folder of the data set. Classifiers: val/ with a folder per class, or a list file, or a split itself.
            Detectors: COCO's annotations/ and pictures. Segmenters: pictures and label maps.
        out: Folder for tables and pictures.
        split: Split to evaluate.
        list_file: Pictures and labels from this list instead (classifiers).
        annotations: This COCO file instead of the one found in the folder (detectors).
        images: Folder of the pictures instead of the one found (detectors).
        threshold: Detectors: least score in confusion matrix, pictures, precision and recall; by default the one with
            the best F1 (AP needs none). Segmenters: values from this one on are class 1 (black and white label maps).
        boxes: How the annotation file writes boxes (detectors): xywh as COCO does, two corners, centre and size;
            with _shares in shares of the picture's sides.
        sizes: Where pictures have other sizes than their file says (detectors): told leaves them out, pictures takes
            boxes as they are, scaled resizes boxes with them.
        reduce_zero_label: The value 0 means nothing and 1 is the first class, as in ADE20K (segmenters); by default
            whichever fits the model.
        stored: Boxes or label maps are drawn on the pictures as stored, not as their EXIF note turns them (detectors,
            segmenters).
        batch_size: Pictures per step; by default what suits the model and the device.
        workers: Loader processes or threads; by default chosen from the cores.
        amp: Autocast; figures are usually published without.
        limit: Only the first so many pictures.
        json: Print JSON.
    """
    chosen = loading(checkpoint, model, ema)
    from phonecv.classify.evaluate import evaluate as run

    result = run(
        checkpoint,
        data,
        split=split,
        out=out,
        batch_size=batch_size,
        workers=workers,
        device=device,
        amp=amp,
        limit=limit,
        on_progress=progress("evaluated"),
        **given(list_file=list_file, annotations=annotations, images=images, threshold=threshold),
        **given(boxes=boxes, sizes=sizes, stored=stored),
        **given(reduce_zero_label=reduce_zero_label, slide=slide, scales=scales, flip=flip),
        **chosen,
    )
    if json:
        say_json(result.summary())
        return
    say(result)
    if out is not None:
        say(f"tables and pictures are in {out}")
