"""How the page's runtimes come: from the lock file alone, checked, and nothing that is not used."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from phonecv.browser import fetch

LOCK = json.loads((fetch.FOLDER / "package-lock.json").read_text())
PACKAGE = json.loads((fetch.FOLDER / "package.json").read_text())


def test_the_lock_names_digests_and_no_addresses() -> None:
    text = json.dumps(LOCK)
    assert "resolved" not in text
    assert "://" not in text
    packages = {name: facts for name, facts in LOCK["packages"].items() if name}
    assert all(re.fullmatch(r"sha512-[\w+/]{86}==", facts["integrity"]) for facts in packages.values())


def test_the_lock_is_that_of_the_package() -> None:
    assert LOCK["packages"][""]["dependencies"] == PACKAGE["dependencies"]
    for name, version in PACKAGE["dependencies"].items():
        assert LOCK["packages"][f"node_modules/{name}"]["version"] == version


def test_without_npm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "VENDOR", tmp_path / "vendor")
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    with pytest.raises(fetch.FetchError, match="npm is needed"):
        fetch.fetch()
    assert fetch.main() == 2
    assert not (tmp_path / "vendor").exists()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_a_failing_npm_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "VENDOR", tmp_path / "vendor")
    monkeypatch.setattr(fetch, "FOLDER", tmp_path)
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "package-lock.json").write_text("broken")
    with pytest.raises(fetch.FetchError, match="npm ci failed"):
        fetch.fetch()
    assert not (tmp_path / "vendor").exists()


@pytest.mark.skipif(not fetch.ready(), reason="the page's runtimes are not here: python3 dev.py page")
def test_what_is_there_is_what_the_table_names() -> None:
    files = {str(path.relative_to(fetch.VENDOR)) for path in fetch.VENDOR.rglob("*") if path.is_file()}
    assert files == {*fetch.PARTS.values(), "LICENSES.txt", "stamp"}
    licences = (fetch.VENDOR / "LICENSES.txt").read_text()
    for name in fetch.PACKAGES:
        assert f"{name} {LOCK['packages'][f'node_modules/{name}']['version']}" in licences
    assert fetch.fetch() == fetch.VENDOR  # at once


def test_parts_of_another_lock_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "VENDOR", tmp_path)
    for part in fetch.PARTS.values():
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).touch()
    (tmp_path / "stamp").write_text("old")
    assert not fetch.ready()
    (tmp_path / "stamp").write_text(fetch.stamp())
    assert fetch.ready()
    (tmp_path / "ort/ort.wasm.min.mjs").unlink()
    assert not fetch.ready()
