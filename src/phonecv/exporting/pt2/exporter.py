"""torch.export: the graph as PyTorch itself keeps it, run by PyTorch; also the way to its compiler.

PyTorch's own loader runs code that a file holds: pickles, expressions of sizes, conditions on the inputs, names that
go into generated Python. So a file is written without any of that, and one that has more is not opened; see
`phonecv.exporting.pt2.check`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram

from phonecv.errors import UserError
from phonecv.exporting.inputs import check_taken
from phonecv.exporting.job import Job, Session, Written
from phonecv.exporting.pt2.check import RECORD, checked_record
from phonecv.exporting.record import read_record
from phonecv.exporting.tracing import traced

#: What the tracer notes of each operator: where in the sources it was called, with the paths of this machine.
_NOTES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom")


def write(job: Job, folder: Path) -> Written:
    """The graph with free batch size, the record within the archive."""
    path = folder / f"{job.stem}.pt2"
    program = _bare(traced(job))
    record = json.dumps(dict(job.record), ensure_ascii=False)
    torch.export.save(program, path, extra_files={RECORD: record})
    operators = sum(node.op == "call_function" for node in program.graph.nodes)
    return Written(path, operators)


def _bare(program: ExportedProgram) -> ExportedProgram:
    """The program without what only a debugger reads, and what a reader would have to run."""
    for node in program.graph.nodes:
        for note in _NOTES:
            node.meta.pop(note, None)
    program.example_inputs = None
    program._guards_code = []
    return program


def open_session(path: Path, *, threads: int, precision: str = "float32") -> Session:
    """A file of ours in PyTorch, which takes its own number of threads."""
    import torchvision  # noqa: F401  its operators may be in the graph, and PyTorch knows them only then

    record = checked_record(path)
    try:
        # Without conditions: they would be Python made from the names in the file.
        module = torch.export.load(path).module(check_guards=False)
    except Exception as error:  # whatever the loader's layers raise, the file is to blame
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be used as a torch.export file: {reason}") from error
    shapes = {
        node.name: [side if isinstance(side, int) else None for side in node.meta["val"].shape]
        for node in module.graph.nodes
        if node.op == "placeholder"
    }
    record = record or read_record(path)
    batch, size = check_taken(path, shapes, record)

    @torch.inference_mode()
    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        outputs = module(*map(torch.from_numpy, arrays))
        return [(output.float() if output.is_floating_point() else output).numpy() for output in outputs]

    return Session(run, f"PyTorch {torch.__version__}", batch, size, record)
