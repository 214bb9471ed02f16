"""`phonecv eval`: how good a model is on a data set, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phonecv.cli.options import Ema, Model, RunnableOrResults, by_torchrun, check_there, loading
from phonecv.cli.output import progress, say_found
from phonecv.cli.task_options import with_task_options


@with_task_options("evaluate")
def evaluate(
    checkpoint: RunnableOrResults,
    /,
    *,
    data: Path,
    model: Model = None,
    ema: Ema = None,
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
        data: Folder of the data set. Classifiers, of clips too: val/ with a folder per class, or a list, or a split.
            Detectors: COCO's annotations/ and pictures. Segmenters: pictures and label maps.
        json: Print JSON.
    """
    chosen = loading(checkpoint, model, ema)
    check_there(data)
    from phonecv.api import evaluate as run

    result = run(checkpoint, data, on_progress=progress("evaluated"), **(by_torchrun() | options), **chosen)
    if result is None:  # torchrun has started others, and the first of them says it
        return
    out = options.get("out")
    page = None if out is None else f"tables and pictures are in {out}; all on one page: {out / 'report.html'}"
    say_found(result.summary, result, page, json=json)
