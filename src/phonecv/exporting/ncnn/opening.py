"""Opening graphs of anyone in ncnn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.errors import UserError
from phonecv.exporting.inputs import check_sides, inputs_in, recorded_size
from phonecv.exporting.job import Session
from phonecv.exporting.native import silenced, try_in_child
from phonecv.exporting.ncnn.graph import Graph, read_graph, unknown_layers
from phonecv.exporting.record import read_record
from phonecv.preprocessing import RGB

#: Opens a file and runs it once on zeros.
_TRIAL = """
import sys
import ncnn
import numpy
param, weights, entry, channels, height, width, *outputs = sys.argv[1:]
net = ncnn.Net()
if net.load_param(param) or net.load_model(weights):
    sys.exit("ncnn could not load it")
pictures = numpy.zeros((int(channels), int(height), int(width)), numpy.float32)
extractor = net.create_extractor()
extractor.input(entry, ncnn.Mat(pictures))
for output in outputs:
    if extractor.extract(output)[0]:
        sys.exit("ncnn could not run it")
"""


def refuse_unknown(graph: Graph, name: str) -> None:
    """Stop before ncnn crashes on a graph that it cannot hold."""
    unknown = unknown_layers(graph)
    if unknown:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in Counter(layer.kind for layer in unknown).items())
        raise UserError(
            f"ncnn cannot hold {name}: its graph keeps {len(unknown)} layers that ncnn does not have: {kinds}; "
            f"the first is {unknown[0].name!r}; the other formats take it, such as ONNX or LiteRT"
        )


def weights_path(path: Path) -> Path:
    """Where the weights of a graph lie."""
    return path.with_name(f"{path.stem}.ncnn.bin")


def find_weights(path: Path) -> Path:
    """The weights of a graph of ours or another's, who call them just .bin, beside a .param or a .ncnn.param."""
    found = next((file for file in (weights_path(path), path.with_suffix(".bin")) if file.is_file()), None)
    if found is None:
        raise UserError(f"there is no {weights_path(path)}, which holds the weights of {path}; keep them together")
    return found


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """Such a file of ours or another's in ncnn."""
    import ncnn

    graph = read_graph(path)
    refuse_unknown(graph, str(path))
    weights = find_weights(path)
    record = read_record(path)
    channels = str(next((one.shape[0] for one in inputs_in(record)), RGB))
    if len(graph.inputs) != 1 or graph.inputs[0].parameters.get(2, channels) != channels:
        raise UserError(
            f"{path} takes {len(graph.inputs)} inputs; a network of ours takes one picture, {channels} x H x W"
        )
    size = graph.input_size or recorded_size(record)
    entry, results = graph.inputs[0].outputs[0], graph.results
    height, width = size or (224, 224)
    sides = (channels, str(height), str(width))
    try_in_child(_TRIAL, path, str(weights.resolve()), entry, *sides, *results, runtime="ncnn")
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
        check_sides(path, size, images)
        return [np.stack(outputs) for outputs in zip(*(one(image) for image in images), strict=True)]

    return Session(run=run, runtime=f"ncnn {ncnn.__version__}", batch=1, size=size, record=record)


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
