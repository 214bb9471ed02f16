"""`phonecv samples`: data to try things on, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from phonecv.cli.output import say


def samples(
    kind: Literal["digits", "scenes"],
    folder: Path,
    /,
    *,
    train: int | None = None,
    val: int | None = None,
    seed: int = 0,
) -> None:
    """Write sample data: real handwritten digits on real photographs, without any download.

    `digits` are pictures of one digit for classification; `scenes` hold several, with COCO boxes and masks for
    detectors and label maps for segmenters. Needs the extra "samples".

    For example:

    - `phonecv samples digits signs`
    - `phonecv samples scenes scenes --train 400 --val 100`

    Args:
        kind: What to write.
        folder: Where to; made if it is not there.
        train: Training pictures; by default 4000 digits or 200 scenes.
        val: Validation pictures; by default 1000 digits or 50 scenes.
        seed: Decides everything.
    """
    from phonecv.data.samples import write_classification, write_scenes

    write = {"digits": write_classification, "scenes": write_scenes}[kind]
    counts = {name: value for name, value in (("train", train), ("val", val)) if value is not None}
    write(folder, seed=seed, **counts)
    say(f"{kind} are in {folder}")
