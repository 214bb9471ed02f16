"""What every detector and segmenter is, whatever its heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import DensePreprocessing

#: Further losses of a training, from the first of what `network` gave and what it was given (``B 3 H W``).
Further = Callable[[Tensor | Sequence[Tensor], Tensor], dict[str, Tensor]]


class DenseModel(HeadedModel[DensePreprocessing]):
    """A backbone with heads that look at whole pictures, of any size; ``network`` is what is exported."""

    @property
    def in_chans(self) -> int:
        """Channels of a normalised batch: 3, or 1 for gray."""
        return self.preprocessing.channels
