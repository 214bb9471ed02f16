"""`bundle`: all that an app needs of a model, in one folder or zip."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phonecv.bundles.apps.making import check_apps, formats_of, write_apps
from phonecv.bundles.contents import LABELS, LICENCE, PAGE, README, Contents
from phonecv.bundles.expected import write_expected
from phonecv.bundles.manifest import write_manifest
from phonecv.bundles.options import BundleOptions
from phonecv.bundles.page import bundle_page
from phonecv.bundles.readers import write_readers
from phonecv.bundles.readme import bundle_readme
from phonecv.bundles.records import difference_text, task_of
from phonecv.bundles.room import bundling_of
from phonecv.create import load_network
from phonecv.data.class_mapping import display_names
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, exporter_for, get_exporter, record_path
from phonecv.exporting.example import example_text
from phonecv.exporting.fields import FileRecord, require
from phonecv.exporting.record import read_record
from phonecv.exporting.run import export_with, size_of
from phonecv.exporting.targets import claimed
from phonecv.files import check_writable, scratch_folder, write_text
from phonecv.models.catalog import licence_of
from phonecv.models.headed import Network
from phonecv.options import by_keywords
from phonecv.tables import fields, text_table
from phonecv.task import done_by
from phonecv.text import counted

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
    exported: tuple[FileRecord, ...]
    licence: str
    bytes: int
    seconds: float

    def __str__(self) -> str:
        rows = [
            (
                record["file"],
                record.get("precision"),
                f"{record['bytes'] / 1e6:.2f} MB",
                difference_text(record),
            )
            for record in self.exported
        ]
        said = (
            ("wrote", f"{self.path} ({counted(len(self.files), 'files')}, {self.bytes / 2**20:.2f} MiB)"),
            ("test picture", example_text(self.exported[0].get("test") or {})),
            ("look at", "README.md in it, and index.html, which opens in any browser"),
            ("licence", self.licence),
            ("time", f"{self.seconds:.1f} s"),
        )
        return f"{text_table(('file', 'precision', 'size', 'difference'), rows)}\n{fields(said)}"


def bundle_with(model: Network | Path | str, destination: Path | str, options: BundleOptions) -> BundleResult:
    """Export to several formats, check each, and put the files with all that an app needs into one place.

    The bundle holds the model files with their records, labels, a test picture with what has to be found in it, readers
    in four languages, a README and a page that opens offline, the licence of the weights, apps if asked for, and a
    manifest with digests. It appears whole or not at all.

    Args:
        model: a network, a checkpoint, or a catalog name with public weights.
        destination: a folder, or a name that ends in .zip.
        options: of the files, and of the bundle.

    Raises:
        UserError: the destination exists, a format or file is unknown, a file is not of it, or an export failed.
    """
    start = time.perf_counter()
    path = Path(destination)
    if path.exists() and not options.force:
        raise UserError(f"{str(path)!r} exists already; --force replaces it")
    check_writable(path)
    taken = [_checked(Path(file)) for file in options.include]
    formats = formats_of(options, {read_record(file)["format"] for file in taken})
    exporters = [get_exporter(format) for format in formats]
    for exporter in exporters:
        exporter.require()
    if not exporters and not taken:
        raise UserError(f"a bundle needs at least one model file: formats (known: {', '.join(EXPORTERS)}) or files")
    network = load_network(model, task=None)
    for file in taken:
        _check_same(file, network)
    stem = options.name
    if stem is None:
        stem = Path(model).stem if isinstance(model, Path | str) and Path(model).exists() else network.name
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem)
    check_apps(options, stem, done_by(network))
    known = licence_of(model) if options.licence is None else _text_or_file(options.licence)
    stated = UNKNOWN_LICENCE if known is None else known
    with claimed(path, replace=options.force), scratch_folder(path) as place:
        folder = place / (path.stem if path.suffix == ".zip" else path.name)
        folder.mkdir()
        for exporter in exporters:
            file_options = replace(options.of_format(exporter.format), licence=known)
            export_with(network, folder / f"{stem}{exporter.suffix}", file_options)
        for file in taken:
            _take(file, folder)
        records = _records(folder)
        names = display_names(network.class_names, network.num_classes)
        write_text(folder / LABELS, "".join(f"{' '.join(name.split())}\n" for name in names))
        class_files = bundling_of(records[0]).write_class_files(names, folder)
        readers, unread = write_readers(records, folder)
        write_text(folder / LICENCE, stated + "\n")
        expected = write_expected(folder, records, folder)
        apps = write_apps(folder, records, options, stem, names)
        contents = Contents(stem, folder, records, readers, unread, expected, class_files, apps, stated)
        write_text(folder / PAGE, bundle_page(contents))
        write_text(folder / README, bundle_readme(contents))
        files = write_manifest(folder, stem, records, stated)
        size = size_of(folder)
        _publish(folder, path)
    return BundleResult(path, files, tuple(records), stated, size, time.perf_counter() - start)


bundle = by_keywords(bundle_with, BundleOptions)


def _checked(file: Path) -> Path:
    exporter = exporter_for(file)
    if exporter is None or not file.exists():
        known = ", ".join(sorted(record.suffix for record in EXPORTERS.values()))
        raise UserError(f"{file} is no exported file that exists (suffixes: {known})")
    record = read_record(file)
    if not record:
        raise UserError(f"{file} has no record beside it ({record_path(file).name}); export it with phonecv")
    needed = ("model", "form", "format", "outputs", "num_classes", "input_size", "preprocessing")
    needed += bundling_of(record).NEEDED_FIELDS
    require(record, needed, file, "it cannot be explained to those who build the app")
    if record["format"] != exporter.format:
        raise UserError(f"the record of {file} is of a file for {record['format']!r:.40}, not {exporter.format}")
    return file


def _check_same(file: Path, network: Any) -> None:
    """Refuse a file with other classes: labels and readers would be wrong for it."""
    record = read_record(file)
    own = (done_by(network), network.num_classes, network.class_names)
    names = record.get("classes")
    found = (task_of(record), record.get("num_classes"), tuple(names) if names else None)
    if own != found:
        raise UserError(
            f"{file} is {found[0].noun} of {found[1]} classes, {network.name} {own[0].noun} of"
            f" {own[1]}{', with other names' if own[:2] == found[:2] else ''}; a bundle holds files of one network"
        )


def _take(file: Path, folder: Path) -> None:
    """Copy an exported file, its parts, its record and its test picture or inputs."""
    exporter = exporter_for(file)
    assert exporter is not None
    for part in (*exporter.files_of(file), record_path(file)):
        if (folder / part.name).exists():
            raise UserError(f"two files of the bundle would be called {part.name}; rename one")
        if part.is_dir():
            shutil.copytree(part, folder / part.name)
        else:
            shutil.copyfile(part, folder / part.name)
    test = read_record(file).get("test", {})
    for name in (test.get("picture"), test.get("inputs")):
        if name and (file.parent / name).is_file():
            shutil.copyfile(file.parent / name, folder / name)


def _records(folder: Path) -> list[FileRecord]:
    """Records of the model files, with the size of each."""
    found: list[FileRecord] = []
    for exporter in EXPORTERS.values():
        for file in sorted(folder.glob(f"*{exporter.suffix}")):
            found.append({**read_record(file), "file": file.name, "bytes": sum(map(size_of, exporter.files_of(file)))})
    return found


def _publish(folder: Path, path: Path) -> None:
    """Give the finished folder, or its zip, the final name."""
    if path.suffix == ".zip":
        made = Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))
        made.replace(path)
        return
    if path.is_dir():
        path.rename(folder.parent / "old")
    folder.rename(path)


def _text_or_file(given: str) -> str:
    file = Path(given)
    return file.read_text(encoding="utf-8").strip() if len(given) < 200 and file.is_file() else given
