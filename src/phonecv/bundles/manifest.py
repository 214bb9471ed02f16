"""manifest.json: what a bundle holds, with sizes and digests."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
import zlib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import Any

from phonecv._version import __version__
from phonecv.bundles.records import decoding_kind
from phonecv.data.json_file import parse_json, read_json_file
from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.files import sha256, write_json
from phonecv.rules import is_plain_name
from phonecv.text import printable, printable_name

MANIFEST = "manifest.json"

#: Bytes; one of ours has about a hundred for each file.
_LARGEST_MANIFEST = 64 << 20

#: What the manifest repeats of each file's record.
_KEYS = ("file", "format", "precision", "task", "difference", "input_size", "input_range", "outputs")


def write_manifest(folder: Path, name: str, records: Sequence[FileRecord], licence: str) -> tuple[str, ...]:
    """Write manifest.json, with records of the model files, beside all others of the bundle; returns their names."""
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256(file)}
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


def verify(bundle: Path | str) -> list[str]:
    """What of a bundle is not as its manifest says: missing, changed or added files; empty if all is well.

    Args:
        bundle: its folder, or its zip, of which nothing is unpacked.

    Raises:
        UserError: there is no manifest, or it is damaged or lists files outside the bundle.
    """
    bundle = Path(bundle)
    if not bundle.exists():
        raise UserError(f"there is no {printable(bundle)}")
    return _faults_of_zip(bundle) if bundle.is_file() else _faults_of_folder(bundle)


def _faults_of_folder(folder: Path) -> list[str]:
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{printable(folder)} holds no {MANIFEST}, so it is no bundle of phonecv")
    listed = _listed(read_json_file(path), printable(path))
    faults = []
    for name, entry in listed.items():
        file = folder / name
        if not os.path.isfile(file):  # noqa: PTH113 - a Path raises at names too long for a file
            faults.append(f"{printable_name(name)} is missing")
        elif not file.resolve().is_relative_to(folder.resolve()):
            faults.append(f"{printable_name(name)} is a link to a file outside the bundle")
        elif sha256(file) != entry["sha256"]:
            faults.append(f"{printable_name(name)} was changed")
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file() or file.is_symlink()}
    return faults + _added(there, listed)


def _faults_of_zip(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            held = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            manifests = [name for name in held if PurePosixPath(name).name == MANIFEST and name.count("/") < 2]
            if len(manifests) != 1:
                raise UserError(f"{printable(path)} holds no {MANIFEST}, so it is no bundle of phonecv")
            start, info = manifests[0].removesuffix(MANIFEST), held[manifests[0]]
            if info.file_size > _LARGEST_MANIFEST:
                raise UserError(f"{printable(path)}: a {MANIFEST} of {info.file_size / 2**20:.0f} MiB is none of ours")
            listed = _listed(parse_json(archive.read(info), printable(path / info.filename)), printable(path))
            faults = []
            for name, entry in listed.items():
                if start + name not in held:
                    faults.append(f"{printable_name(name)} is missing")
                elif not _is_same(archive, held[start + name], entry):
                    faults.append(f"{printable_name(name)} was changed")
            return faults + _added({name.removeprefix(start) for name in held}, listed)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{printable(path)} is no zip that can be read: {printable(str(error))}") from error


def _is_same(archive: zipfile.ZipFile, info: zipfile.ZipInfo, entry: Mapping[str, Any]) -> bool:
    """Whether a file in a zip is the listed one; of another size it is not unpacked."""
    if info.file_size != entry.get("bytes"):
        return False
    try:
        with archive.open(info) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == entry["sha256"]  # type: ignore[arg-type]
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):  # damaged, or behind a password
        return False


def _added(there: Set[str], listed: Mapping[str, Any]) -> list[str]:
    return [f"{printable_name(name)} was added" for name in sorted(there - set(listed) - {MANIFEST})]


def _listed(manifest: Any, path: str) -> dict[str, dict[str, Any]]:
    """Every file that a manifest lists, with its digest; all lie in the bundle."""
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        raise UserError(f"{path}: 'files' is no table of files; make the bundle again")
    for name, entry in files.items():
        if PurePosixPath(name).is_absolute() or not all(map(is_plain_name, PurePosixPath(name).parts or ("",))):
            raise UserError(f"{path}: 'files' names {printable_name(name)!r}, which is not in the bundle")
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise UserError(f"{path}: 'files' has no digest of {printable_name(name)!r}; bundle it again")
    return files
