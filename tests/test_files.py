"""Files appear whole, readable, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from phonecv.errors import UserError
from phonecv.files import NoRoom, atomic_path, check_writable, left_behind, scratch_folder, write_json, write_text


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


def test_errors_name_the_target_and_not_what_is_written_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    target = tmp_path / "file" / "result.json"
    with pytest.raises(UserError, match=r"result\.json cannot be written: .*file is not a folder"):
        check_writable(target)
    for opened in (atomic_path, scratch_folder):
        with pytest.raises(OSError, match="file") as caught, opened(target):
            pass
        assert "." not in Path(str(caught.value.filename)).name.removesuffix(".json")
    with pytest.raises(IsADirectoryError) as caught, atomic_path(tmp_path / "x.txt") as path:
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    assert caught.value.filename == str(tmp_path / "x.txt")
    with pytest.raises(FileNotFoundError) as missing, scratch_folder(tmp_path / "made" / "y.onnx") as folder:
        (folder / "absent" / "y").write_text("x")
    assert missing.value.filename == str(tmp_path / "made" / "y.onnx")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "made"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=f"no permission to write to {tmp_path}$"):
        check_writable(tmp_path / "new" / "deep" / "x.onnx")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_want_of_room_says_how_much_is_needed(number: int, tmp_path: Path) -> None:
    target = tmp_path / "state.pt"
    with pytest.raises(NoRoom) as caught, atomic_path(target, needs=3 << 20):
        raise OSError(number, os.strerror(number))
    words = f"{target} could not be written: {os.strerror(number).lower()}; it needs about 3.0 MiB, "
    assert str(caught.value).startswith(words)
    assert not list(tmp_path.iterdir())


def test_files_of_living_processes_are_not_left_behind(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "state.pt"):
        assert left_behind(tmp_path, ["state"]) == []
    (tmp_path / ".state-abc_1234.pt").touch()
    (tmp_path / ".stated-abc_1234.pt").touch()
    assert left_behind(tmp_path, ["state"]) == [tmp_path / ".state-abc_1234.pt"]
