"""What the verbs take for segmenters beside what they take for every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from phonecv import options
from phonecv.errors import UserError
from phonecv.options import Count, Overlap, Positive, Tile
from phonecv.settings import Range

#: A value of a label map.
Level = Annotated[float, Range(0, 255)]


@dataclass(frozen=True, slots=True)
class OpeningOptions(options.OpeningOptions):
    """How a segmenter goes over pictures.

    Attributes:
        slide: Side and stride of sliding windows, such as `--slide 512 341`; by default the model's own.
        scales: Average over the input scaled by these factors, such as `--scales 0.75 --scales 1`.
        flip: Average over mirrored pictures too.
        tile: Label large pictures in tiles of this side, in their own pixels, each brought to the segmenter's size by
            itself; a pixel gets what the tile says whose middle is nearest. As large as the training pictures suits
            most.
        overlap: Share of a tile's side that the next tile shows too, 0.2 by default.

    Raises:
        UserError: no scale, or one that is not positive.
    """

    slide: tuple[Count, Count] | None = None
    scales: tuple[Positive, ...] = (1.0,)
    flip: bool = False
    tile: Tile = 0
    overlap: Overlap = 0.2

    def __post_init__(self) -> None:
        options.OpeningOptions.__post_init__(self)
        if not self.scales:
            raise UserError("scales: at least one is needed; 1 is the model's own size")

    @property
    def free(self) -> bool:
        """See `phonecv.options.OpeningOptions`: it is open for one way of inference."""
        return self == OpeningOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions(OpeningOptions, options.PredictOptions):
    """Of `phonecv.predict`."""

    @property
    def opening(self) -> OpeningOptions:
        """See `VerbOptions`."""
        return OpeningOptions(self.slide, self.scales, self.flip, self.tile, self.overlap)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions(OpeningOptions, options.EvaluateOptions):
    """Of `phonecv.evaluate`.

    Attributes:
        threshold: Values from this one on are class 1, all others class 0 (black and white label maps).
        reduce_zero_label: The value 0 means nothing and 1 is the first class, as in ADE20K; by default whichever makes
            the data's classes the model's.
        stored: Label maps are drawn on the pictures as stored, not as their EXIF note turns them.
    """

    threshold: Level | None = None
    reduce_zero_label: bool | None = None
    stored: bool = False

    opening = PredictOptions.opening


OPTIONS = {"predict": PredictOptions, "evaluate": EvaluateOptions}
DECODINGS = {"final": "the class of every pixel", "mediapipe": "logits as MediaPipe reads them"}
RESULTS: dict[str, str] = {}
