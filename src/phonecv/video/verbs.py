"""What the verbs take for classifiers of clips beside what they take for every model."""

from __future__ import annotations

from dataclasses import dataclass

from phonecv import options
from phonecv.options import Count, Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions(options.PredictOptions):
    """Of `phonecv.predict`.

    Attributes:
        topk: Names per clip, 5 by default; at most as many as there are classes.
        camera: Number of a camera, or its device such as /dev/video0.
        span: Seconds of a camera's stream that a clip covers.
        every: Seconds from one answer to a camera's stream to the next.
    """

    topk: Count = 5
    camera: str | None = None
    span: Positive = 2.0
    every: Positive = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(options.EvaluateOptions):
    """Of `phonecv.evaluate`.

    Attributes:
        crops: Crops along the long side whose probabilities are averaged, 3 by default as published.
    """

    crops: Count = 3


OPTIONS = {"predict": PredictOptions, "evaluate": EvaluateOptions}
RESULTS: dict[str, str] = {}
