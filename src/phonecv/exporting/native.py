"""Runtimes written in C++: files that crash them, and what they print."""

from __future__ import annotations

import contextlib
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
        name = signal.Signals(-done.returncode).name
        raise UserError(f"{path} was refused: it crashes {runtime} ({name}); export the network again")
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise UserError(f"{path} cannot be used in {runtime}: {lines[-1][:300]}")


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drop what native code writes to the standard error stream; Python's own messages of that time go too."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
