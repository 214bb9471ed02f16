"""`phonecv samples`: data to try things on, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from phonecv.cli.output import say
from phonecv.errors import UserError

#: Kind -> the recipe that needs nothing else.
RECIPES = {"digits": "digits_backbone", "plain": "generate_digits", "clips": "clips_digits"}


def samples(
    kind: Literal["digits", "scenes", "plain", "clips"],
    folder: Path,
    /,
    *,
    train: int | None = None,
    val: int | None = None,
    crowd: int | None = None,
    seed: int = 0,
) -> None:
    """Write sample data: real handwritten digits on real photographs, without any download.

    `digits` are pictures of one digit for classification; `scenes` hold several, with COCO boxes and masks for
    detectors and label maps for segmenters; `plain` are digits alone, white on black, for generators; `clips` are
    videos of a digit that moves, whose class is the direction. Needs the extra "samples", for clips also "video".

    For example:

    - `phonecv samples digits signs`
    - `phonecv samples clips moving`
    - `phonecv samples scenes scenes --train 400 --val 100`
    - `phonecv samples scenes crowds --train 400 --crowd 24`

    Args:
        kind: What to write.
        folder: Where to; made if it is not there.
        train: Training samples; by default 4000 with one digit, 200 scenes or 2400 clips.
        val: Validation samples; by default 1000 with one digit, 50 scenes or 400 clips.
        crowd: Most digits of a training scene, such as 24; by default 8, as in validation scenes.
        seed: Decides everything.
    """
    if crowd is not None and kind != "scenes":
        raise UserError(f"--crowd {crowd}: pictures of one digit have no crowd; it belongs to `phonecv samples scenes`")
    from phonecv.data.samples import samples as run

    run(kind, folder, train=train, val=val, crowd=crowd, seed=seed)
    say(f"{'digits' if kind == 'plain' else kind} are in {folder}")
    if kind in RECIPES:
        say(f"what learns from them: phonecv train {RECIPES[kind]} --data {folder} --out runs/{kind}")
