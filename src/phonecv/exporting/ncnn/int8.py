"""Static int8 for ncnn: convolutions and the classifier with 8-bit weights and inputs; all else stays float.

ncnn's own tools for this (ncnn2table, ncnn2int8) are in no package, so the file is rewritten here: the graph says
"8=1" in the line of a layer in 8 bits, and its weights are followed by the scale of each output channel and that of its
input. The layout of weight files is that of `ncnn::ModelBin` and of each layer's `load_model`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from phonecv.errors import UserError
from phonecv.exporting.job import Job
from phonecv.exporting.ncnn.graph import Graph, Layer, read_graph
from phonecv.exporting.ncnn.opening import load, weights_path
from phonecv.exporting.ranges import Tails, calibration_pictures, int8_settings, watched

#: Kinds of layers in 8 bits -> number of the parameter that says how many weights they have.
_WEIGHTED = {"Convolution": 6, "ConvolutionDepthWise": 6, "InnerProduct": 2}
#: Numbers of further parameters: output channels, whether there is a bias, groups, 8 bits.
_OUTPUTS, _BIAS, _GROUPS, _INT8 = 0, {"InnerProduct": 1}, 7, 8
#: What weights begin with that can have several types: of 32-bit floats, and of 8-bit integers.
_FLOATS, _INTEGERS = np.uint32(0).tobytes(), np.uint32(0x000D4B38).tobytes()
#: Largest integer: symmetric, so that zero is exact.
_MOST = 127


@dataclass(frozen=True, slots=True)
class Weights:
    """A layer and what the weight file holds of it.

    Attributes:
        layer: of the graph.
        values: its weights; empty for layers that are copied as they are.
        rest: the bytes behind them (its bias), or all of its bytes.
    """

    layer: Layer
    values: np.ndarray
    rest: bytes


def quantize(job: Job, path: Path) -> dict[str, Any]:
    """Rewrite a float32 file, graph and weights, in 8 bits.

    Weights are symmetric with a scale per output channel, inputs symmetric with one scale.

    Args:
        job: with pictures to calibrate on; of `Job.settings` all are supported.
        path: the graph, made from ``job.module``; its weights lie beside it.

    Returns:
        What was used, as JSON values.

    Raises:
        UserError: bad settings or calibration pictures.
    """
    settings = int8_settings(job)
    pictures = calibration_pictures(job)
    graph = read_graph(path)
    held = list(_read_weights(graph, weights_path(path).read_bytes()))
    weighted = [one for one in held if len(one.values)]
    stay = _of_modules(job, settings.float_layers, weighted) if settings.float_layers else set()
    chosen = {one.layer.name: one for one in weighted if one.layer.name not in stay}
    reach = _measure(path, graph, pictures, [one.layer.inputs[0] for one in chosen.values()], settings.span)
    with weights_path(path).open("wb") as file:
        for one in held:
            file.write(_packed(one, reach[one.layer.inputs[0]]) if one.layer.name in chosen else _plain(one))
    path.write_text(_with_int8(path.read_text(encoding="utf-8"), chosen), encoding="utf-8")
    return settings.used(pictures) | {
        "activations": "int8, symmetric, per tensor",
        "operators": {"quantized": len(chosen), "float": len(weighted) - len(chosen)},
    }


def _read_weights(graph: Graph, content: bytes) -> Iterator[Weights]:
    """What the file holds, layer by layer in the order of the graph."""
    place = 0

    def take(count: int) -> bytes:
        nonlocal place
        place += count
        return content[place - count : place]

    for layer in graph.layers:
        if layer.kind in _WEIGHTED:
            if take(4) != _FLOATS:
                raise RuntimeError(f"the weights of {layer.name} are not 32-bit floats")
            values = np.frombuffer(take(4 * _number(layer, _WEIGHTED[layer.kind])), np.float32)
            biased = _number(layer, _BIAS.get(layer.kind, 5))
            yield Weights(layer, values, take(4 * _number(layer, _OUTPUTS) * biased))
        elif layer.kind == "MemoryData":
            yield Weights(layer, np.empty(0, np.float32), take(4 * _held_numbers(layer)))
        elif layer.kind in ("LayerNorm", "GroupNorm"):
            size, affine = (0, 1) if layer.kind == "LayerNorm" else (1, 3)
            both = 2 * _number(layer, size) * (_number(layer, affine + 1, 1) if layer.kind == "LayerNorm" else 1)
            yield Weights(layer, np.empty(0, np.float32), take(4 * both))
    if place != len(content):
        raise RuntimeError(f"{len(content) - place} bytes of weights belong to layers that are not known here")


def _number(layer: Layer, key: int, default: int = 0) -> int:
    return int(layer.parameters.get(key, default))


def _held_numbers(layer: Layer) -> int:
    """How many numbers a constant has: the product of its sides that are there."""
    sides = [_number(layer, key) for key in (0, 1, 11, 2)]
    return int(np.prod([side for side in sides if side]))


def _channels(one: Weights) -> np.ndarray:
    """Weights as rows, one for each scale: output channels, or groups."""
    return one.values.reshape(_number(one.layer, _GROUPS if "Wise" in one.layer.kind else _OUTPUTS), -1)


def _packed(one: Weights, reach: float) -> bytes:
    """The bytes of a layer in 8 bits whose input reaches so far from zero."""
    rows = _channels(one)
    scales = (_MOST / np.maximum(np.abs(rows).max(1), 1e-12)).astype(np.float32)
    whole = np.rint(rows * scales[:, None]).clip(-_MOST, _MOST).astype(np.int8).tobytes()
    padding = bytes(-len(whole) % 4)
    given = np.float32(_MOST / max(reach, 1e-12)).tobytes()
    return _INTEGERS + whole + padding + one.rest + scales.tobytes() + given


def _plain(one: Weights) -> bytes:
    return (_FLOATS + one.values.tobytes() if len(one.values) else b"") + one.rest


def _with_int8(text: str, chosen: Mapping[str, Weights]) -> str:
    lines = text.split("\n")
    for number, line in enumerate(lines):
        words = line.split()
        if len(words) > 1 and words[0] in _WEIGHTED and words[1] in chosen:
            lines[number] = f"{re.sub(rf' {_INT8}=[^ ]+', '', line)} {_INT8}=1"
    return "\n".join(lines)


def _of_modules(job: Job, paths: Sequence[str], weighted: Sequence[Weights]) -> set[str]:
    """Names of the layers whose weights belong to modules at these paths: layers stand in the order of their calls."""
    called: list[tuple[str, int]] = []

    def note(path: str, layer: Any, *_: Any) -> None:
        called.append((path, layer.weight.numel()))

    layers = [path for path, module in job.module.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    with watched(job.module, layers, note), torch.no_grad():
        job.module(*job.row)
    if [size for _, size in called] != [len(one.values) for one in weighted]:
        raise UserError("ncnn's converter has merged layers, so that none of them can be left float (float_layers)")
    return {
        one.layer.name
        for (path, _), one in zip(called, weighted, strict=True)
        if any(f"{path}.".startswith(f"{asked}.") for asked in paths)
    }


def _measure(
    path: Path, graph: Graph, pictures: np.ndarray, names: Sequence[str], percentile: float
) -> dict[str, float]:
    """How far these values reach from zero."""
    import ncnn

    net = load(path, weights_path(path), threads=torch.get_num_threads(), half=False)
    tails: dict[str, Tails] = {}
    for picture in pictures:
        array = np.ascontiguousarray(picture)
        given, extractor = ncnn.Mat(array), net.create_extractor()
        extractor.set_light_mode(False)  # nothing is computed twice
        extractor.input(graph.inputs[0].outputs[0], given)
        for name in dict.fromkeys(names):
            status, value = extractor.extract(name)
            if status:
                raise RuntimeError(f"ncnn could not compute {name} (status {status})")
            found = np.abs(np.array(value, np.float32))
            if name not in tails:
                # Of distances from zero only the upper end is cut, twice as much of it.
                tails[name] = Tails(found.size * len(pictures), 100 - 2 * (100 - percentile))
            tails[name].add(found)
    return {name: tail.range()[1] for name, tail in tails.items()}
