"""ONNX Runtime's own format: the ONNX file, optimised and written anew by its converter, run by ONNX Runtime.

Beside the file lies the list of operators and types that it needs, from which a reduced build is made (``build.sh
--include_ops_by_config``), a fraction of the whole runtime's size. Operators are fused for phones' processors, so that
nothing is left for the app to do at its start; what hands parts to other accelerators wants the ONNX file.
"""

from __future__ import annotations

import struct
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.flatbuffer import Table
from phonecv.exporting.inputs import check_taken
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.native import try_in_child
from phonecv.exporting.record import read_record

#: Behind the stem of a file: what a build has to hold to run it.
OPERATORS = ".required_operators_and_types.config"
#: Entries of metadata and operators that are looked at; a damaged file may speak of billions.
_MOST_METADATA, _MOST_OPERATORS = 256, 1 << 20
#: Fields of the tables InferenceSession, Model, Graph, Node and StringStringEntry.
_MODEL, _GRAPH, _METADATA, _NODES, _KIND, _KEY, _VALUE = 1, 7, 9, 2, 5, 0, 1

#: Opens a file.
_TRIAL = """
import sys
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
"""


def write(job: Job, folder: Path) -> Written:
    """The file, with the record in its metadata, and its list of operators."""
    from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

    from phonecv.exporting.onnx.exporter import write as write_onnx

    with tempfile.TemporaryDirectory() as place:
        source = write_onnx(job, Path(place))
        convert_onnx_models_to_ort(
            source.path, folder, [OptimizationStyle.Fixed], target_platform="arm", enable_type_reduction=True
        )
    path = folder / f"{job.stem}.ort"
    counts = Counter(node.text(_KIND) for node in _graph(path).tables(_NODES, _MOST_OPERATORS))
    report = {key: source.report[key] for key in ("inputs", "settings") if key in source.report}
    return Written(path, counts.total(), report | {"operators": dict(counts.most_common())})


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """Such a file of ours or another's in ONNX Runtime."""
    import onnxruntime

    from phonecv.exporting.onnx.opening import start_session

    record = record_within(path) or read_record(path)
    try_in_child(_TRIAL, path, runtime="ONNX Runtime")
    session = start_session(path, threads)
    shapes = {one.name: [side if isinstance(side, int) else None for side in one.shape] for one in session.get_inputs()}
    batch, size = check_taken(path, shapes, record)

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        return session.run(None, dict(zip(shapes, arrays, strict=True)))

    return Session(run, f"ONNX Runtime {onnxruntime.__version__}", batch, size, record)


def record_within(path: Path) -> FileRecord:
    """The record in a file; empty if it has none."""
    from phonecv.exporting.onnx.opening import record_in

    try:
        entries = _model(path).tables(_METADATA, _MOST_METADATA)
        return record_in({one.text(_KEY): one.text(_VALUE) for one in entries}, path)
    except (struct.error, ValueError) as error:
        raise UserError(f"{path} is damaged: its metadata cannot be read ({type(error).__name__})") from error


def _model(path: Path) -> Table:
    content = path.read_bytes()
    if len(content) < 16 or content[4:8] != b"ORTM":
        raise UserError(f"{path} is not a file of ONNX Runtime's own format: it does not start as one")
    found = Table.root(content).table(_MODEL)
    if found is None:
        raise ValueError("there is no model")
    return found


def _graph(path: Path) -> Table:
    found = _model(path).table(_GRAPH)
    if found is None:
        raise ValueError("there is no graph")
    return found
