"""What networks are timed on."""

from __future__ import annotations

from collections.abc import Sequence

from phonecv.exporting.inputs import Arrays, Input, made_up
from phonecv.exporting.pictures import probe_images

#: Rows of a probe.
ROWS = 3


def probe_rows(inputs: Sequence[Input]) -> Arrays:
    """Three rows of every input: noise, smooth colours and a step where it is one picture, else made-up values."""
    if [one.kind for one in inputs] == ["pictures"]:
        channels, height, width = inputs[0].shape
        return (probe_images(height, width, channels).numpy(),)
    return tuple(one.numpy() for one in made_up(inputs, ROWS))
