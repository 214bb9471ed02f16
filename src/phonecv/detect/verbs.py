"""What the verbs take for detectors beside what they take for every model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phonecv import options
from phonecv.data.coco.conventions import BoxLayout, Sizes
from phonecv.options import Share

#: Least score of what is shown and counted where the data gives no better one.
THRESHOLD = 0.3


@dataclass(frozen=True, slots=True)
class OpeningOptions(options.OpeningOptions):
    """How a detector is opened.

    Attributes:
        threshold: Detections with lower scores are not wanted; a network then spends nothing on them.
    """

    threshold: Share = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions(options.PredictOptions):
    """Of `phonecv.predict`.

    Attributes:
        threshold: Least score of an object, 0.3 by default.
        camera: Number of a camera, or its device such as /dev/video0.
    """

    threshold: Share = THRESHOLD
    camera: str | None = None

    @property
    def opening(self) -> OpeningOptions:
        """See `VerbOptions`."""
        return OpeningOptions(self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(options.EvaluateOptions):
    """Of `phonecv.evaluate`.

    Attributes:
        annotations: This COCO file instead of the one found in the folder.
        images: Folder of the pictures instead of the one found.
        threshold: Least score in confusion matrix, pictures, precision and recall; by default the one with the best F1
            (AP needs none).
        boxes: How the annotation file writes boxes where that is not the way of its layout (COCO: xywh): two corners,
            centre and size; with _shares in shares of the picture's sides.
        sizes: Where pictures have other sizes than their file says: told leaves them out, pictures takes boxes as they
            are, scaled resizes boxes with them.
        stored: Boxes are drawn on the pictures as stored, not as their EXIF note turns them.
    """

    annotations: Path | str | None = None
    images: Path | str | None = None
    threshold: Share | None = None
    boxes: BoxLayout | None = None
    sizes: Sizes = "told"
    stored: bool = False


OPTIONS = {"predict": PredictOptions, "evaluate": EvaluateOptions}
DECODINGS = {"boxes": "all boxes", "final": "boxes after suppression"}
RESULTS = {".json": "a file of COCO results"}
