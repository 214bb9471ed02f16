"""manifest.json: what a bundle holds, with sizes and digests."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phonecv._version import __version__
from phonecv.errors import UserError
from phonecv.files import write_json

MANIFEST = "manifest.json"

#: What the manifest repeats of each file's record.
_KEYS = ("file", "format", "precision", "task", "difference", "input_size", "input_range", "outputs")


def write_manifest(folder: Path, name: str, records: Sequence[Mapping[str, Any]], licence: str) -> tuple[str, ...]:
    """Write manifest.json beside all other files.

    Args:
        folder: of the bundle.
        name: of the bundle.
        records: of the model files.
        licence: of the weights.

    Returns:
        Names of all files of the bundle.
    """
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": _digest(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    models = [
        {key: record.get(key) for key in _KEYS} | {"decoding": record.get("decoding", {}).get("kind")}
        for record in records
    ]
    manifest = {
        "bundle": name,
        "phonecv": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "licence_of_weights": licence,
        "models": models,
        "files": files,
    }
    write_json(folder / MANIFEST, manifest)
    return (*files, MANIFEST)


def check_manifest(folder: Path | str) -> list[str]:
    """What of a bundle's folder is not as its manifest says: missing, changed or added files; empty if all is well.

    Raises:
        UserError: there is no manifest.
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise UserError(f"{folder} holds no {MANIFEST}, so it is no bundle of phonecv")
    listed = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    problems = []
    for name, entry in listed.items():
        file = folder / name
        if not file.is_file():
            problems.append(f"{name} is missing")
        elif _digest(file) != entry["sha256"]:
            problems.append(f"{name} was changed")
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    return problems + [f"{name} was added" for name in sorted(there - set(listed) - {MANIFEST})]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
