"""What is benched: a network or an exported file, in the form it would be used in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from phonecv.benchmarking.count import count_cost_on
from phonecv.errors import UserError
from phonecv.exporting import check_size
from phonecv.exporting.inputs import Input, made_up, picture_input
from phonecv.exporting.room import exporting_of
from phonecv.models.headed import Network
from phonecv.task import done_by


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to time.

    Attributes:
        name: in the table.
        form: "deploy", "training", or what a foreign network or file is.
        size: input height and width.
        inputs: what it takes at this size.
        network: in evaluation mode; None for an exported file.
        path: the exported file.
        format: of the exported file, a key of `phonecv.exporting.EXPORTERS`.
        macs: multiply-adds that run for one picture, or row of inputs; None where they cannot be counted.
        precision: "int8" for a file that is quantized already.
        batch: the only batch size a file takes, or None for any.
        notes: what was done to it, for people.
    """

    name: str
    form: str
    size: tuple[int, int]
    inputs: tuple[Input, ...]
    network: nn.Module | None = None
    path: Path | None = None
    format: str = "onnx"
    macs: int | None = None
    precision: str = "float32"
    batch: int | None = None
    notes: tuple[str, ...] = ()


def network_subject(
    network: nn.Module,
    *,
    name: str,
    form: str,
    size: int | tuple[int, int] | None = None,
    notes: tuple[str, ...] = (),
) -> Subject:
    """A subject from a network; one that is not ours needs a size.

    What of it is timed is its task's word: the network alone, from normalised pictures to raw outputs.
    """
    if isinstance(network, Network):
        height_width = check_size(size, network)
        room = exporting_of(done_by(network))
        inputs = room.inputs(network, *height_width)
        height, width = inputs[0].shape[-2:]
        if size is not None and (height, width) != height_width:
            raise UserError(f"{name} takes one size, {height}x{width}; leave out --size")
        height_width = (height, width)
        network, left_out = room.timed(network)
        notes = (*notes, f"{name}: {left_out}") if left_out else notes
    elif size is None:
        raise UserError(f"{name} is no network of this package, so its input size must be given")
    else:
        height_width = (size, size) if isinstance(size, int) else size
        inputs = (picture_input(*height_width),)
    macs = count_cost_on(network, *made_up(inputs, 1)).executed_macs
    return Subject(name, form, height_width, inputs, network=network.eval(), macs=macs, notes=notes)
