"""What every detector and segmenter is, whatever its heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import DensePreprocessing

#: Further losses of a training, from the first of what `network` gave and what it was given (``B 3 H W``).
Further = Callable[[Tensor | Sequence[Tensor], Tensor], dict[str, Tensor]]


class DenseModel(HeadedModel[DensePreprocessing]):
    """A backbone with heads that look at whole pictures, of any size; ``network`` is what is exported.

    Attributes:
        canvas: the only height and width that it is given, see `phonecv.dense.inputs.prepare`; None for any.
        choosing: options that say which of the found objects are told; the heads give the same with any of them.
    """

    choosing: ClassVar[tuple[str, ...]] = ()
    canvas: tuple[int, int] | None = None

    @property
    def in_chans(self) -> int:
        """Channels of a normalised batch: 3, or 1 for gray."""
        return self.preprocessing.channels


def initialise(part: nn.Module, weight: Callable[[Tensor], object]) -> None:
    """Fresh values for the convolutions of heads: weights by a function of `torch.nn.init`, biases zero."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            weight(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
