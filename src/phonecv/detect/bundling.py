"""Detectors in a bundle: objects, and readers that find them, from whatever part of the decoding the file leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phonecv.bundles import readers
from phonecv.bundles.expected import save_drawing
from phonecv.bundles.records import decoding_kind, output_shape
from phonecv.bundles.room import Found, OutputMeaning, no_class_files
from phonecv.data.pictures.opening import open_image
from phonecv.data.pictures.reading import to_tensor
from phonecv.dense.bundling import (
    FREE,
    NEEDED_FIELDS,
    READERS_TESTED,
    STRETCH,
    WHY_NO_APPS,
    fitting,
    preparation,
    reader_conditions,
    reader_values,
    why_no_readers,
)
from phonecv.detect.anchors import anchors_by_rule
from phonecv.detect.draw import draw_detections, to_image
from phonecv.detect.finding import find as find_objects
from phonecv.detect.verbs import OpeningOptions
from phonecv.errors import UserError
from phonecv.exporting.fields import FileRecord
from phonecv.opening import open_runner

__all__ = ["NEEDED_FIELDS", "READERS_TESTED", "WHY_NO_APPS", "preparation", "why_no_readers"]

write_class_files = no_class_files

_BOX = "x1 y1 x2 y2 in pixels of the input, x to the right and y down from its upper left corner"

#: Least score of an object at first, and the most that are listed.
_THRESHOLD, _LISTED = 0.3, 20


def reading(record: FileRecord) -> list[str]:
    """How the outputs become objects, step by step."""
    if decoding_kind(record) == "mediapipe":
        return ["MediaPipe's object detector gives the objects."]
    side = "input" if fitting(record) == STRETCH else "filled"
    back = f"Divide x by ({side} width / picture width), y by ({side} height / picture height)."
    if fitting(record) != STRETCH:
        back = f"Cut boxes to the part of the input that the picture fills. {back}"
    options = record["decoding"]
    least = f"Scores have to be above {options.get('score_threshold') or 0:g}; apps usually show those from 0.3 up."
    if decoding_kind(record) == "final":
        shown = [f"Go through the places until the label is -1. {least}", back]
        if "masks" in record["outputs"]:
            shown.append("Stretch a mask over its box, bilinearly; from 0.5 up a pixel belongs to the object.")
        return shown
    among = "Of all classes together" if options.get("class_agnostic") else "Of each class"
    suppression = (
        f"{among} drop every box that overlaps a better one that stays by more than {options['nms_overlap']:g}"
        f" (intersection over union); keep the best {options['max_detections']}."
    )
    if decoding_kind(record) == "boxes":
        return [least, suppression, back]
    activation = (
        "a softmax over classes and background (the last)" if options["activation"] == "softmax" else "a sigmoid"
    )
    return [
        f"Scores are {activation} of the class logits.", least,
        f"Take the best {options['candidates']} of each level, decode their boxes from their anchors"
        " (the record has the rule; the readers have both).", suppression, back,
    ]  # fmt: skip


def output_meanings(record: FileRecord) -> dict[str, OutputMeaning]:
    """Of the outputs, by name."""
    if decoding_kind(record) in ("final", "mediapipe"):
        shares = "x1 y1 x2 y2 as shares of the picture's sides"
        return {
            "boxes": OutputMeaning(
                f"for each object {_BOX if decoding_kind(record) == 'final' else shares}; best first"
            ),
            "scores": OutputMeaning("for each object 0..1; 0 for places without an object"),
            "labels": OutputMeaning(
                "for each object the line of labels.txt, from 0; -1 for places without an object", whole=True
            ),
            "count": OutputMeaning("how many places hold an object", whole=True),
            "masks": OutputMeaning("for each object a square of shares 0..1, to be stretched over its box"),
        }
    background = ", and one for the background" if record["decoding"].get("activation") == "softmax" else ""
    return {
        "class_logits": OutputMeaning(f"for each anchor a logit for each class in the order of labels.txt{background}"),
        "box_codes": OutputMeaning("for each anchor dx dy dw dh, relative to it; see the record, or the readers"),
        "scores": OutputMeaning("for each anchor a score 0..1 for each class, in the order of labels.txt"),
        "boxes": OutputMeaning(f"for each anchor {_BOX}"),
    }


def reader_files(record: FileRecord, name: str) -> dict[str, str]:
    """File name -> source text, see `phonecv.bundles.room`."""
    options, masks = record["decoding"], "masks" in record["outputs"]
    values = {
        "SCORE_THRESHOLD": (options.get("score_threshold") or 0.0,),
        "OVERLAP": float(options.get("nms_overlap") or 0),
        "CANDIDATES": options.get("candidates") or 0,
        "KEEP": options.get("max_detections") or 0,
        "CLASS_AGNOSTIC": bool(options.get("class_agnostic")),
        "PLACES": (output_shape(record, "scores") or [0])[0],
        "MASK_SIDE": (output_shape(record, "masks") or [0, 0])[1],
        "PLACE_ARGUMENT": lambda language: language.place_argument if masks else "",
    }
    conditions = _conditions(record)
    if decoding_kind(record) != "final":
        values |= _anchor_values(record)
        conditions.add("free_maps" if fitting(record) == FREE else "fixed_maps")
    return readers.filled_readers("phonecv.detect", name, reader_values(record) | values, conditions)


def _anchor_values(record: FileRecord) -> dict[str, Any]:
    """Maps of the levels and the anchors of their first cells, from which all others are shifted."""
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
        "LEVELS": len(maps),
        "KINDS": kinds,
        "ROWS": ", ".join(str(rows) for rows, _ in maps),
        "COLUMNS": ", ".join(str(columns) for _, columns in maps),
        "STRIDES": tuple(rule["strides"]),
        "CELLS": tuple(side for level in cells for box in level for side in box),
        "STDS": tuple(options["stds"]),
        "VALUES": record["num_classes"] + softmax,
        "SOFTMAX": softmax,
    }


def app_sources(record: FileRecord) -> dict[str, str]:
    """File name -> source text, see `phonecv.bundles.room`."""
    return readers.app_sources("phonecv.detect", _conditions(record))


def _conditions(record: FileRecord) -> set[str]:
    return reader_conditions(record) | ({"masks"} if "masks" in record["outputs"] else set())


def find(file: Path, picture: Path, record: FileRecord, folder: Path) -> Found:
    """The objects of the test picture, the best listed, and drawn."""
    runner, tensor = open_runner(file, "detect", options=OpeningOptions(tile=0)), to_tensor(open_image(picture))
    ((every, _),) = find_objects(runner, [tensor], 0.0)
    # A picture unlike those of the training may hold nothing that is sure.
    threshold = _THRESHOLD
    while len(every) and every.scores.max() < threshold:
        threshold /= 2
    found = every[every.scores >= np.float32(threshold)]
    save_drawing(to_image(draw_detections(tensor, found[:_LISTED], runner.classes)), folder)
    sides = ("left", "top", "right", "bottom")
    listed = found[:_LISTED]
    objects = [
        {
            "label": label,
            "name": runner.classes[label],
            "score": round(score, 5),
            **dict(zip(sides, (round(side, 2) for side in box), strict=True)),
        }
        for label, score, box in zip(listed.labels.tolist(), listed.scores.tolist(), listed.boxes.tolist(), strict=True)
    ]
    return Found(
        {"threshold": threshold, "count": len(found), "objects": objects},
        what=f"these objects, at the threshold {threshold:g}",
        header=("class", "score", *sides),
        rows=[(one["name"], f"{one['score']:.3f}", *(f"{one[side]:.1f}" for side in sides)) for one in objects],
        total=len(found),
        note=f"Objects with scores from {threshold:g} up: {len(found)}.",
    )
