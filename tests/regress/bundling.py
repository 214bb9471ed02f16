from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from phonecv.bundles.records import Record, values_step
from phonecv.bundles.room import Found, OutputMeaning
from regress.opening import open_regressor

NEEDED_FIELDS = ()
READERS_TESTED = ""


def preparation(record: Record) -> list[tuple[str, str]]:
    return [values_step(record)]


def reading(record: Record) -> list[str]:
    return ["The number is the number."]


def output_meanings(record: Record) -> Mapping[str, OutputMeaning]:
    return {"number": OutputMeaning("the number of the picture")}


def why_no_readers(record: Record) -> str:
    return "one number needs no reader"


def reader_files(record: Record, name: str) -> dict[str, str]:
    return {}


def find(file: Path, picture: Path, record: Record, folder: Path) -> Found:
    ((_, number, _),) = open_regressor(file).numbers([Path(picture)])
    return Found({"number": number}, "this number", ("number",), [(f"{number:.3f}",)])


def write_class_files(names: Sequence[str], folder: Path) -> Mapping[str, str]:
    return {}
