"""MNN: converted from the ONNX graph, run by MNN on the CPU."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phonecv.errors import UserError
from phonecv.exporting.inputs import check_sides, inputs_in, recorded_size
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.native import silenced, try_in_child
from phonecv.exporting.record import read_record
from phonecv.preprocessing import RGB

#: The last operator set in which GELU is said by its parts: of one that is one operator MNN computes an approximation,
#: which took EMOv2-1M 6e-4 of the largest output away from PyTorch instead of 1e-6.
_OPSET = 18

_PRECISIONS = {"float32": (), "fp16": ("--fp16",), "int8-weights": ("--weightQuantBits", "8")}

#: Opens a file and runs it once on zeros.
_TRIAL = """
import sys
import numpy
from phonecv.exporting.mnn.exporter import load, run
path, *sides = sys.argv[1:]
run(load(path, threads=1, half=False), numpy.zeros((1, *map(int, sides)), numpy.float32))
"""


def write(job: Job, folder: Path) -> Written:
    """The graph and its weights in one file, for any number of pictures of one size."""
    from phonecv.exporting.onnx.exporter import write_graph

    path = folder / f"{job.stem}.mnn"
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "graph.onnx"
        write_graph(replace(job, opset=_OPSET), source)
        exact = ("-f", "ONNX", "--modelFile", str(source), "--useGeluApproximation", "0")
        _convert(path, *exact, "--MNNModel", str(path), *_PRECISIONS[job.precision])
        # The graph as text, of a copy without weights: they would be numbers in words.
        bare, text = Path(place) / "bare.mnn", Path(place) / "bare.json"
        _convert(bare, *exact, "--MNNModel", str(bare), "--benchmarkModel")
        _convert(text, "-f", "MNN", "--modelFile", str(bare), "--JsonFile", str(text))
        counts = Counter(one["type"] for one in json.loads(text.read_text(encoding="utf-8"))["oplists"])
    del counts["Input"]
    layout = {"name": job.taken[0].name, "layout": "NCHW", "type": "float32"}
    return Written(path, counts.total(), {"inputs": [layout], "operators": dict(counts.most_common())})


def _convert(path: Path, *options: str) -> None:
    """MNN's converter, which tells success only by writing the file at `path`.

    The compiled part of it, not `MNN.tools`: that installs a package with pip and reports to a server when imported.
    """
    with silenced():
        import _tools

        _tools.mnnconvert(["MNNConvert", *options, "--bizCode", "phonecv"])
    if not path.is_file():
        raise RuntimeError(f"MNN's converter wrote no {path.name}")


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """Such a file of ours or another's in MNN."""
    from importlib.metadata import version

    record = read_record(path)
    size = recorded_size(record)
    height, width = size or (224, 224)
    channels = next((one.shape[0] for one in inputs_in(record)), RGB)
    try_in_child(_TRIAL, path, str(channels), str(height), str(width), runtime="MNN")
    module = load(path, threads=threads, half=precision == "fp16", outputs=record.get("outputs", ()))

    def run_on(images: np.ndarray) -> list[np.ndarray]:
        check_sides(path, size, images)
        return run(module, images)

    return Session(run=run_on, runtime=f"MNN {version('mnn')}", size=size, record=record)


def load(path: Path | str, *, threads: int, half: bool, outputs: Sequence[str] = ()) -> Any:
    """The network in MNN, on the CPU, with its outputs in this order or its own.

    Raises:
        UserError: not an MNN file, or not one of one input.
    """
    # "low" lets it compute in half precision where the processor can, "high" never.
    settings = {"backend": 0, "precision": "low" if half else "high", "numThread": threads}
    with silenced():  # MNN prints what the processor can as soon as it is imported
        from MNN import nn

        manager = nn.create_runtime_manager((settings,))
        try:
            module = nn.load_module_from_file(str(path), [], list(outputs), runtime_manager=manager)
        except (RuntimeError, SystemError) as error:
            raise UserError(f"{path} is not an MNN file, or damaged; export the network again") from error
    given = module.get_info()["inputNames"]
    if len(given) != 1:
        raise UserError(f"{path} takes {len(given)} inputs; a network of ours takes one batch of pictures")
    return module


def run(module: Any, images: np.ndarray) -> list[np.ndarray]:
    """The outputs for pictures ``N C H W`` float32."""
    from MNN import expr

    given = expr.const(np.ascontiguousarray(images, np.float32), list(images.shape), expr.NCHW)
    found = []
    for value in module.onForward([given]):
        if value.data_format == expr.NC4HW4:
            value = expr.convert(value, expr.NCHW)
        found.append(np.array(value.read()).reshape(value.shape))
    return found
