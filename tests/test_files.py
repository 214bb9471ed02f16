"""Files appear whole, readable, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phonecv.files import atomic_path, write_json, write_text


def test_a_file_appears_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "made" / "result.txt"

    def write_and_fail(text: str) -> None:
        with atomic_path(target) as path:
            path.write_text(text)
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_and_fail("half")
    assert list(target.parent.iterdir()) == []

    write_text(target, "first")
    with pytest.raises(RuntimeError, match="half way"):
        write_and_fail("second")
    assert target.read_text() == "first"
    write_json(target, {"größe": 1})
    assert target.read_text(encoding="utf-8") == '{\n  "größe": 1\n}\n'


@pytest.mark.skipif(os.name == "nt", reason="no file modes there")
def test_results_are_readable_whatever_the_writer_does(tmp_path: Path) -> None:
    target = tmp_path / "weights.safetensors"
    with atomic_path(target) as path:
        assert path.suffix == target.suffix
        path.unlink()
        path.write_bytes(b"replaced by its writer")
        path.chmod(0o600)
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
