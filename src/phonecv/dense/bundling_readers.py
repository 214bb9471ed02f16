"""Readers for detectors and segmenters: a picture in, objects or a map of classes out, as `phonecv predict` has them.

What the file leaves to do is in the readers: anchors, decoding and suppression after "raw", suppression after "boxes",
and in any case the way back to the pixels of the picture as it was given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phonecv._version import __version__
from phonecv.bundles.facts import FREE, Record, channels_first, fitting, is_baked, kind_of, output_shape, task_of
from phonecv.bundles.readers import TEMPLATES, comment
from phonecv.bundles.templating import filled
from phonecv.bundles.words import input_text
from phonecv.data.class_mapping import display_names
from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing

_WIDTH = 118


@dataclass(frozen=True, slots=True)
class Language:
    """How a language writes what differs between them.

    Attributes:
        suffix: of its templates.
        single: after a 32-bit number.
        indent: of the lines of a long list.
        escaped: letters in strings that need a backslash, beside the quotation mark and the backslash itself.
    """

    suffix: str
    single: str
    indent: int
    escaped: str = ""

    def numbers(self, values: Iterable[float]) -> str:
        """32-bit numbers of a list."""
        return self.wrapped(f"{float(value)!r}{self.single}" for value in values)

    def strings(self, texts: Iterable[str]) -> str:
        """Strings of a list."""
        return self.wrapped(self.string(text) for text in texts)

    def string(self, text: str) -> str:
        """A string on one line."""
        printed = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
        quoted = json.dumps(printed, ensure_ascii=False)
        return "".join("\\" + letter if letter in self.escaped else letter for letter in quoted)

    def wrapped(self, items: Iterable[str]) -> str:
        """Items with commas between them, on as many lines as it takes."""
        lines = [""]
        for item in items:
            if lines[-1] and self.indent + len(lines[-1]) + len(item) + 2 > _WIDTH:
                lines.append("")
            lines[-1] += f"{' ' if lines[-1] else ''}{item},"
        return ("\n" + " " * self.indent).join(lines).removesuffix(",")


LANGUAGES = {
    "C++": Language("hpp", "f", 4),
    "JavaScript": Language("mjs", "", 2),
    "Kotlin": Language("kt", "f", 8, escaped="$"),
    "Swift": Language("swift", "", 4),
}


def dense_reader_files(record: Record, name: str) -> dict[str, str]:
    """File name -> source text.

    Args:
        record: of a detector's or segmenter's file.
        name: of the file or files, for the comments.

    Raises:
        UserError: the record contradicts itself.
    """
    facts = {kind_of(record), fitting(record)} | ({"masks"} if "masks" in record["outputs"] else set())
    if task_of(record) == "detect" and kind_of(record) != "final":
        facts.add("free_maps" if fitting(record) == FREE else "fixed_maps")
    common = _plain(record) | {"NAME": comment(name), "VERSION": __version__}
    found = {}
    for language, file in TEMPLATES.items():
        how = LANGUAGES[language]
        values = common | _lists(record, how)
        found[file] = filled(f"{task_of(record)}.{how.suffix}", values, facts)
    return found


def _plain(record: Record) -> dict[str, str]:
    """Values that all languages write alike."""
    spec = DensePreprocessing.from_dict(record["preprocessing"])
    options = record["decoding"]
    height, width = record["input_size"]
    values: dict[str, Any] = {
        "HEIGHT": height,
        "WIDTH": width,
        "SHORT": spec.size,
        "LONGEST": spec.longest or 0,
        "MULTIPLE": spec.multiple,
        "NORMALISE": not is_baked(record),
        "CHANNELS_FIRST": channels_first(record),
        "CLASSES": record["num_classes"],
        "OVERLAP": float(options.get("nms_overlap") or 0),
        "CANDIDATES": options.get("candidates") or 0,
        "KEEP": options.get("max_detections") or 0,
        "PLACES": (output_shape(record, "scores") or [0])[0],
        "MASK_SIDE": (output_shape(record, "masks") or [0, 0])[1],
    }
    tensor = input_text(record)
    shape = output_shape(record, "logits")
    return {key: json.dumps(value) for key, value in values.items()} | {
        "LAYOUT_TEXT": f"{tensor.type}, {tensor.shape}, {'0..255' if is_baked(record) else 'normalised'}",
        "MAP_TEXT": f"{shape[1]} and {shape[2]}" if shape and fitting(record) != FREE else "its last two axes",
        "PLACE_ARGUMENT": ", place" if "masks" in record["outputs"] else "",
    }


def _lists(record: Record, language: Language) -> dict[str, str]:
    """Values that each language writes in its own way."""
    spec = DensePreprocessing.from_dict(record["preprocessing"])
    classes = display_names(record.get("classes"), record["num_classes"])
    values = {
        "MEAN": language.numbers(spec.mean),
        "STD": language.numbers(spec.std),
        "NAMES": language.strings(classes),
        "SCORE_THRESHOLD": language.numbers([record["decoding"].get("score_threshold") or 0.0]),
    }
    if "masks" in record["outputs"] and language.suffix == "swift":
        values["PLACE_ARGUMENT"] = ", place: place"
    if task_of(record) == "segment":
        from phonecv.data.labelmaps.classes import palette_for

        colours = palette_for(classes)
        values["COLOURS"] = language.wrapped("0x{:02x}{:02x}{:02x}".format(*colour) for colour in colours)
    elif kind_of(record) != "final":
        values |= _anchors(record, language)
    return values


def _anchors(record: Record, language: Language) -> dict[str, str]:
    """Maps of the levels and the anchors of their first cells, from which all others are shifted."""
    from phonecv.detect.anchors import anchors_by_rule

    options = record["decoding"]
    rule, maps = options["anchors"], options["maps"]
    cells = [cell.tolist() for cell in anchors_by_rule([(1, 1)] * len(maps), rule)]
    kinds, count = len(cells[0]), sum(rows * columns for rows, columns in maps)
    name = "box_codes" if "box_codes" in record["outputs"] else "boxes"
    if fitting(record) != FREE and output_shape(record, name) != [count * kinds, 4]:
        raise UserError(
            f"the record of {record.get('file')} tells of {count * kinds} anchors, but the file gives"
            f" {output_shape(record, name)}; export it again"
        )
    softmax = options["activation"] == "softmax"
    return {
        "LEVELS": str(len(maps)),
        "KINDS": str(kinds),
        "ROWS": ", ".join(str(rows) for rows, _ in maps),
        "COLUMNS": ", ".join(str(columns) for _, columns in maps),
        "STRIDES": language.numbers(rule["strides"]),
        "CELLS": language.numbers(side for level in cells for box in level for side in box),
        "STDS": language.numbers(options["stds"]),
        "VALUES": str(record["num_classes"] + softmax),
        "SOFTMAX": json.dumps(softmax),
    }
