"""What a network takes: one batch of pictures as a rule, or any row of named tensors with the batch in front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.preprocessing import RGB

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: One batch of all inputs, in the network's order.
Arrays = tuple[np.ndarray, ...]

#: Letters of the axes behind the batch, by their number.
_AXES = {0: "", 1: "C", 3: "CHW", 4: "CTHW"}


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor that a network takes.

    Attributes:
        name: in the file.
        shape: of one row, without the batch; empty for a number.
        kind: "pictures" (``3 H W``, or ``1 H W`` in gray), "clips" (``3 T H W``), or the task's own word for others.
        type: "float32" or "int32".
        most: its values are from 0 to this one; None for normalised pictures, or noise.
        free: whether height and width, the last two axes, may be left free.
    """

    name: str
    shape: tuple[int, ...]
    kind: str = "pictures"
    type: str = "float32"
    most: float | None = None
    free: bool = False

    @property
    def coloured(self) -> bool:
        """Whether colours, or gray, lie on its first axis behind the batch: phones keep them last."""
        return self.kind in ("pictures", "clips")

    @property
    def layout(self) -> str:
        """Its axes, a letter each."""
        return "N" + _AXES.get(len(self.shape), "?" * len(self.shape))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the record."""
        fields = asdict(self) | {"shape": list(self.shape)}
        return {key: value for key, value in fields.items() if key != "free" and value is not None}

    def made_up(self, count: int, generator: torch.Generator) -> Tensor:
        """Rows of possible values, ``count`` and `shape`."""
        import torch

        shape = (count, *self.shape)
        if self.type == "int32":
            return torch.randint(int(self.most or 0) + 1, shape, generator=generator, dtype=torch.int32)
        if self.most is None:
            return torch.randn(shape, generator=generator)
        return self.most * torch.rand(shape, generator=generator)


def picture_input(height: int, width: int, channels: int = RGB) -> Input:
    """One batch of pictures, ``B channels height width``."""
    return Input("images", (channels, height, width), free=True)


def made_up(inputs: Sequence[Input], count: int) -> tuple[Tensor, ...]:
    """Rows of possible values of all inputs, the same at every call."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(one.made_up(count, generator) for one in inputs)


def inputs_in(record: FileRecord) -> tuple[Input, ...]:
    """What the record of a file says that it takes; empty where it says nothing."""
    return tuple(
        Input(one["name"], tuple(one["shape"]), one["kind"], one["type"], one.get("most"))
        for one in record.get("inputs", ())
    )


def recorded_size(record: FileRecord) -> tuple[int, int] | None:
    """Height and width of a file's input, where its record tells them."""
    sides = record.get("input_size")
    return (int(sides[0]), int(sides[1])) if sides else None


def check_sides(path: Path, size: tuple[int, int] | None, array: np.ndarray) -> None:
    """Check that pictures have the only height and width that a file takes; None for any."""
    if size is not None and array.shape[-2:] != size:
        raise UserError(f"{path} takes {size[0]} x {size[1]} pixels, not {array.shape[-2]} x {array.shape[-1]}")


def last_layout(one: Input) -> str:
    """The axes of an input in a file that keeps colours last."""
    return one.layout.replace("C", "") + "C" if one.coloured else one.layout


def channels_last(values: Any) -> Any:
    """An array or tensor ``B C ...`` as ``B ... C``."""
    return np.moveaxis(values, 1, -1) if isinstance(values, np.ndarray) else values.movedim(1, -1)


def check_taken(
    path: Path, shapes: Mapping[str, Sequence[int | None]], record: FileRecord, types: Sequence[str] = ()
) -> tuple[int | None, tuple[int, int] | None]:
    """Check that a file takes what its record says, or one batch of RGB pictures where that says nothing.

    `shapes` are of its inputs by name, the batch in front and channels behind it, None for a free side; `types` of its
    numbers, input by input, where the runtime does not turn them itself.

    Returns:
        The batch, and height and width of the first input; None for what is free, or not there.
    """
    own = inputs_in(record)
    expected: list[tuple[int | None, ...]] = [one.shape for one in own] or [(RGB, None, None)]
    fits = [len(shape) for shape in shapes.values()] == [1 + len(shape) for shape in expected] and all(
        have in (None, want) or want is None
        for shape, wanted in zip(shapes.values(), expected, strict=True)
        for have, want in zip(shape[1:], wanted, strict=True)
    )
    if not fits or (types and list(types) != ([one.type for one in own] or ["float32"])):
        listed = types or [""] * len(shapes)
        parts = [
            f"{name} {list(shape)} {kind}".strip() for (name, shape), kind in zip(shapes.items(), listed, strict=True)
        ]
        taken = ", ".join(parts) or "nothing"
        said = ", ".join(f"{one.name} {['B', *one.shape]}" for one in own)
        wanted = f"its record says {said}; export it again" if own else "a network of ours takes one batch of pictures"
        raise UserError(f"{path} takes {taken}; {wanted}" + ("" if own else ", B x 3 x H x W"))
    batch, *sides = next(iter(shapes.values()))
    height, width = sides[-2:] if len(sides) > 2 else (None, None)
    return batch, None if height is None or width is None else (height, width)
