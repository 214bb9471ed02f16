"""OpenVINO: converted from the ONNX graph, run by OpenVINO on the CPU."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree

import numpy as np

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord, parse_record
from phonecv.exporting.inputs import check_taken
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.record import read_record

if TYPE_CHECKING:
    import openvino

#: Where the record lies in the model's runtime information.
RECORD = ["phonecv", "record"]


#: Its names of the numbers that inputs hold.
_TYPES = {"f32": "float32", "i32": "int32"}


def write(job: Job, folder: Path) -> Written:
    """The graph and its weights, with the record in the graph's runtime information.

    The graph comes by way of ONNX. Straight from the exported program OpenVINO reads shapes that it computes from the
    batch size wherever windows are cut, and recognises no attention there: 1558 operators at run time against 797
    for EMOv2-1M with a free batch size. With a fixed one the two are the same.
    """
    import openvino

    from phonecv.exporting.onnx.exporter import write_graph

    path = folder / f"{job.stem}.xml"
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "graph.onnx"
        write_graph(job, source)
        model = openvino.Core().read_model(source)
        model, report = _in_precision(job, model)
        model.set_rt_info(json.dumps(dict(job.record), ensure_ascii=False), RECORD)
        # Before the folder goes: the weights of a model that was read may still lie in its file.
        openvino.save_model(model, path, compress_to_fp16=job.precision == "fp16")
    # Indentation between tags means nothing, and is 50 kB of an int8 MobileOne-S0.
    path.write_bytes(re.sub(rb">\s+<", b"><", path.read_bytes()))
    kinds = [operator.get_type_name() for operator in model.get_ops()]
    return Written(path, sum(kind not in ("Constant", "Parameter", "Result") for kind in kinds), report)


def _in_precision(job: Job, model: openvino.Model) -> tuple[openvino.Model, dict[str, Any]]:
    if job.precision == "int8":
        from phonecv.exporting.openvino import int8 as openvino_int8

        model, used = openvino_int8.quantize(job, model)
        return model, {"settings": used}
    if job.precision == "int8-weights":
        model, used = quantize_weights(model)
        return model, {"settings": used}
    return model, {}


def quantize_weights(model: openvino.Model) -> tuple[openvino.Model, dict[str, Any]]:
    """The model, which may be changed, with int8 weights, symmetric, a scale per output channel, and what was done."""
    import nncf
    import openvino

    compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    tensors = sum(
        operator.get_type_name() == "Constant" and operator.get_element_type() == openvino.Type.i8
        for operator in compressed.get_ops()
    )
    return compressed, {"weights": "int8, symmetric, per output channel", "activations": "float32", "tensors": tensors}


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """An OpenVINO file (.xml, its weights beside it in .bin) of ours or another's.

    "fp16" and "bf16" let it compute in half precision where the processor can; everything else, the parts of an int8
    file that stay float too, is float32.
    """
    import openvino

    core = openvino.Core()
    model = _understood(path, lambda: core.read_model(path))
    record = record_within(path) or read_record(path)
    shapes = {next(iter(port.get_names()), f"input {place}"): _shape(port) for place, port in enumerate(model.inputs)}
    kinds = [_TYPES.get(name := port.get_element_type().get_type_name(), name) for port in model.inputs]
    batch, size = check_taken(path, shapes, record, kinds)
    compiled = _understood(path, lambda: _compiled(core, model, threads, precision))

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        return _outputs(compiled([np.ascontiguousarray(array) for array in arrays]).values())

    return Session(run=run, runtime=_runtime(), batch=batch, size=size, record=record)


def session_of(job: Job, *, threads: int, precision: str = "float32") -> Session:
    """A job's module without a file: traced for one row of its inputs, and converted in memory.

    A tenth to a third of the time that a file by way of ONNX takes. Rows go through one by one: with a fixed batch of
    one OpenVINO was as fast per picture as with any other, and up to 1.3 times as fast as with a free one. Several rows
    of a call are computed side by side, a thread each, which spares the threads waiting for one another.

    Raises:
        UserError: PyTorch cannot trace it, or OpenVINO does not understand what was traced.
    """
    import openvino

    core, row = openvino.Core(), job.row

    def converted() -> openvino.Model:
        import torch

        with torch.no_grad():
            traced = torch.jit.trace(job.module, row, check_trace=False)
        model = openvino.convert_model(traced, example_input=row)
        model.reshape({number: list(one.shape) for number, one in enumerate(row)})
        return model

    model = _understood(job.stem, converted)
    found: dict[int, list[np.ndarray]] = {}

    @functools.cache
    def alone() -> openvino.CompiledModel:
        return _understood(job.stem, lambda: _compiled(core, model, threads, precision))

    @functools.cache
    def side_by_side() -> openvino.AsyncInferQueue:
        compiled = _understood(job.stem, lambda: _compiled(core, model, threads, precision, streams=threads))
        queue = openvino.AsyncInferQueue(compiled, threads)
        queue.set_callback(lambda request, number: found.update({number: _outputs(request.results.values())}))
        return queue

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        count = len(arrays[0])
        rows = [[np.ascontiguousarray(array[number : number + 1]) for array in arrays] for number in range(count)]
        if count == 1 or threads == 1:
            made = [_outputs(alone()(one).values()) for one in rows]
        else:
            queue = side_by_side()
            for number, one in enumerate(rows):
                queue.start_async(dict(enumerate(one)), number)
            queue.wait_all()
            made = [found.pop(number) for number in range(count)]
        return [np.concatenate(parts) for parts in zip(*made, strict=True)]

    return Session(run=run, runtime=_runtime(), record=cast(FileRecord, job.record))


def _compiled(
    core: openvino.Core, model: openvino.Model, threads: int, precision: str, *, streams: int = 1
) -> openvino.CompiledModel:
    return core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": computed_in(precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
        },
    )


def _outputs(found: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Copies: what a request gives is overwritten by its next run."""
    return [np.array(values, np.float32 if values.dtype.kind == "f" else values.dtype) for values in found]


def _runtime() -> str:
    import openvino

    return f"OpenVINO {openvino.__version__.partition('-')[0]}"


def computed_in(precision: str, capabilities: Sequence[str]) -> str:
    """What OpenVINO is asked to compute in, on a processor with these capabilities.

    Unset, it takes bfloat16 for everything wherever the processor has it: logits of MobileOne-S0 then differ by 0.5.
    It takes bfloat16, too, where it is asked for a half precision that the processor lacks.
    """
    name, capability = {"fp16": ("f16", "FP16"), "bf16": ("bf16", "BF16")}.get(precision, ("f32", "FP32"))
    return name if capability in capabilities else "f32"


def _understood(what: Path | str, step: Callable[[], Any]) -> Any:
    try:
        return step()
    except RuntimeError as error:  # all that OpenVINO raises, and PyTorch's tracer
        raise UserError(f"{what} cannot be used as an OpenVINO model: {_reason(error)}") from error


def _reason(error: RuntimeError) -> str:
    """What was wrong: OpenVINO names places in its own source before it comes to that."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return (telling or [type(error).__name__])[0][:300]


def _shape(port: Any) -> list[int | None]:
    """Of an input; free sides, and a free number of them, are None."""
    shape = port.get_partial_shape()
    return [None] if shape.rank.is_dynamic else [side.get_length() if side.is_static else None for side in shape]


def record_within(path: Path) -> FileRecord:
    """The record in a graph's runtime information; empty if it has none. Needs no OpenVINO."""
    content = path.read_bytes()
    # Neither is in a file of OpenVINO's; both are what XML readers can be made to choke on.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise UserError(f"{path} is not an OpenVINO file: it declares entities")
    try:
        found = ElementTree.fromstring(content).find("/".join(["rt_info", *RECORD]))
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{path} is not an OpenVINO file ({error})") from error
    text = None if found is None else found.get("value")
    return {} if text is None else parse_record(text, f"the record in {path}")
