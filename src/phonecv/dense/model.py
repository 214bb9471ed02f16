"""What every detector and segmenter is, whatever its heads."""

from __future__ import annotations

from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import DensePreprocessing


class DenseModel(HeadedModel[DensePreprocessing]):
    """A backbone with heads that look at whole pictures, of any size; ``network`` is what is exported."""
