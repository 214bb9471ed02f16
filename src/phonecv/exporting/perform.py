"""Writing a file and running it: here, or in a process of its own whose noise and crashes stay there.

``python -m phonecv.exporting.perform FOLDER`` is that process; it does what `perform` left in the folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch

from phonecv.errors import UserError
from phonecv.exporting.formats import Exporter
from phonecv.exporting.inputs import Arrays
from phonecv.exporting.job import Job, Written
from phonecv.exporting.native import signal_name
from phonecv.exporting.record import record_path
from phonecv.files import write_json
from phonecv.task import TASKS

#: Loggers of toolkits that write to the screen.
_LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "torch._dynamo", "onnxscript", "onnx_ir", "nncf")


@dataclass(frozen=True, slots=True)
class Performed:
    """A file that was written, and what it gave.

    Attributes:
        written: the file.
        outputs: per batch of inputs, the file's outputs.
        runtime: what ran it; empty if nothing did.
    """

    written: Written
    outputs: list[list[np.ndarray]]
    runtime: str


class ExportFailed(UserError):
    """A toolkit failed; `log` has all that it said."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


def perform(exporter: Exporter, job: Job, folder: Path, inputs: Sequence[Arrays]) -> Performed:
    """Write the file into an empty folder, open it in its runtime, and run it on the inputs, if any.

    Raises:
        ExportFailed: the toolkit or the runtime failed or crashed.
        UserError: what the format's own code refuses.
    """
    if exporter.isolated:
        return _in_process_of_its_own(exporter, job, folder, inputs)
    with captured() as log:
        try:
            written, outputs, runtime = _perform(exporter.function, exporter.session, job, folder, inputs)
        except UserError:
            raise
        except Exception as error:  # whatever a toolkit's many layers raise is its failure
            text = log.getvalue() + "".join(traceback.format_exception(error))
            raise ExportFailed(f"{exporter.title} export of {job.stem} failed: {reason(error)}", text) from error
    return Performed(written, outputs, runtime)


def _perform(
    function: str, session_function: str, job: Job, folder: Path, inputs: Sequence[Arrays]
) -> tuple[Written, list[list[np.ndarray]], str]:
    written: Written = resolve_name(function)(job, folder)
    # Some formats hold no record, and what a file takes stands there.
    write_json(record_path(written.path), dict(job.record))
    if not inputs:
        return written, [], ""
    if (folder.parent / "job.pt").is_file():  # tell the parent process that what fails from here on is the runtime
        write_json(folder.parent / "written.json", {"operators": written.operators})
    session = resolve_name(session_function)(written.path, threads=torch.get_num_threads(), precision=job.precision)
    if job.dynamic_batch and session.batch is not None:
        raise UserError(
            f"{job.stem} was traced for {session.batch} rows at once alone, though this format leaves them free"
        )
    return written, [session(*batch) for batch in inputs], session.runtime


def _in_process_of_its_own(exporter: Exporter, job: Job, folder: Path, inputs: Sequence[Arrays]) -> Performed:
    place = folder.parent
    try:
        torch.save((exporter.function, exporter.session, job, inputs, TASKS), place / "job.pt")
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        # A class made inside a function, a lambda: another process could not find it again.
        raise UserError(
            f"{job.stem} cannot be passed to the process that writes {exporter.title}: {reason(error)}; "
            "define the network's classes at the top of a module"
        ) from error
    # Modules that the pickled network needs lie where this process found them; an empty entry is the folder it is in.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    environment["PHONECV_THREADS"] = str(torch.get_num_threads())
    log_path = place / "log.txt"
    command = [sys.executable, "-m", "phonecv.exporting.perform", str(folder)]
    with log_path.open("wb") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    text = log_path.read_text(encoding="utf-8", errors="replace")
    result = place / "result.pt"
    if done.returncode or not result.is_file():
        what = "running the file" if (place / "written.json").is_file() else "writing it"
        how = f"signal {signal_name(done.returncode)}" if done.returncode < 0 else f"status {done.returncode}"
        raise ExportFailed(f"{exporter.title} ended with {how} while {what} ({job.stem})", text)
    # Written a moment ago by the process that this one started, as what that one reads.
    outcome, found = torch.load(result, weights_only=False)
    if outcome == "refused":
        raise UserError(found)
    if outcome == "failed":
        raise ExportFailed(f"{exporter.title} export of {job.stem} failed: {found}", text)
    return Performed(*found)


def main(folder: Path) -> None:
    """Do the job beside `folder`; a failure is a result too."""
    place = folder.parent
    torch.set_num_threads(int(os.environ["PHONECV_THREADS"]))
    function, session, job, inputs, tasks = torch.load(place / "job.pt", weights_only=False)
    TASKS.update(tasks)  # rows that were added at run time
    result: tuple[str, Any]
    try:
        result = "done", _perform(function, session, job, folder, inputs)
    except UserError as error:
        result = "refused", str(error)
    except Exception as error:  # whatever a toolkit's many layers raise is its failure
        traceback.print_exc()
        result = "failed", reason(error)
    torch.save(result, place / "result.pt")


def reason(error: BaseException) -> str:
    """The first line of an error's message, or its kind; of the error it came from, where a toolkit wraps its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def captured() -> Iterator[StringIO]:
    """Collect what is printed, warned and logged inside, instead of showing it."""
    log = StringIO()
    handler: logging.Handler = logging.StreamHandler(log)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.propagate, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.propagate, logger.handlers = False, [handler]
    try:
        with (
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            try:
                yield log
            finally:
                log.write("".join(f"{item.category.__name__}: {item.message}\n" for item in caught))
    finally:
        for logger, (propagate, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Some runtimes crash while Python takes them down; everything is written by now.
    os._exit(0)
