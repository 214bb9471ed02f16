from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from phonecv.bundles.records import values_step
from phonecv.bundles.room import Found, OutputMeaning
from phonecv.exporting.fields import FileRecord
from regress.opening import open_regressor

NEEDED_FIELDS = ()
READERS_TESTED = ""
WHY_NO_APPS = "one number needs no app"


def preparation(record: FileRecord) -> list[tuple[str, str]]:
    return [values_step(record)]


def reading(record: FileRecord) -> list[str]:
    return ["The number is the number."]


def output_meanings(record: FileRecord) -> Mapping[str, OutputMeaning]:
    return {"number": OutputMeaning("the number of the picture")}


def why_no_readers(record: FileRecord) -> str:
    return "one number needs no reader"


def reader_files(record: FileRecord, name: str) -> dict[str, str]:
    return {}


def app_sources(record: FileRecord) -> dict[str, str]:
    return {}


def find(file: Path, picture: Path, record: FileRecord, folder: Path) -> Found:
    ((_, number, _),) = open_regressor(file).numbers([Path(picture)])
    return Found({"number": number}, "this number", ("number",), [(f"{number:.3f}",)])


def write_class_files(names: Sequence[str], folder: Path) -> Mapping[str, str]:
    return {}
