"""Manifests from anywhere: what they list lies in their folder, and damage is told."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from phonecv.bundles.manifest import verify
from phonecv.cli import main
from phonecv.errors import UserError


def made(folder: Path, files: Any) -> Path:
    bundle = folder / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "manifest.json").write_text(json.dumps({"bundle": "x", "files": files}))
    (bundle / "a.txt").write_text("a")
    return bundle


def entry(text: str) -> dict[str, Any]:
    return {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def test_changed_missing_and_added_files(tmp_path: Path) -> None:
    bundle = made(tmp_path, {"a.txt": entry("a"), "b/c.txt": entry("c")})
    assert verify(bundle) == ["b/c.txt is missing"]
    (bundle / "b").mkdir()
    (bundle / "b" / "c.txt").write_text("d")
    (bundle / "new\x1b[31m.txt").write_text("d")
    assert verify(bundle) == ["b/c.txt was changed", "new\\x1b[31m.txt was added"]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "b/../../secret", "..\\secret", "C:/a", "", "a/\x00"])
def test_nothing_outside_the_folder_is_looked_at(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    with pytest.raises(UserError, match="which is not in the bundle"):
        verify(made(tmp_path, {"a.txt": entry("a"), name: entry("s")}))


def test_a_link_out_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    bundle = made(tmp_path, {"a.txt": entry("a"), "link": entry("s")})
    (bundle / "link").symlink_to(tmp_path / "secret")
    assert verify(bundle) == ["link is a link to a file outside the bundle"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF|not JSON"),
        (b"[]", "'files' is no table"),
        (b'{"files": null}', "'files' is no table"),
        (b'{"files": []}', "'files' is no table"),
        (b'{"files": {"a.txt": "x"}}', "no digest of 'a.txt'"),
        (b'{"files": {"a.txt": {"sha256": 5}}}', "no digest of 'a.txt'"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_damaged_manifests(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        verify(tmp_path)


def packed(folder: Path, files: dict[str, str], listed: dict[str, Any]) -> Path:
    """A zip of `files` below "app/", with a manifest that lists `listed`."""
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(f"app/{name}", text)
        archive.writestr("app/manifest.json", json.dumps({"files": listed}))
    return folder / "app.zip"


def test_a_zip_is_looked_through_without_unpacking(tmp_path: Path) -> None:
    files = {"a.txt": "a", "b/c.txt": "c", "d.txt": "d"}
    listed = {name: entry(text) for name, text in files.items()}
    assert verify(packed(tmp_path, files, listed)) == []
    other = {"a.txt": "b", "d.txt": "d", "../e.txt": "e"}
    assert verify(packed(tmp_path, other, listed)) == [
        "a.txt was changed", "b/c.txt is missing", "../e.txt was added",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["app.zip"]


def test_damaged_zips(tmp_path: Path) -> None:
    path = packed(tmp_path, {"a.txt": "a" * 100}, {"a.txt": entry("a" * 100)})
    path.write_bytes(path.read_bytes().replace(b"a" * 100, b"b" * 100))  # its checksum is wrong now
    assert verify(path) == ["a.txt was changed"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b/manifest.json", "{}")
    with pytest.raises(UserError, match="is no bundle"):
        verify(path)
    path.write_bytes(b"PK and so on")
    with pytest.raises(UserError, match="no zip that can be read"):
        verify(path)


def test_the_verb_tells_by_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = made(tmp_path, {"a.txt": entry("a")})
    assert main(["verify", str(bundle)]) == 0
    (bundle / "a.txt").write_text("b")
    assert main(["verify", str(bundle)]) == 1
    assert capsys.readouterr().out.splitlines() == [f"{bundle}: is as it was made", f"{bundle}: a.txt was changed"]
    assert main(["verify", str(tmp_path)]) == 2


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no bundle"):
        verify(tmp_path)
