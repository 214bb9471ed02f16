"""`bundle`: all that an app needs of a model, in one folder or zip."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonecv._version import __version__
from phonecv.bundle.page import bundle_page
from phonecv.bundle.readers import reader_files
from phonecv.catalog import MODELS
from phonecv.class_mapping import display_names
from phonecv.errors import UserError
from phonecv.export import EXPORTERS, ExportResult, export, exporter_for, get_exporter, record_path
from phonecv.export.record import read_record
from phonecv.files import write_json, write_text
from phonecv.preprocessing import Preprocessing

if TYPE_CHECKING:
    from phonecv.dense import DenseModel
    from phonecv.models import VisionModel

#: What a bundle says of weights whose licence nobody named.
UNKNOWN_LICENCE = "not stated; say it with --licence before you pass the bundle on"


@dataclass(frozen=True, slots=True)
class BundleResult:
    """What was put together.

    Attributes:
        path: the folder, or the zip.
        files: of the bundle, relative to it.
        exported: records of the model files.
        licence: of the weights, as the bundle states it.
        bytes: of everything.
        seconds: everything, checks included.
    """

    path: Path
    files: tuple[str, ...]
    exported: tuple[dict[str, Any], ...]
    licence: str
    bytes: int
    seconds: float


def bundle(
    model: VisionModel | DenseModel | Path | str,
    destination: Path | str,
    *,
    formats: Sequence[str] = ("onnx",),
    precision: str = "float32",
    include: Sequence[Path | str] = (),
    name: str | None = None,
    licence: str | None = None,
    images: Path | str | None = None,
    force: bool = False,
    **options: Any,
) -> BundleResult:
    """Export to several formats, check each, and put the files with all that an app needs into one place.

    The bundle holds the model files with their records, labels, a test picture with the expected outputs, readers in
    four languages (classifiers), a page that opens offline, the licence of the weights, and a manifest with digests.
    It appears whole or not at all.

    Args:
        model: a network, a checkpoint, or a catalog name with public weights.
        destination: a folder, or a name that ends in .zip.
        formats: to export to; none, to bundle `include` alone.
        precision: of the exported files.
        include: exported files to take as they are, for example those of `phonecv quantize`; their records come along.
        name: of the files; None for the model's own.
        licence: of the weights, a text or the path of a text file; None takes what the catalog knows.
        images: pictures to compare on, see `phonecv.export`.
        force: replace the destination.
        **options: more of `phonecv.export.export`, such as ``size``, ``bake``, ``decode``, ``max_diff``.

    Raises:
        UserError: the destination exists, a format or file is unknown, or an export failed.
    """
    start = time.perf_counter()
    path = Path(destination)
    if path.exists() and not force:
        raise UserError(f"{str(path)!r} exists already; --force replaces it")
    exporters = [get_exporter(format) for format in dict.fromkeys(formats)]
    for exporter in exporters:
        exporter.require()
    taken = [_checked(Path(file)) for file in include]
    if not exporters and not taken:
        raise UserError(f"a bundle needs at least one model file: formats (known: {', '.join(EXPORTERS)}) or files")
    from phonecv.create import load_network

    network = load_network(model, dense=True)
    stem = name or (Path(model).stem if isinstance(model, Path | str) and Path(model).exists() else network.name)
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem)
    stated = _licence(licence, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem[:40]}-") as place:
        folder = Path(place) / (path.stem if path.suffix == ".zip" else path.name)
        folder.mkdir()
        results = [
            export(
                network, folder / f"{stem}{exporter.suffix}", format=exporter.format, precision=precision,
                images=images, **options,
            )
            for exporter in exporters
        ]  # fmt: skip
        for file in taken:
            _take(file, folder)
        records = _records(folder)
        _write_labels(network, folder)
        if isinstance(network.preprocessing, Preprocessing):
            _write_readers(network, records, results, folder)
        write_text(folder / "LICENCE-weights.txt", stated + "\n")
        write_text(folder / "index.html", bundle_page(stem, folder, records, stated))
        files = _write_manifest(folder, stem, records, stated)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        _publish(folder, path)
    return BundleResult(path, files, tuple(records), stated, size, time.perf_counter() - start)


def _checked(file: Path) -> Path:
    exporter = exporter_for(file)
    if exporter is None or not file.exists():
        known = ", ".join(sorted(record.suffix for record in EXPORTERS.values()))
        raise UserError(f"{file} is no exported file that exists (suffixes: {known})")
    if not read_record(file):
        raise UserError(f"{file} has no record beside it ({record_path(file).name}); export it with phonecv")
    return file


def _take(file: Path, folder: Path) -> None:
    """Copy an exported file, its parts, its record and its test picture."""
    exporter = exporter_for(file)
    assert exporter is not None
    for part in (file, *(file.with_suffix(suffix) for suffix in exporter.parts), record_path(file)):
        if (folder / part.name).exists():
            raise UserError(f"two files of the bundle would be called {part.name}; rename one")
        if part.is_dir():
            shutil.copytree(part, folder / part.name)
        else:
            shutil.copyfile(part, folder / part.name)
    picture = read_record(file).get("test", {}).get("picture")
    if picture and (file.parent / Path(picture).name).is_file():
        shutil.copyfile(file.parent / Path(picture).name, folder / Path(picture).name)


def _records(folder: Path) -> list[dict[str, Any]]:
    """Records of the model files, with the size of each."""
    found = []
    for exporter in EXPORTERS.values():
        for file in sorted(folder.glob(f"*{exporter.suffix}")):
            parts = [file, *(file.with_suffix(suffix) for suffix in exporter.parts)]
            size = sum(one.stat().st_size for part in parts for one in (part.rglob("*") if part.is_dir() else [part]))
            found.append({**read_record(file), "file": file.name, "bytes": size})
    return found


def _write_labels(network: Any, folder: Path) -> None:
    names = display_names(network.class_names, network.num_classes)
    write_text(folder / "labels.txt", "".join(f"{' '.join(name.split())}\n" for name in names))


def _write_readers(
    network: VisionModel, records: Sequence[Mapping[str, Any]], results: Sequence[ExportResult], folder: Path
) -> None:
    """One set of readers for each input layout among the files."""
    assert isinstance(network.preprocessing, Preprocessing)
    layouts: dict[tuple[str, bool], list[str]] = {}
    for record in records:
        layout = record.get("report", {}).get("input", {}).get("layout", "nchw").lower()
        baked = record.get("input_range") == "pixels 0..255"
        layouts.setdefault((layout, baked), []).append(record["file"])
    for number, ((layout, baked), served) in enumerate(layouts.items()):
        place = folder / "readers" if len(layouts) == 1 else folder / "readers" / f"{layout}{'-baked' * baked}"
        spec = next(record["preprocessing"] for record in records if record["file"] == served[0])
        sources = reader_files(
            Preprocessing.from_dict(spec), name=", ".join(served), classes=network.num_classes, layout=layout,
            baked=baked,
        )  # fmt: skip
        for file, source in sources.items():
            write_text(place / file, source)
        assert number < 4, "two layouts, baked or not"


def _write_manifest(folder: Path, stem: str, records: Sequence[Mapping[str, Any]], licence: str) -> tuple[str, ...]:
    """manifest.json: what there is, with digests; the names of all files."""
    files = {
        file.relative_to(folder).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    models = [
        {key: record.get(key) for key in ("file", "format", "precision", "difference", "input_size", "outputs")}
        for record in records
    ]
    manifest = {
        "bundle": stem,
        "phonecv": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "licence_of_weights": licence,
        "models": models,
        "files": files,
    }
    write_json(folder / "manifest.json", manifest)
    return (*files, "manifest.json")


def check_manifest(folder: Path | str) -> list[str]:
    """What of a bundle's folder is not as its manifest says: missing, changed or added files; empty if all is well.

    Raises:
        UserError: there is no manifest.
    """
    folder = Path(folder)
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise UserError(f"{folder} holds no manifest.json, so it is no bundle of phonecv")
    listed = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    problems = []
    for name, entry in listed.items():
        file = folder / name
        if not file.is_file():
            problems.append(f"{name} is missing")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != entry["sha256"]:
            problems.append(f"{name} was changed")
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    return problems + [f"{name} was added" for name in sorted(there - set(listed) - {"manifest.json"})]


def _publish(folder: Path, path: Path) -> None:
    """Give the finished folder, or its zip, the final name."""
    if path.suffix == ".zip":
        made = Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))
        made.replace(path)
        return
    if path.is_dir():
        path.rename(folder.parent / "old")
    folder.rename(path)


def _licence(given: str | None, model: object) -> str:
    if given is not None:
        file = Path(given)
        return file.read_text(encoding="utf-8").strip() if len(given) < 200 and file.is_file() else given
    name, _, tag = str(model).partition(":") if isinstance(model, str) else ("", "", "")
    if name in MODELS and not Path(str(model)).exists():
        for weights in MODELS[name].weights:
            if tag in ("", weights.tag):
                return f"{name}, weights {weights.tag}: {weights.licence}"
    return UNKNOWN_LICENCE
