"""Opening .tflite files of anyone in LiteRT's interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.exporting.fields import FileRecord
from phonecv.exporting.inputs import channels_last, check_sides, check_taken, inputs_in
from phonecv.exporting.job import Session
from phonecv.exporting.litert.record import read_content, record_in
from phonecv.exporting.native import silenced, try_in_child
from phonecv.exporting.record import read_record

#: Opens a file and runs it once, on zeros: what lies in memory may be no row of a table that the network looks up.
_TRIAL = """
import sys
import numpy
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
for one in interpreter.get_input_details():
    interpreter.set_tensor(one["index"], numpy.zeros(one["shape"], one["dtype"]))
interpreter.invoke()
"""


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """A .tflite file of ours or another's in LiteRT."""
    from importlib.metadata import version

    content = read_content(path)
    try_in_child(_TRIAL, path, runtime="LiteRT")
    from ai_edge_litert.interpreter import Interpreter

    with silenced():
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    record = record_in(content, path) or read_record(path)
    inputs, outputs = _in_order(interpreter, record)
    shapes: dict[str, list[int | None]] = {one["name"]: [int(side) for side in one["shape"]] for one in inputs}
    turned = [len(shape) > 3 and shape[-1] == 3 and shape[1] != 3 for shape in shapes.values()]
    own = inputs_in(record)
    if own:
        turned = [one.coloured for one in own]
    for name, turn in zip(shapes, turned, strict=False):
        if turn:
            batch, *sides, channels = shapes[name]
            shapes[name] = [batch, channels, *sides]
    batch, size = check_taken(path, shapes, record)

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        for detail, turn, array in zip(inputs, turned, arrays, strict=True):
            if array.ndim > 3:
                check_sides(path, size, array)
            interpreter.set_tensor(detail["index"], quantized(channels_last(array) if turn else array, detail))
        interpreter.invoke()
        return [dequantized(interpreter.get_tensor(output["index"]), output) for output in outputs]

    return Session(run=run, runtime=f"LiteRT {version('ai-edge-litert')}", batch=batch, size=size, record=record)


def _in_order(interpreter: Any, record: FileRecord) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs as the record lists them; of a file of another's in its own order."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if not interpreter.get_signature_list():
        return inputs, outputs
    runner = interpreter.get_signature_runner()
    given, found = runner.get_input_details(), runner.get_output_details()
    names, wanted = [one.name for one in inputs_in(record)], record.get("outputs", ())
    return (
        [given[name] for name in names] if set(names) == set(given) else inputs,
        [found[name] for name in wanted] if set(wanted) == set(found) else outputs,
    )


def quantized(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Numbers of the network as a file's input holds them; `detail` is LiteRT's word of it."""
    if detail["dtype"] == np.float32:
        return np.ascontiguousarray(values, np.float32)
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.round(values / (scale or 1) + zero).clip(limits.min, limits.max).astype(detail["dtype"])


def dequantized(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """The way back, of an output."""
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale) if scale else values
