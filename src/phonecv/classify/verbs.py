"""What the verbs take for classifiers beside what they take for every model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phonecv import options
from phonecv.options import Count, Share


@dataclass(frozen=True, slots=True)
class OpeningOptions(options.OpeningOptions):
    """How a classifier is opened.

    Attributes:
        headless: A network without a classifier will do.
    """

    headless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions(options.PredictOptions):
    """Of `phonecv.predict`.

    Attributes:
        topk: Names per picture, at most as many as there are classes; 5 by default, and of labels that do not exclude
            each other all that reach their threshold.
        threshold: Probability from which on labels are told that do not exclude each other; by default each has its
            own, chosen on the validation pictures.
        embeddings: File (.npz) for the features before the classifier, a row for each picture: arrays features and
            paths, readable by NumPy alone. For networks, not for exported files.
        unit_length: Divide every row of the features by its length.
    """

    topk: Count | None = None
    threshold: Share | None = None
    embeddings: Path | str | None = None
    unit_length: bool = False

    @property
    def opening(self) -> OpeningOptions:
        """See `VerbOptions`."""
        return OpeningOptions(headless=self.embeddings is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(options.EvaluateOptions):
    """Of `phonecv.evaluate`."""


OPTIONS = {"predict": PredictOptions, "evaluate": EvaluateOptions}
DECODINGS = {"final": "probabilities, as MediaPipe's and Core ML's own classifiers have them"}
RESULTS: dict[str, str] = {}
