"""What may stand in the record of an exported file, wherever the record lies: field by field, its type and its bounds.

Records come with files from anywhere. Everything that reads one gets it through `checked_fields`, so that nobody else
has to ask whether a list is a list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.rules import (
    COUNT,
    FLAG,
    TABLE,
    TEXT,
    TEXTS,
    Rule,
    brief,
    check_table,
    is_plain_name,
    kind,
    list_of,
    number,
    optional,
    table_of,
    whole,
)  # fmt: skip
from phonecv.task import DEFAULT_TASK, TASKS
from phonecv.text import counted, printable

#: Largest side of an input, in pixels, and most classes.
_LARGEST, _MOST_CLASSES = 8192, 1_000_000

_SIDE = whole(1, _LARGEST)
_NAME: Rule = (is_plain_name, "the name of a file without a folder")
_SHARE: Rule = (optional(number(0, 1)), "a number from 0 to 1")
_POSITIVE: Rule = (optional(whole(1, _MOST_CLASSES)), "a whole number from 1 on")
_DIFFERENCE: Rule = (optional(number(0)), "a number from 0 on")
_LENGTHS: Rule = (list_of(number(1e-6, 1e6), 1, 64), "a list of numbers above 0")
_OUTPUTS: Rule = (table_of(kind(dict)), "a table of tables")


class FileRecord(TypedDict, total=False):
    """What an exported file says of itself, wherever that stands; docs/deploy.md tells of the fields."""

    version: str
    task: str
    model: str
    form: str
    num_classes: int
    classes: Sequence[str] | None
    input_size: Sequence[int]
    input_range: str
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[str]
    decoded: bool
    overrides: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    architecture: str
    options: Mapping[str, Any]
    backbone: str
    quantization: Mapping[str, Any]
    format: str
    precision: str
    file: str
    dynamic_batch: bool
    dynamic_size: bool
    difference: float | None
    decoding: Mapping[str, Any]
    checked: Mapping[str, Any]
    report: Mapping[str, Any]
    test: Mapping[str, Any]
    #: Of the file with its parts; in bundles alone.
    bytes: int


#: Field -> rule, or the fields of the table that stands there. Others are let through as they are: later versions and
#: other people may know more.
_FIELDS: dict[str, Any] = {
    "version": TEXT,
    "model": TEXT,
    "form": TEXT,
    "num_classes": (whole(0, _MOST_CLASSES), f"a whole number from 0 to {_MOST_CLASSES}"),
    "classes": (optional(TEXTS[0]), "a list of texts"),
    "input_size": (list_of(_SIDE, 2, 2), f"height and width, from 1 to {_LARGEST} pixels"),
    "input_range": TEXT,
    "inputs": (list_of(kind(dict), 1, 64), "a list of tables"),
    "outputs": TEXTS,
    "decoded": FLAG,
    "overrides": TABLE,
    "preprocessing": TABLE,
    "architecture": TEXT,
    "options": TABLE,
    "backbone": TEXT,
    "quantization": TABLE,
    "format": TEXT,
    "precision": TEXT,
    "file": _NAME,
    "dynamic_batch": FLAG,
    "dynamic_size": FLAG,
    "difference": _DIFFERENCE,
    "decoding": {
        "kind": TEXT,
        "windows": (optional(list_of(_SIDE, 2, 2)), "side and stride of windows"),
        "score_threshold": _SHARE,
        "nms_overlap": _SHARE,
        "candidates": _POSITIVE,
        "max_detections": _POSITIVE,
        "class_agnostic": FLAG,
        "tiles": {"side": _POSITIVE, "overlap": _SHARE, "whole": FLAG},
        "activation": TEXT,
        "thresholds": (list_of(number(0, 1), 1, _MOST_CLASSES), "a list of numbers from 0 to 1"),
        "stds": (list_of(number(), 4, 4), "four numbers"),
        "anchors": {"kind": TEXT} | dict.fromkeys(("strides", "scales", "ratios", "min_sizes", "max_sizes"), _LENGTHS),
        "maps": (list_of(list_of(_SIDE, 2, 2), most=64), "a list of heights and widths"),
    },
    "checked": {"by": TEXT, "difference": _DIFFERENCE, "agreement": _SHARE, "pictures": COUNT, "remark": TEXT},
    "report": {
        "inputs": (list_of(kind(dict), 1, 64), "a list of tables"),
        "outputs": (table_of(TEXT[0]), "a table of texts"),
    },
    "test": {"picture": _NAME, "inputs": _NAME, "outputs": _OUTPUTS},
}

_INPUT = {
    "name": TEXT,
    "kind": TEXT,
    "shape": (list_of(_SIDE, most=8), "a list of whole numbers from 1 on"),
    "type": (lambda value: value in ("float32", "int32"), "one of float32, int32"),
    "most": (optional(number(0)), "a number from 0 on"),
}

_OUTPUT = {
    "shape": (list_of(whole(), most=8), "a list of whole numbers"),
    "values": (optional(list_of(kind(int, float))), "a list of numbers"),
}


def parse_record(content: str | bytes, place: str) -> FileRecord:
    """A record from its JSON.

    Args:
        content: the text.
        place: where it stands, for the message.

    Raises:
        UserError: it is not UTF-8, not JSON, no record, or a field of it is damaged.
    """
    where = printable(place)
    try:
        values = json.loads(content if isinstance(content, str) else content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text (byte {error.start}); export the network again") from error
    except RecursionError as error:
        raise UserError(f"{where} is nested too deeply; export the network again") from error
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); export the network again") from error
    return checked_fields(values, place)


def checked_fields(values: object, place: str) -> FileRecord:
    """A record whose known fields have the right types; tables that are null are left out.

    Args:
        values: whatever stood in the place of the record.
        place: where it stands, for the message.

    Raises:
        UserError: it is no record, or naming the field that is damaged.
    """
    source = printable(place)
    if not isinstance(values, dict):
        raise UserError(f"{source} is {brief(values)}, not {TABLE[1]}; export it again")
    tables = {name for name, rule in _FIELDS.items() if isinstance(rule, dict) or rule is TABLE}
    record = {name: value for name, value in values.items() if value is not None or name not in tables}
    # Not in the table: tasks may be added after this module was imported.
    known: Rule = (list(TASKS).__contains__, f"one of {', '.join(TASKS)}")
    check_table(record, _FIELDS | {"task": known}, source)
    if "test" in record:
        if "inputs" not in record["test"]:
            check_table(record["test"], {}, source, required=("picture",), prefix="test.")
        for name, output in record["test"].get("outputs", {}).items():
            check_table(output, _OUTPUT, source, prefix=f"test.outputs.{name}.")
    for position, held in enumerate(record.get("report", {}).get("inputs", ())):
        check_table(held, dict.fromkeys(("name", "layout", "type"), TEXT), source, prefix=f"report.inputs.{position}.")
    for position, taken in enumerate(record.get("inputs", ())):
        check_table(taken, _INPUT, source, required=("name", "kind", "shape", "type"), prefix=f"inputs.{position}.")
    if "checked" in record:
        check_table(record["checked"], {}, source, required=("by", "difference"), prefix="checked.")
    classes, count = record.get("classes"), record.get("num_classes")
    if classes and count is not None and len(classes) != count:
        raise UserError(f"{source} names {counted(len(classes), 'classes')} for {count} outputs; export it again")
    if "preprocessing" in record:
        kind = TASKS[record.get("task", DEFAULT_TASK)].preprocessing
        record["preprocessing"] = _preprocessing(record["preprocessing"], kind, source)
    return cast(FileRecord, record)


def is_text(name: str) -> bool:
    """Whether this field holds a text."""
    return _FIELDS.get(name) is TEXT


def require(record: Mapping[str, Any], names: tuple[str, ...], source: object, purpose: str) -> None:
    """Refuse a record without some fields, or with null in their place.

    Raises:
        UserError: naming the missing ones.
    """
    missing = [name for name in names if record.get(name) is None]
    if missing:
        raise UserError(
            f"the record of {printable(str(source))} lacks {', '.join(map(repr, missing))}, without which {purpose};"
            " export it again"
        )


def _preprocessing(
    values: Mapping[str, Any], kind: type[Preprocessing] | type[DensePreprocessing], source: str
) -> dict[str, Any]:
    """The same with all its fields."""
    try:
        spec = kind.from_dict(values)
        sides = [getattr(spec, name, None) or 1 for name in ("size", "longest", "multiple", "resize")]
    except (TypeError, ArithmeticError, UserError) as error:
        raise UserError(f"{source}: 'preprocessing' is damaged ({error}); export it again") from error
    if max(sides) > _LARGEST:
        raise UserError(f"{source}: 'preprocessing' asks for more than {_LARGEST} pixels; export it again")
    return spec.to_dict()
