"""ONNX Runtime's own format: the ONNX file, optimised and written anew by its converter, run by ONNX Runtime.

Beside the file lies the list of operators and types that it needs, from which a reduced build is made (``build.sh
--include_ops_by_config``), a fraction of the whole runtime's size. Operators are fused for phones' processors, so that
nothing is left for the app to do at its start; what hands parts to other accelerators wants the ONNX file.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.flatbuffer import Table, reading
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.native import try_in_child
from phonecv.exporting.onnx.opening import record_in, session_of, start_session
from phonecv.exporting.record import read_record

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
    counts = Counter(node.text(_KIND) for node in _table(path, _MODEL, _GRAPH).tables(_NODES, _MOST_OPERATORS))
    report = {key: source.report[key] for key in ("inputs", "settings") if key in source.report}
    return Written(path, counts.total(), report | {"operators": dict(counts.most_common())})


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """Such a file of ours or another's in ONNX Runtime."""
    record = record_within(path) or read_record(path)
    try_in_child(_TRIAL, path, runtime="ONNX Runtime")
    return session_of(start_session(path, threads), path, record)


def record_within(path: Path) -> FileRecord:
    """The record in a file; empty if it has none."""
    with reading(path, "metadata"):
        entries = _table(path, _MODEL).tables(_METADATA, _MOST_METADATA)
        return record_in({one.text(_KEY): one.text(_VALUE) for one in entries}, path)


def _table(path: Path, *fields: int) -> Table:
    """The table that lies behind these fields, one within the other."""
    content = path.read_bytes()
    if len(content) < 16 or content[4:8] != b"ORTM":
        raise UserError(f"{path} is not a file of ONNX Runtime's own format: it does not start as one")
    found = Table.root(content)
    for field in fields:
        inner = found.table(field)
        if inner is None:
            raise ValueError(f"a table has no field {field}")
        found = inner
    return found
