from __future__ import annotations

from dataclasses import dataclass

from phonecv import options
from phonecv.options import Count


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions(options.PredictOptions):
    """Of `phonecv.predict`.

    Attributes:
        digits: Of a number, after the point.
    """

    digits: Count = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(options.EvaluateOptions):
    """Of `phonecv.evaluate`."""


OPTIONS = {"predict": PredictOptions, "evaluate": EvaluateOptions}
RESULTS: dict[str, str] = {}
