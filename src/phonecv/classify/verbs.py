"""What the verbs take for classifiers beside what they take for every model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phonecv import options
from phonecv.options import Count


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions(options.PredictOptions):
    """Of `phonecv.predict`.

    Attributes:
        topk: Names per picture, 5 by default; at most as many as there are classes.
    """

    topk: Count = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(options.EvaluateOptions):
    """Of `phonecv.evaluate`.

    Attributes:
        list_file: Pictures and labels from this list instead; its labels are the model's outputs where the classes
            cannot be matched by name.
    """

    list_file: Path | str | None = None


OPTIONS = {"predict": PredictOptions, "evaluate": EvaluateOptions}
RESULTS: dict[str, str] = {}
