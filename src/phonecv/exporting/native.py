"""Runtimes written in C++: files that crash them, and what they print."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from phonecv.errors import UserError

#: Seconds in which a file has to open and run once; real ones take one or two.
LIMIT = 120


def try_in_child(code: str, path: Path, *arguments: str, runtime: str) -> None:
    """Let a process of its own open a file first: one that crashes the runtime must not take this process along.

    The Python `code` finds path and arguments in ``sys.argv[1:]``, and ends with a message if the file is no good.
    """
    if "PHONECV_THREADS" in os.environ:
        return  # `perform` started this process for the same reason
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    # -P: the folder in which the person works may hold a file called like one of the packages.
    command = [sys.executable, "-P", "-c", code, str(path.resolve()), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{path} was refused: {runtime} did not open and run it within {LIMIT} s") from error
    if done.returncode < 0:
        name = signal_name(done.returncode)
        raise UserError(f"{path} was refused: it crashes {runtime} ({name}); export the network again")
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        said = lines[-1].removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")
        if said != lines[-1]:
            raise UserError(said[:300])  # our own words, which name the file
        raise UserError(f"{path} cannot be used in {runtime}: {said[:300]}")


def signal_name(returncode: int) -> str:
    """What ended a process whose code is below zero."""
    try:
        return signal.Signals(-returncode).name
    except ValueError:  # one without a name here
        return str(-returncode)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drop what native code writes to the standard streams; Python's own messages of that time go too."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    try:
        with Path(os.devnull).open("wb") as nowhere:
            for stream in kept:
                os.dup2(nowhere.fileno(), stream)
        yield
    finally:
        sys.stdout.flush()
        if os.name == "posix":  # elsewhere no name stands for the C library of the process
            ctypes.CDLL(None).fflush(None)  # C keeps what it prints into a pipe, and would write it out at the end
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)
