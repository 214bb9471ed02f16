"""ncnn: written by its converter pnnx from a traced graph, run by ncnn, one picture at a time.

A ``.param`` file is the graph as text, a ``.ncnn.bin`` file beside it the weights. (pnnx itself says ``.ncnn.bin`` too;
a plain ``.bin`` would be that of an OpenVINO file of the same name.)
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

from phonecv.exporting.four_axes import with_four_axes
from phonecv.exporting.job import Job, Written
from phonecv.exporting.ncnn.graph import Graph, operators_of, read_graph
from phonecv.exporting.ncnn.opening import refuse_unknown, weights_path
from phonecv.exporting.where.finding import found_in


def write(job: Job, folder: Path) -> Written:
    """Graph and weights, for one picture of one size."""
    import pnnx

    (example,) = job.row
    channels, height, width = example.shape[1:]
    scratch = folder / "pnnx"
    scratch.mkdir()
    with torch.no_grad():
        traced = torch.jit.trace(with_four_axes(job.module, example), example, check_trace=False)
    torch.jit.save(traced, scratch / "graph.pt")
    half = int(job.precision == "fp16")
    command = [pnnx.EXEC_PATH, "graph.pt", f"inputshape=[1,{channels},{height},{width}]f32", f"fp16={half}"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, errors="replace", check=False)
    print(done.stdout, done.stderr)  # for the log
    param, weights = scratch / "graph.ncnn.param", scratch / "graph.ncnn.bin"
    if done.returncode or not param.is_file() or not weights.is_file():
        raise RuntimeError(f"pnnx ended with status {done.returncode} and wrote no graph")
    graph = read_graph(param)
    refuse_unknown(graph, str(job.record.get("model") or job.stem))
    path = folder / f"{job.stem}.param"
    path.write_text(with_input_size(param.read_text(encoding="utf-8"), channels, height, width), encoding="utf-8")
    weights.replace(weights_path(path))
    shutil.rmtree(scratch)
    settings = {}
    if job.precision == "int8":
        from phonecv.exporting.ncnn.int8 import quantize

        settings = {"settings": quantize(job, path)}
    return Written(path, len(graph.layers), report(graph, job) | settings)


def with_input_size(text: str, channels: int, height: int, width: int) -> str:
    """The graph with the size of its input in the line of the input, where ncnn's own tools put it."""
    return re.sub(r"^(Input\s+\S+\s+0 1 \S+)[^\n]*", rf"\1 0={width} 1={height} 2={channels}", text, flags=re.MULTILINE)


def report(graph: Graph, job: Job) -> dict[str, Any]:
    """Layers by kind, those that stay off the GPU, and the names of input and outputs."""
    return {
        "inputs": [{"name": graph.inputs[0].outputs[0], "layout": "CHW", "type": "float32"}],
        "outputs": dict(zip(job.outputs, graph.results, strict=True)),
        **found_in("ncnn", operators_of(graph)),
    }
