"""OpenVINO: converted from the ONNX graph, run by OpenVINO on the CPU."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord, parse_record
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.record import read_record

if TYPE_CHECKING:
    import openvino

#: Where the record lies in the model's runtime information.
RECORD = ["phonecv", "record"]


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
        write_graph(job.module, job.example, source, list(job.outputs), dynamic_size=job.dynamic_size)
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
        from phonecv.exporting.openvino import weights as openvino_weights

        model, used = openvino_weights.quantize(job, model)
        return model, {"settings": used}
    return model, {}


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """An OpenVINO file of ours or another's.

    Args:
        path: the .xml file; its weights lie beside it under the same name with .bin.
        threads: that it computes with.
        precision: "fp16" lets it compute in half precision where the processor can; everything else, the parts of an
            int8 file that stay float too, is float32.

    Raises:
        UserError: not an OpenVINO file, its weights are missing or too few, or it takes no RGB pictures.
    """
    import openvino

    core = openvino.Core()
    model = _understood(path, lambda: core.read_model(path))
    if len(model.inputs) != 1 or not _takes_pictures(model.input(0)):
        wanted = ", ".join(
            f"{port.get_partial_shape()} {port.get_element_type().get_type_name()}" for port in model.inputs
        )
        raise UserError(f"{path} takes {wanted or 'nothing'}; a network of ours takes float32 pictures, B x 3 x H x W")
    used = computed_in(precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    compiled = _understood(
        path,
        lambda: core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": used,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
            },
        ),
    )
    batch, _, height, width = (side.get_length() if side.is_static else None for side in model.input(0).partial_shape)

    def run(images: np.ndarray) -> list[np.ndarray]:
        results = compiled(np.ascontiguousarray(images))
        found = (results[port] for port in compiled.outputs)
        return [values.astype(np.float32) if values.dtype.kind == "f" else values for values in found]

    return Session(
        run=run,
        runtime=f"OpenVINO {openvino.__version__.partition('-')[0]}",
        batch=batch,
        size=(height, width) if height and width else None,
        record=record_within(path) or read_record(path),
    )


def computed_in(precision: str, capabilities: Sequence[str]) -> str:
    """What OpenVINO is asked to compute in, on a processor with these capabilities.

    Unset, it takes bfloat16 for everything wherever the processor has it: logits of MobileOne-S0 then differ by 0.5.
    It takes bfloat16, too, where it is asked for a half precision that the processor lacks.
    """
    return "f16" if precision == "fp16" and "FP16" in capabilities else "f32"


def _understood(path: Path, step: Callable[[], Any]) -> Any:
    try:
        return step()
    except RuntimeError as error:  # all that OpenVINO raises
        raise UserError(f"{path} cannot be used as an OpenVINO model: {_reason(error)}") from error


def _reason(error: RuntimeError) -> str:
    """What was wrong: OpenVINO names places in its own source before it comes to that."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return (telling or [type(error).__name__])[0][:300]


def _takes_pictures(port: Any) -> bool:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != 4 or port.get_element_type().get_type_name() != "f32":
        return False
    return shape[1].is_static and shape[1].get_length() == 3


def record_within(path: Path) -> FileRecord:
    """The record in a graph's runtime information; empty if it has none. Needs no OpenVINO.

    Raises:
        UserError: not an OpenVINO file, or a damaged record.
    """
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
