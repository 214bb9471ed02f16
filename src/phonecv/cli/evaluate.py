"""`phonecv eval`: how good a model is on a data set, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from phonecv.cli.options import Device, Ema, Model, RunnableOrResults, loading
from phonecv.cli.output import progress, say, say_json
from phonecv.cli.task_options import with_task_options


@with_task_options("evaluate")
def evaluate(
    checkpoint: RunnableOrResults,
    /,
    *,
    data: Path,
    out: Path | None = None,
    split: str = "val",
    model: Model = None,
    ema: Ema = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: Device = None,
    amp: Literal["none", "bf16", "fp16"] = "none",
    limit: int | None = None,
    json: bool = False,
    **options: Any,
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
        batch_size: Pictures per step; by default what suits the model and the device.
        workers: Loader processes or threads; by default chosen from the cores.
        amp: Autocast; figures are usually published without.
        limit: Only the first so many pictures.
        json: Print JSON.
    """
    chosen = loading(checkpoint, model, ema)
    from phonecv.api import evaluate as run

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
        **options,
        **chosen,
    )
    if json:
        say_json(result.summary())
        return
    say(result)
    if out is not None:
        say(f"tables and pictures are in {out}; all on one page: {out / 'report.html'}")
