"""The text of an ncnn graph, read before ncnn does: that crashes on layers it does not know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from phonecv.errors import UserError
from phonecv.exporting.where.graph import Operator

_MAGIC = "7767517"
#: Bytes; the graph of the largest network of ours takes a tenth of a megabyte.
_LARGEST = 16_000_000


@dataclass(frozen=True, slots=True)
class Layer:
    """One line of the file.

    Attributes:
        kind: of the layer, as Convolution.
        name: of the layer.
        inputs: names of the values it reads.
        outputs: names of the values it makes.
        parameters: number -> value, as text.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[int, str]


@dataclass(frozen=True, slots=True)
class Graph:
    """The layers of a file, in order."""

    layers: tuple[Layer, ...]

    @property
    def inputs(self) -> list[Layer]:
        """The layers that stand for what goes in."""
        return [layer for layer in self.layers if layer.kind == "Input"]

    @property
    def results(self) -> list[str]:
        """Names of what comes out: values that no layer reads. The converter numbers them: out0, out1."""
        read = {name for layer in self.layers for name in layer.inputs}
        names = [name for layer in self.layers for name in layer.outputs if name not in read]
        numbers = [re.fullmatch(r"out(\d+)", name) for name in names]
        if all(numbers):
            return sorted(names, key=lambda name: int(name.removeprefix("out")))
        return names

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of the input, if the file says them."""
        found = self.inputs[0].parameters if self.inputs else {}
        width, height = found.get(0, "0"), found.get(1, "0")
        if width.isdecimal() and height.isdecimal() and int(width) and int(height):
            return int(height), int(width)
        return None


def read_graph(path: Path) -> Graph:
    """Read and check a ``.param`` file."""
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path} is not an ncnn graph: it has {path.stat().st_size} bytes")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except ValueError as error:
        raise UserError(f"{path} is not an ncnn graph: it is not text") from error
    if lines[0].strip() != _MAGIC:
        raise UserError(f"{path} is not an ncnn graph: its first line is not {_MAGIC}")
    rows = [line.split() for line in lines[1:] if line.strip()]
    layers = []
    try:
        count = int(rows[0][0])
        for words in rows[1:]:
            layers.append(_layer(words))
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} is not an ncnn graph: line {len(layers) + 3} cannot be read") from error
    if count != len(layers):
        raise UserError(f"{path} is not a whole ncnn graph: it has {len(layers)} layers and promises {count}")
    made: set[str] = set()
    for layer in layers:
        missing = [name for name in layer.inputs if name not in made]
        if missing:
            raise UserError(f"{path} is broken: layer {layer.name!r} reads {missing[0]!r}, which nothing makes")
        made.update(layer.outputs)
    return Graph(tuple(layers))


def _layer(words: list[str]) -> Layer:
    kind, name, read, made = words[0], words[1], int(words[2]), int(words[3])
    values, rest = words[4 : 4 + read + made], words[4 + read + made :]
    if read < 0 or made < 0 or len(values) < read + made:
        raise ValueError(name)
    parameters = dict(word.split("=", 1) for word in rest)
    return Layer(
        kind, name, tuple(values[:read]), tuple(values[read:]), {int(key): text for key, text in parameters.items()}
    )


def unknown_layers(graph: Graph) -> list[Layer]:
    """Layers that the installed ncnn does not have."""
    import ncnn

    return [layer for layer in graph.layers if ncnn.layer_to_index(layer.kind) < 0]


def read_operators(path: Path) -> list[Operator]:
    """The layers of a file for the rules of `phonecv.exporting.where`; nothing in it says how large values are."""
    return operators_of(read_graph(path))


def operators_of(graph: Graph) -> list[Operator]:
    """The layers that compute."""
    return [Operator(layer.kind, layer.name) for layer in graph.layers if layer.kind != "Input"]
