"""ONNX: written by PyTorch's exporter, run by ONNX Runtime."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import torch

from phonecv.exporting.job import Job, Written
from phonecv.exporting.onnx.graph import read_operators
from phonecv.exporting.onnx.opening import PREFIX
from phonecv.exporting.tracing import free_axes, traced
from phonecv.exporting.where.finding import found_in
from phonecv.preprocessing import RGB

#: What the axes of pictures mean, in ONNX's words.
_AXES = ("DATA_BATCH", "DATA_CHANNEL", "DATA_FEATURE", "DATA_FEATURE")


def write(job: Job, folder: Path) -> Written:
    """The graph, with the record in its metadata."""
    import onnx

    path = folder / f"{job.stem}.onnx"
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "float.onnx"
        write_graph(job, source)
        report = _in_precision(job, source, path)
    proto = onnx.load(path)
    for key, value in job.record.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        proto.metadata_props.add(key=PREFIX + key, value=text)
    describe(proto, job)
    _forget_sources(proto)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return Written(path, len(proto.graph.node), report | found_in("onnx", read_operators(path)))


def describe(proto: Any, job: Job) -> None:
    """Say what the file is in words that other programs look for, in place.

    The author, the licence and the kind of picture are named as in ONNX's own list (docs/MetadataProps.md), what the
    axes mean as in its docs/DimensionDenotation.md; classes and size as in the files of Ultralytics.
    """
    record = job.record
    proto.producer_name, proto.producer_version = "phonecv", str(record.get("version", ""))
    proto.doc_string = " ".join(str(record.get(key, "")) for key in ("model", "task", "form")).strip()
    spec = record.get("preprocessing") or {}
    pixels = record.get("input_range") == "pixels 0..255"
    said: dict[str, Any] = {"model_author": "phonecv", "task": record.get("task")}
    if record.get("licence"):
        said["model_license"] = record["licence"]
    if record.get("classes"):
        said["names"] = dict(enumerate(record["classes"]))
    if [one.kind for one in job.taken] == ["pictures"]:
        said["imgsz"] = list(job.examples[0].shape[2:])
        colours = "Rgb8" if job.taken[0].shape[0] == RGB else "Gray8"
        said |= {"Image.BitmapPixelFormat": colours, "Image.ColorSpaceGamma": "SRGB"}
        if pixels:
            said["Image.NominalPixelRange"] = "NominalRange_0_255"
        else:
            said |= {key: list(spec[key]) for key in ("mean", "std") if key in spec}
        (images,) = proto.graph.input
        images.type.denotation = "IMAGE"
        for axis, means in zip(images.type.tensor_type.shape.dim, _AXES, strict=True):
            axis.denotation = means
    for key, value in said.items():
        if value:
            proto.metadata_props.add(key=key, value=str(value))


def _forget_sources(proto: Any) -> None:
    """Take out where each operator was called in the sources: paths of this machine, and a third of a small file.

    Which layer it belongs to stays.
    """
    for node in proto.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key.endswith("name_scopes")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


def _in_precision(job: Job, source: Path, path: Path) -> dict[str, Any]:
    """Write a float32 file as `path` in the precision asked for; returns what was used."""
    if job.precision == "int8":
        from phonecv.exporting.onnx import int8 as onnx_int8

        return {"settings": onnx_int8.quantize(job, source, path)}
    if job.precision == "int8-weights":
        from phonecv.exporting.onnx import weights as onnx_weights

        return {"settings": onnx_weights.quantize(job, source, path)}
    if job.precision == "fp16":
        _halve(source, path)
    else:
        shutil.move(source, path)  # the temporary folder may be on another disk
    return {}


def _halve(source: Path, path: Path) -> None:
    """Weights and arithmetic in fp16, inputs and outputs in float32; operators that lack fp16 stay as they are."""
    import onnx

    before = list(sys.path)
    # That import puts its own folder on the path. What ONNX Runtime's quantization wants from there comes now, or an
    # int8 file written later by the same process would not find it.
    import onnxruntime.quantization  # noqa: F401
    from onnxruntime.transformers.float16 import convert_float_to_float16

    sys.path[:] = before
    proto = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    # A value that several operators in float32 read is cast for each of them, every time to the same name. The casts
    # stand at the end of the graph, but the format wants each operator after those it reads from.
    nodes = list({tuple(node.output): node for node in proto.graph.node}.values())
    made = {name: number for number, node in enumerate(nodes) for name in node.output}
    reads = {number: {made[name] for name in node.input if name in made} for number, node in enumerate(nodes)}
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[number] for number in TopologicalSorter(reads).static_order())
    onnx.save(proto, path)


def write_graph(job: Job, path: Path) -> None:
    """Trace and write, with a free batch size and, if asked for, free height and width."""
    from phonecv.exporting.onnx import opset

    # The exporter traces a module itself, in more ways than one if it has to; none of them leaves a size free here.
    given: dict[str, Any] = {"model": job.module, "args": job.examples, "dynamic_shapes": free_axes(job)}
    if job.dynamic_size:
        given = {"model": traced(job)}
    with torch.no_grad():
        torch.onnx.export(
            f=path,
            dynamo=True,
            input_names=[one.name for one in job.taken],
            output_names=list(job.outputs),
            external_data=False,  # one file; mobile networks are far below protobuf's 2 GB
            verbose=False,
            opset_version=None if job.opset is None else max(job.opset, opset.TRACED),
            **given,
        )
    if job.opset is not None:
        opset.lower_file(path, job.opset)
    if job.dynamic_size:
        _name_axes(path)


def _name_axes(path: Path) -> None:
    """Call the free axes batch, height and width, which the tracer has called s1, s2 and s3."""
    import onnx

    proto = onnx.load(path)
    axes = proto.graph.input[0].type.tensor_type.shape.dim
    names = {axes[axis].dim_param: name for axis, name in ((0, "batch"), (-2, "height"), (-1, "width"))}
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(r"\w+", lambda word: names.get(word.group(), word.group()), axis.dim_param)
    onnx.save(proto, path)
