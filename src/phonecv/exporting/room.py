"""What the export asks of a task: the module ``exporting`` of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
from PIL import Image
from torch import Tensor, nn

from phonecv.exporting.comparing import Compared, Sides
from phonecv.exporting.example import Example
from phonecv.exporting.inputs import Input
from phonecv.exporting.pictures import Pictures
from phonecv.task import Task


class ExportingRoom(Protocol):
    """The hooks. Networks are on the CPU and in evaluation mode; they stay as they are unless a hook says otherwise.

    Attributes:
        MAX_DIFF: by precision, the largest difference allowed where a person says nothing; None leaves it to the share
            of best classes. See `phonecv.exporting.comparing.MAX_DIFF`.
    """

    MAX_DIFF: Mapping[str, float | None]

    def as_module(
        self, network: Any, *, decode: str, size: tuple[int, int] | None
    ) -> tuple[nn.Module, tuple[str, ...]]:
        """A module that takes what `inputs` says and gives a tensor or a tuple of them, and their names.

        Args:
            network: of this task.
            decode: of `phonecv.options.decodings_of`.
            size: input height and width; None where they are free.

        Raises:
            UserError: a decoding or size that this network does not have.
        """

    def inputs(self, network: Any, height: int, width: int) -> tuple[Input, ...]:
        """What the module takes at this input size; one batch of pictures mostly, see `phonecv.exporting.plain`."""

    def needs(self, network: Any, decode: str) -> tuple[str, ...]:
        """What a file has to hold beyond a backbone's operators, by the names that `Exporter.refused` knows."""

    def traceable(self, network: Any, batch: Tensor) -> tuple[Any, Tensor]:
        """The network, perhaps changed in place, and pictures ``B 3 H W`` to trace it with when sizes are free."""

    def decoding(self, network: Any, height: int, width: int, decode: str) -> dict[str, Any]:
        """What a reader of the file has to know of its outputs, as JSON values; it stands in the record if any."""

    def input_batch(self, network: Any, images: Sequence[Image.Image], height: int, width: int) -> Tensor:
        """RGB pictures as the network takes them: ``N 3 height width``, or a clip made of each.

        Asked only of networks with such an input alone; others are compared on made-up values.

        Raises:
            UserError: it takes none.
        """

    def compare(self, sides: Sides, max_diff: float | None, /) -> Compared:
        """A file's outputs against PyTorch's, where so much of a difference is allowed; None for any."""

    def nothing_compared(
        self, names: Sequence[str], wanted: Sequence[Sequence[np.ndarray]], got: Sequence[Sequence[np.ndarray]]
    ) -> str:
        """Why comparing these outputs, per batch, says nothing of the file; empty if it does."""

    def choose_example(self, pictures: Pictures, outputs: Mapping[str, np.ndarray], network: Any) -> Example:
        """The picture that travels with the file for the app's own test.

        Args:
            pictures: candidates.
            outputs: PyTorch's by name, for some of them from the first on.
            network: that gave them.
        """

    def timed(self, network: Any) -> tuple[nn.Module, str]:
        """What a benchmark times, `inputs` in and tensors out, and in words what of the network that leaves out."""


def exporting_of(task: Task) -> ExportingRoom:
    """The hooks of a task."""
    return cast(ExportingRoom, task.room("exporting"))
