"""Manifests from anywhere: what they list lies in their folder, and damage is told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from phonecv.bundles.manifest import check_manifest
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
    assert check_manifest(bundle) == ["b/c.txt is missing"]
    (bundle / "b").mkdir()
    (bundle / "b" / "c.txt").write_text("d")
    (bundle / "new\x1b[31m.txt").write_text("d")
    assert check_manifest(bundle) == ["b/c.txt was changed", "new\\x1b[31m.txt was added"]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "b/../../secret", "..\\secret", "C:/a", "", "a/\x00"])
def test_nothing_outside_the_folder_is_looked_at(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    with pytest.raises(UserError, match="which is not in the bundle"):
        check_manifest(made(tmp_path, {"a.txt": entry("a"), name: entry("s")}))


def test_a_link_out_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    bundle = made(tmp_path, {"a.txt": entry("a"), "link": entry("s")})
    (bundle / "link").symlink_to(tmp_path / "secret")
    assert check_manifest(bundle) == ["link is a link to a file outside the bundle"]


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
        check_manifest(tmp_path)


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no bundle"):
        check_manifest(tmp_path)
