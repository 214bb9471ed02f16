"""`phonecv generate`: pictures from a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phonecv.cli.options import Ema, Model, Runnable, loading
from phonecv.cli.output import progress, say_found
from phonecv.cli.task_options import with_task_options


@with_task_options("generate")
def generate(
    checkpoint: Runnable,
    out: Path,
    /,
    *,
    model: Model = None,
    ema: Ema = None,
    json: bool = False,
    **options: Any,
) -> None:
    """Pictures that a trained model makes of noise, of the classes that are asked for.

    The folder gets a numbered PNG file of each, all of them in one (grid.png), and samples.json: how each was made. The
    same seed gives the same pictures, however many are asked for.

    For example:

    - `phonecv generate runs/digits/best.safetensors made --classes 3,7 --count 16`
    - `phonecv generate runs/digits/best.safetensors made --sampler ddim --steps 25 --guidance 2 --seed 1`

    Args:
        out: Folder for the pictures.
        json: Print JSON.
    """
    chosen = loading(checkpoint, model, ema, verb="generate")
    from phonecv.api import generate as run

    made = run(checkpoint, out=out, on_progress=progress("made"), **options, **chosen)
    where = f"the pictures are in {out}; all of them in one: {out / 'grid.png'}"
    say_found(made.to_dict, made, where, json=json)
