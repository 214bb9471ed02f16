"""The apps of a bundle: which file each runs, and everything that is put into it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from phonecv._version import __version__
from phonecv.bundles.apps.plan import Plan, app_id, app_name
from phonecv.bundles.apps.table import PLATFORMS, find_platform
from phonecv.bundles.expected import RESULT, write_expected
from phonecv.bundles.options import BundleOptions
from phonecv.bundles.records import input_of, task_of
from phonecv.bundles.room import bundling_of, bundling_room
from phonecv.data.json_file import read_json_file
from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.formats import get_exporter
from phonecv.task import Task
from phonecv.text import counted


def check_apps(options: BundleOptions, stem: str, task: Task) -> None:
    """Check, before any work, that the apps asked for can be made.

    Raises:
        UserError: a platform is unknown or lacks something here, a name is none, or networks of this task get no apps.
    """
    if not options.app:
        return
    app_name(options.app_name, stem), app_id(options.app_id, stem)
    for name in options.app:
        platform = find_platform(name)
        get_exporter(platform.format).require()
        if lacks := platform.missing():
            raise UserError(f"no app for {name}: {lacks}")
    if why := bundling_room(task).WHY_NO_APPS:
        raise UserError(f"there are no apps of {task.title}s: {why}")


def formats_of(options: BundleOptions, included: Collection[str]) -> list[str]:
    """Formats to export to: those asked for, those that apps run and no included file has, or ONNX for neither."""
    run = [find_platform(name).format for name in options.app]
    asked = options.formats if options.formats is not None else [] if run else ["onnx"]
    return list(dict.fromkeys([*asked, *(format for format in run if format not in included)]))


def write_apps(
    folder: Path, records: Sequence[FileRecord], options: BundleOptions, stem: str, names: Sequence[str]
) -> Mapping[str, str]:
    """Write the apps into the folder of a bundle; folder of each -> what it is.

    Raises:
        UserError: the file that an app is to run cannot be fed or read by the readers.
    """
    included = {Path(file).name for file in options.include}
    made = {}
    for name in dict.fromkeys(options.app):
        platform = PLATFORMS[name]
        # What a person gives is meant to be used: an int8 file goes before the one that comes along.
        fitting = [record for record in records if record["format"] == platform.format]
        record = min(fitting, key=lambda one: one["file"] not in included)
        platform.write(_plan(folder, record, records, options, stem, names), folder / name)
        made[f"{name}/"] = f"{platform.text}; it runs {record['file']}"
    return made


def _plan(
    folder: Path,
    record: FileRecord,
    records: Sequence[FileRecord],
    options: BundleOptions,
    stem: str,
    names: Sequence[str],
) -> Plan:
    file, room = record["file"], bundling_of(record)
    if why := room.why_no_readers(record):
        raise UserError(f"no app can run {file}: {why}")
    if input_of(record)["type"] not in ("float32", ""):
        raise UserError(f"no app can run {file}: it takes {input_of(record)['type']}, apps give float32")
    with tempfile.TemporaryDirectory(prefix="phonecv-app-") as place:
        # Through the file itself, so that any difference is the app's.
        if write_expected(folder, [record, *records], Path(place)) is None:
            raise UserError(f"no app can be tested with {file}: its record has no test picture; export it again")
        expected = read_json_file(Path(place) / RESULT)
    noun = task_of(record).noun
    about = (
        f"{noun[:1].upper()}{noun[1:]} of {counted(record['num_classes'], 'classes')} ("
        f"{file}, {record.get('precision', '')}, {record['bytes'] / 1e6:.1f} MB), made by phonecv {__version__}."
    )
    return Plan(
        name=app_name(options.app_name, stem),
        id=app_id(options.app_id, stem),
        about=about,
        record=record,
        model=folder / file,
        picture=folder / record["test"]["picture"],
        expected=expected,
        names=names,
        readers=room.reader_files(record, file),
        answers=room.app_sources(record),
    )
