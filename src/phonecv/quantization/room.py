"""What quantization asks of a task: the module ``quantizing`` of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from phonecv.quantization.workshop import Workshop
from phonecv.task import Task


@dataclass(frozen=True, slots=True)
class WorkshopOptions:
    """What a person says of the pictures.

    Attributes:
        data: pictures like those the app will see; one half finds ranges, the other half chooses.
        calibrate: pictures to find ranges on, and to fine-tune on, at most.
        choose: pictures to choose by, at most; None for the task's own number.
        size: input height and width of the file; None for the network's own.
    """

    data: Path | str
    calibrate: int
    choose: int | None = None
    size: int | tuple[int, int] | None = None


class QuantizingRoom(Protocol):
    """The hooks."""

    def check_int8(self, network: Any, formats: Sequence[str]) -> None:
        """Check that these formats hold this network in 8 bits.

        Raises:
            UserError: one is known not to, or was never tried.
        """
        ...

    def open_workshop(self, network: Any, options: WorkshopOptions) -> Workshop[Any]:
        """A network with its pictures, and how its files are judged.

        Args:
            network: in deploy form, on the CPU and in evaluation mode; a copy that may be changed.
            options: of the pictures.

        Raises:
            UserError: a network that cannot be quantized or judged, or too few pictures.
        """
        ...


def quantizing_of(task: Task) -> QuantizingRoom:
    """The hooks of a task."""
    return cast(QuantizingRoom, task.room("quantizing"))
