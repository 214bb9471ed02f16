"""What quantization asks of a task: the module ``quantizing`` of its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, cast

from phonecv.errors import UserError
from phonecv.quantization.options import QuantizeOptions
from phonecv.quantization.workshop import Workshop
from phonecv.task import Task


class QuantizingRoom(Protocol):
    """The hooks."""

    def check_int8(self, network: Any, formats: Sequence[str]) -> None:
        """Check that these formats hold this network in 8 bits.

        Raises:
            UserError: one is known not to, or was never tried.
        """

    def open_workshop(self, network: Any, options: QuantizeOptions) -> Workshop[Any]:
        """A network with its pictures, and how its files are judged.

        Args:
            network: in deploy form, on the CPU and in evaluation mode; a copy that may be changed.
            options: `data`, `calibrate`, `choose` and `size` say which pictures.

        Raises:
            UserError: a network that cannot be quantized or judged, or too few pictures.
        """


def quantizing_of(task: Task) -> QuantizingRoom:
    """The hooks of a task."""
    return cast(QuantizingRoom, task.room("quantizing"))


def never(why: str) -> tuple[Callable[[Any, object], NoReturn], Callable[[Any, object], NoReturn]]:
    """`check_int8` and `open_workshop` of a task whose networks are not quantized; `why` goes on from their name."""

    def refuse(network: Any, given: object) -> NoReturn:
        raise UserError(f"{network.name}{why}")

    return refuse, refuse
