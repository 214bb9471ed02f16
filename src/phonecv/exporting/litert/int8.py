"""Static int8 for LiteRT: a float .tflite file goes in, one with 8-bit weights and activations comes out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer as aeq
from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.utils import tfl_flatbuffer_utils
from torch import nn

from phonecv.exporting.inputs import channels_last
from phonecv.exporting.job import Job
from phonecv.exporting.ranges import Tails, calibration_pictures, int8_settings

_FLOAT = aeq.AlgorithmName.NO_QUANTIZE


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a .tflite file.

    Attributes:
        kind: as CONV_2D.
        scope: the name by which the quantizer knows it: those of its outputs.
        results: names of its outputs.
        constants: names of the weights and other constants that it reads.
    """

    kind: str
    scope: str
    results: tuple[str, ...]
    constants: tuple[str, ...]


def quantize(job: Job, source: Path, path: Path) -> dict[str, Any]:
    """Write `source` with int8 weights (symmetric, per output channel) and activations (affine, per tensor).

    Input and output stay float32: the file quantizes and dequantizes them itself. LayerNorm stays float, because
    the square and the root in it need more than 8 bits.

    Args:
        job: with pictures to calibrate on; of `Job.settings` all are supported.
        source: the float file, made from ``job.module``.
        path: the file to write.

    Returns:
        What was used, as JSON values.

    Raises:
        UserError: bad settings or calibration pictures.
    """
    settings = int8_settings(job)
    pictures = calibration_pictures(job)
    norms = [name for name, module in job.module.named_modules() if isinstance(module, nn.LayerNorm)]
    operators = read_operators(source)
    stay = operators_of(job.module, [*settings.float_layers, *norms], operators)
    work = aeq.Quantizer(str(source))
    work.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for ends in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        work.update_quantization_recipe(".*", ends, algorithm_key=_FLOAT)
    for operator in stay:
        scope = f"^{re.escape(operator.scope)}$"
        work.update_quantization_recipe(scope, TFLOperationName.ALL_SUPPORTED, algorithm_key=_FLOAT)
    ranges = measure_ranges(source, pictures, settings.span, operators)
    result = work.quantize(ranges, enable_progress_report=False)
    assert result.quantized_model is not None
    path.write_bytes(result.quantized_model)
    return settings.used(pictures) | {
        "float_operators": dict(sorted(Counter(operator.kind for operator in stay).items())),
        "activations": "int8, affine, per tensor",
        "input": "float32",
        "output": "float32",
    }


def read_operators(path: Path) -> list[Operator]:
    """The operators of a file, in order."""
    model = tfl_flatbuffer_utils.read_model(str(path))
    graph = model.subgraphs[0]
    found = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        kind = tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME.get(code)
        constants = [
            graph.tensors[index].name.decode()
            for index in operator.inputs
            if index != -1 and model.buffers[graph.tensors[index].buffer].data is not None
        ]
        found.append(
            Operator(
                kind=str(code) if kind is None else str(kind.value),
                scope=tfl_flatbuffer_utils.get_op_scope(operator, graph.tensors),
                results=tuple(graph.tensors[index].name.decode() for index in operator.outputs if index != -1),
                constants=tuple(constants),
            )
        )
    return found


def operators_of(module: nn.Module, paths: list[str], operators: list[Operator]) -> list[Operator]:
    """Those operators that come from the modules at `paths`.

    The converter names a value after the chain of modules it comes from. Where it has merged several, the last name is
    the operator's own; the one that gives an output of the file is called after that, and known by its weights.
    """
    patterns = [re.compile(rf"{re.escape(converted_name(module, path))}(?:/[^;]*)?;?\d*;?") for path in paths]

    def belongs(operator: Operator) -> bool:
        names = [name.rpartition(";;")[2] for name in operator.results + operator.constants]
        return any(pattern.fullmatch(name) for pattern in patterns for name in names)

    return [operator for operator in operators if belongs(operator)]


def converted_name(module: nn.Module, path: str) -> str:
    """The converter's name of a module: ``package.Class/package.Class_attribute/...`` from the outermost inwards.

    Lists of modules have no call of their own, so they are left out.
    """
    parts, here = [_class_name(module)], module
    for attribute in path.split("."):
        here = here.get_submodule(attribute)
        if not isinstance(here, nn.ModuleList):
            parts.append(f"{_class_name(here)}_{attribute}")
    return "/".join(parts)


def _class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def measure_ranges(
    source: Path, pictures: np.ndarray, percentile: float, operators: list[Operator]
) -> dict[str, dict[str, np.ndarray]]:
    """Low and high end of every activation over all pictures, by name, as the quantizer takes them.

    Its own calibration averages the extremes of the pictures, which clips even the input.
    """
    tails: dict[str, Tails] = {}
    for values in activations(source, pictures, operators):
        for name, array in values.items():
            if name not in tails:
                # A picture gives as many values as the next one; a last batch that is padded gives a few more.
                tails[name] = Tails(array.size * len(pictures), percentile)
            tails[name].add(array)
    ranges = {}
    for name, tail in tails.items():
        low, high = tail.range()
        ranges[name] = {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}
    return ranges


def activations(source: Path, pictures: np.ndarray, operators: list[Operator]) -> Iterator[dict[str, np.ndarray]]:
    """For each picture, the float values of all operators and of the input, by name."""
    interpreter = Interpreter(str(source), num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    details = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
    (entry,) = interpreter.get_input_details()
    names = [entry["name"], *(name for operator in operators for name in operator.results)]
    wanted = [(name, details[name]["index"]) for name in names if details[name]["dtype"] == np.float32]
    batch, turned = entry["shape"][0], entry["shape"][1] != 3
    for picture in pictures:
        images = np.repeat(picture[None], batch, 0)  # a file of a larger batch sees the picture several times
        interpreter.set_tensor(entry["index"], channels_last(images) if turned else images)
        interpreter.invoke()
        yield {name: interpreter.get_tensor(index) for name, index in wanted}
