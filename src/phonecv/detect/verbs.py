"""What the verbs take for detectors beside what they take for every model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from phonecv import options
from phonecv.data.coco.conventions import BoxLayout, Sizes
from phonecv.options import Count, Overlap, Share, Tile

#: Least score of what is shown and counted where the data gives no better one.
THRESHOLD = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingOptions(options.OpeningOptions):
    """How a detector goes over pictures.

    Attributes:
        tile: Look at pictures in tiles of this side too, in their pixels, so that small objects of large pictures are
            found; by default as the detector was trained (`detect.tile`), 0 for whole pictures alone. As large as the
            training pictures suits most.
        overlap: Share of a tile's side that the next tile shows too, 0.2 by default; objects up to that size are whole
            in one of them.
        tiles_only: Tiles alone, without a look at the whole picture, which finds objects larger than a tile.
        max_objects: Most objects of a picture; by default the detector's own number (100 or 200), in tiles no limit.
        class_agnostic: Boxes of different classes suppress each other, too: one object, one class.
    """

    tile: Tile | None = None
    overlap: Overlap = 0.2
    tiles_only: bool = False
    max_objects: Count | None = None
    class_agnostic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningOptions(FindingOptions):
    """How a detector is opened.

    Attributes:
        threshold: Detections with lower scores are not wanted; a network then spends nothing on them.
    """

    threshold: Share = 0.0

    @property
    def free(self) -> bool:
        """See `phonecv.options.OpeningOptions`: a threshold is for every look at a picture anew."""
        return self == OpeningOptions(threshold=self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions(FindingOptions, options.PredictOptions):
    """Of `phonecv.predict`.

    Attributes:
        threshold: Least score of an object, 0.3 by default.
        camera: Number of a camera, or its device such as /dev/video0.
        coco_ids: COCO file whose ids coco.json and coco_results.json of `out` take for pictures (by file name) and
            classes (by name); without it both are numbered from 1.
    """

    threshold: Share = THRESHOLD
    camera: str | None = None
    coco_ids: Path | str | None = None

    @property
    def opening(self) -> OpeningOptions:
        """See `VerbOptions`."""
        return opening_of(self, self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(FindingOptions, options.EvaluateOptions):
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

    @property
    def opening(self) -> OpeningOptions:
        """See `VerbOptions`."""
        return opening_of(self, 0.0)


def opening_of(own: FindingOptions, threshold: float) -> OpeningOptions:
    """What of a verb's options the opening is about."""
    return OpeningOptions(threshold=threshold, **{one.name: getattr(own, one.name) for one in fields(FindingOptions)})


OPTIONS = {"predict": PredictOptions, "evaluate": EvaluateOptions}
DECODINGS = {"boxes": "all boxes", "final": "boxes after suppression", "mediapipe": "the same as MediaPipe reads it"}
RESULTS = {".json": "a file of COCO results"}
