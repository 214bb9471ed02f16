from __future__ import annotations

from dataclasses import dataclass

from phonecv.options import Count, VerbOptions


@dataclass(frozen=True, slots=True)
class PredictOptions(VerbOptions):
    """Of `phonecv.predict`.

    Attributes:
        digits: Of a number, after the point.
    """

    digits: Count = 2


@dataclass(frozen=True, slots=True)
class EvaluateOptions(VerbOptions):
    """Of `phonecv.evaluate`."""


OPTIONS = {"predict": PredictOptions, "evaluate": EvaluateOptions}
RESULTS: dict[str, str] = {}
