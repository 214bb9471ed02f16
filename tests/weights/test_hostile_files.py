"""Every hostile file gets a message of one line, in seconds and without much memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from weights import hostile_files

#: Read without complaint: the weights are no network's, and nothing else is wrong.
FINE = ("tensors, ", "header, classes")


def test_hostile_files_under_limits(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("limits of a process are Linux's")
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, str(tests / "weights" / "hostile_files.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=None, cwd=tests)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{rows[-1]} ended the process: {done.stderr[-500:]}"
    results = [row for row in rows if len(row) == 3]
    assert len(results) == len(list(tmp_path.iterdir())) > 130
    for name, seconds, (described, loaded) in results:
        assert "!!" not in described + loaded, (name, described, loaded)
        assert seconds < hostile_files.SECONDS, name
        if not name.startswith(FINE):
            assert described, name
            assert loaded, name
        for message in (described, loaded):
            assert len(message) < 1500, name
            assert message.isprintable() or "\n  missing" in message, (name, message)


def test_the_tuple_of_the_files_is_huge_indeed() -> None:
    import pickle

    value = pickle.loads(hostile_files.p2(hostile_files.nested(14)))
    assert len(repr(value)) > 2**14
