"""manifest.json: what a bundle holds, with sizes and digests."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from phonecv._version import __version__
from phonecv.bundles.records import decoding_kind
from phonecv.data.json_file import read_json_file
from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.files import write_json
from phonecv.rules import is_plain_name
from phonecv.text import printable, printable_name

MANIFEST = "manifest.json"

#: What the manifest repeats of each file's record.
_KEYS = ("file", "format", "precision", "task", "difference", "input_size", "input_range", "outputs")


def write_manifest(folder: Path, name: str, records: Sequence[FileRecord], licence: str) -> tuple[str, ...]:
    """Write manifest.json, with records of the model files, beside all others of the bundle; returns their names."""
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": _digest(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    models = [
        {key: record.get(key) for key in _KEYS} | {"decoding": decoding_kind(record) or None} for record in records
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
        UserError: there is no manifest, or it is damaged or lists files outside the folder.
    """
    folder = Path(folder)
    listed = _listed(folder)
    problems = []
    for name, digest in listed.items():
        file = folder / name
        if not os.path.isfile(file):  # noqa: PTH113 - a Path raises at names too long for a file
            problems.append(f"{printable_name(name)} is missing")
        elif not file.resolve().is_relative_to(folder.resolve()):
            problems.append(f"{printable_name(name)} is a link to a file outside the bundle")
        elif _digest(file) != digest:
            problems.append(f"{printable_name(name)} was changed")
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file() or file.is_symlink()}
    return problems + [f"{printable_name(name)} was added" for name in sorted(there - set(listed) - {MANIFEST})]


def _listed(folder: Path) -> dict[str, str]:
    """Name and digest of every file that the manifest lists; all lie in the folder."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{printable(folder)} holds no {MANIFEST}, so it is no bundle of phonecv")
    manifest = read_json_file(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        raise UserError(f"{printable(path)}: 'files' is no table of files; make the bundle again")
    for name, entry in files.items():
        if PurePosixPath(name).is_absolute() or not all(map(is_plain_name, PurePosixPath(name).parts or ("",))):
            raise UserError(f"{printable(path)}: 'files' names {printable_name(name)!r}, which is not in the bundle")
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise UserError(f"{printable(path)}: 'files' has no digest of {printable_name(name)!r}; bundle it again")
    return {name: entry["sha256"] for name, entry in files.items()}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
