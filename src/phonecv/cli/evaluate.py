"""`phonecv eval`: top-1, top-5 and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from phonecv.cli.options import Classifier, Device, Ema, Model, loading
from phonecv.cli.output import progress, say, say_json


def evaluate(
    checkpoint: Classifier,
    /,
    *,
    data: Path,
    out: Path | None = None,
    split: str = "val",
    list_file: Path | None = None,
    model: Model = None,
    ema: Ema = None,
    batch_size: int = 64,
    workers: int | None = None,
    device: Device = None,
    amp: Literal["none", "bf16", "fp16"] = "none",
    limit: int | None = None,
    json: bool = False,
) -> None:
    """Top-1, top-5 and the worst mistakes on a data set.

    With --out the run folder gets summary, per-class table, predictions, confusion matrix and the worst pictures.

    For example:

    - `phonecv eval runs/signs/best.safetensors --data signs --out runs/signs-eval`
    - `phonecv eval mobileone_s0.pth.tar --data imagenet`

    Args:
        data: Folder with val/ (a folder per class, or a list file), or a split itself.
        out: Folder for tables and pictures.
        split: Split to evaluate.
        list_file: Pictures and labels from this list instead.
        batch_size: Pictures per step.
        workers: Loader processes; by default chosen from the cores.
        amp: Autocast; accuracy is usually published without.
        limit: Only the first so many pictures.
        json: Print JSON.
    """
    chosen = loading(checkpoint, model, ema)
    from phonecv.evaluate import evaluate as run

    result = run(
        checkpoint,
        data,
        split=split,
        list_file=list_file,
        out=out,
        batch_size=batch_size,
        workers=workers,
        device=device,
        amp=amp,
        limit=limit,
        on_progress=progress("evaluated"),
        **chosen,
    )
    if json:
        say_json(result.summary())
        return
    say(result)
    if out is not None:
        say(f"tables and pictures are in {out}")
