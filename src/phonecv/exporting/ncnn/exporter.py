"""ncnn: written by its converter pnnx from a traced graph, run by ncnn, one picture at a time.

A ``.param`` file is the graph as text, a ``.ncnn.bin`` file beside it the weights. (pnnx itself says ``.ncnn.bin`` too;
a plain ``.bin`` would be that of an OpenVINO file of the same name.)
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.four_axes import with_four_axes
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.native import silenced, try_in_child
from phonecv.exporting.ncnn.graph import Graph, operators_of, read_graph, unknown_layers
from phonecv.exporting.record import read_record
from phonecv.exporting.where.finding import found_in

#: Opens a file and runs it once on zeros.
_TRIAL = """
import sys
import ncnn
import numpy
param, weights, entry, height, width, *outputs = sys.argv[1:]
net = ncnn.Net()
if net.load_param(param) or net.load_model(weights):
    sys.exit("ncnn could not load it")
pictures = numpy.zeros((3, int(height), int(width)), numpy.float32)
extractor = net.create_extractor()
extractor.input(entry, ncnn.Mat(pictures))
for output in outputs:
    if extractor.extract(output)[0]:
        sys.exit("ncnn could not run it")
"""


def write(job: Job, folder: Path) -> Written:
    """Graph and weights, for one picture of one size."""
    import pnnx

    (example,) = job.row
    height, width = example.shape[2:]
    scratch = folder / "pnnx"
    scratch.mkdir()
    with torch.no_grad():
        traced = torch.jit.trace(with_four_axes(job.module, example), example, check_trace=False)
    torch.jit.save(traced, scratch / "graph.pt")
    half = int(job.precision == "fp16")
    command = [pnnx.EXEC_PATH, "graph.pt", f"inputshape=[1,3,{height},{width}]f32", f"fp16={half}"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, errors="replace", check=False)
    print(done.stdout, done.stderr)  # for the log
    param, weights = scratch / "graph.ncnn.param", scratch / "graph.ncnn.bin"
    if done.returncode or not param.is_file() or not weights.is_file():
        raise RuntimeError(f"pnnx ended with status {done.returncode} and wrote no graph")
    graph = read_graph(param)
    refuse_unknown(graph, str(job.record.get("model") or job.stem))
    path = folder / f"{job.stem}.param"
    path.write_text(with_input_size(param.read_text(encoding="utf-8"), height, width), encoding="utf-8")
    weights.replace(weights_path(path))
    shutil.rmtree(scratch)
    return Written(path, len(graph.layers), report(graph, job))


def refuse_unknown(graph: Graph, name: str) -> None:
    """Stop before ncnn crashes on a graph that it cannot hold."""
    unknown = unknown_layers(graph)
    if unknown:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in Counter(layer.kind for layer in unknown).items())
        raise UserError(
            f"ncnn cannot hold {name}: its graph keeps {len(unknown)} layers that ncnn does not have: {kinds}; "
            f"the first is {unknown[0].name!r}; the other formats take it, such as ONNX or LiteRT"
        )


def with_input_size(text: str, height: int, width: int) -> str:
    """The graph with the size of its input in the line of the input, where ncnn's own tools put it."""
    return re.sub(r"^(Input\s+\S+\s+0 1 \S+)[^\n]*", rf"\1 0={width} 1={height} 2=3", text, flags=re.MULTILINE)


def report(graph: Graph, job: Job) -> dict[str, Any]:
    """Layers by kind, those that stay off the GPU, and the names of input and outputs."""
    return {
        "inputs": [{"name": graph.inputs[0].outputs[0], "layout": "CHW", "type": "float32"}],
        "outputs": dict(zip(job.outputs, graph.results, strict=True)),
        **found_in("ncnn", operators_of(graph)),
    }


def weights_path(path: Path) -> Path:
    """Where the weights of a graph lie."""
    return path.with_name(f"{path.stem}.ncnn.bin")


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """Such a file of ours or another's in ncnn."""
    import ncnn

    graph = read_graph(path)
    refuse_unknown(graph, str(path))
    # Others call the weights just .bin, beside a .param or a .ncnn.param.
    weights = next((file for file in (weights_path(path), path.with_suffix(".bin")) if file.is_file()), None)
    if weights is None:
        raise UserError(f"there is no {weights_path(path)}, which holds the weights of {path}; keep them together")
    if len(graph.inputs) != 1 or graph.inputs[0].parameters.get(2, "3") != "3":
        raise UserError(f"{path} takes {len(graph.inputs)} inputs; a network of ours takes one RGB picture, 3 x H x W")
    record = read_record(path)
    size = graph.input_size or _recorded_size(record)
    entry, results = graph.inputs[0].outputs[0], graph.results
    height, width = size or (224, 224)
    try_in_child(_TRIAL, path, str(weights.resolve()), entry, str(height), str(width), *results, runtime="ncnn")
    net = load(path, weights, threads=threads, half=precision == "fp16")

    def one(image: np.ndarray) -> list[np.ndarray]:
        extractor = net.create_extractor()
        # A Mat made from an array reads the array's memory later on, so both live until the outputs are copied.
        array = np.ascontiguousarray(image, np.float32)
        picture = ncnn.Mat(array)
        extractor.input(entry, picture)
        outputs = []
        for name in results:
            status, value = extractor.extract(name)
            if status:
                raise RuntimeError(f"ncnn could not compute {name} of {path} (status {status})")
            outputs.append(np.array(value))
        return outputs

    def run(images: np.ndarray) -> list[np.ndarray]:
        if size is not None and images.shape[2:] != size:
            raise UserError(f"{path} takes {size[0]} x {size[1]} pixels, not {images.shape[2]} x {images.shape[3]}")
        return [np.stack(outputs) for outputs in zip(*(one(image) for image in images), strict=True)]

    return Session(run=run, runtime=f"ncnn {ncnn.__version__}", batch=1, size=size, record=record)


def _recorded_size(record: FileRecord) -> tuple[int, int] | None:
    sides = record.get("input_size")
    return (int(sides[0]), int(sides[1])) if sides else None


def load(path: Path, weights: Path, *, threads: int, half: bool) -> Any:
    """The network in ncnn, on the CPU."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, option, half)
    for option in ("use_bf16_packed", "use_bf16_storage"):
        setattr(net.opt, option, False)
    with silenced():
        failed = net.load_param(str(path)) or net.load_model(str(weights))
    if failed:
        raise UserError(f"{path} cannot be used in ncnn: graph and weights do not fit; export the network again")
    return net
