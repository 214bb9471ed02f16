"""Segmenters in a bundle: a map of classes, its colours, and readers that make one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from phonecv.bundles import readers
from phonecv.bundles.expected import DRAWN, DRAWN_SIDE
from phonecv.bundles.records import decoding_kind, output_shape
from phonecv.bundles.room import Found, OutputMeaning
from phonecv.data.class_mapping import display_names
from phonecv.data.labelmaps.classes import palette_for
from phonecv.data.pictures.opening import open_image
from phonecv.data.pictures.reading import to_tensor
from phonecv.dense import bundling as dense
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
)
from phonecv.exporting.fields import FileRecord
from phonecv.opening import open_runner
from phonecv.segment.overlay import overlay, save_label_map, shares, with_legend
from phonecv.segment.predict import write_legend

__all__ = ["NEEDED_FIELDS", "READERS_TESTED", "WHY_NO_APPS", "preparation"]

_MAP, _LEGEND = "expected.png", "legend.json"


def reading(record: FileRecord) -> list[str]:
    """How the outputs become a map, step by step."""
    if decoding_kind(record) == "mediapipe":
        return ["MediaPipe's image segmenter gives the masks."]
    cut = "" if fitting(record) == STRETCH else ", cut the padding off"
    if decoding_kind(record) == "raw":
        return [f"Resize the logits bilinearly to the input's size{cut}, resize them to the picture's.",
                "The class of a pixel is the one with the largest logit."]  # fmt: skip
    return [f"Take the map{cut}, and resize it to the picture without mixing (nearest pixel)."]


def output_meanings(record: FileRecord) -> dict[str, OutputMeaning]:
    """Of the outputs, by name."""
    logits = "for each class a map of logits, in the order of labels.txt, at the network's own resolution"
    classes = "the class of every pixel of the input: line of labels.txt, from 0"
    last = f"{logits}; the classes are the last axis"
    return {
        "logits": OutputMeaning(logits),
        "logits_last": OutputMeaning(last),
        "classes": OutputMeaning(classes, whole=True, full_size=True),
    }


def why_no_readers(record: FileRecord) -> str:
    """Why the readers cannot serve a file, and what to do; empty if they can."""
    if why := dense.why_no_readers(record):
        return why
    windows = record["decoding"].get("windows")
    if windows and decoding_kind(record) == "raw":
        return (
            f"this segmenter slides windows of {windows[0]} pixels every {windows[1]} over large pictures and averages"
            " their logits, the readers take a picture as a whole; a file made with --decode final is read as a whole"
        )
    return ""


def reader_files(record: FileRecord, name: str) -> dict[str, str]:
    """File name -> source text, see `phonecv.bundles.room`."""
    colours = palette_for(display_names(record.get("classes"), record["num_classes"]))
    shape = output_shape(record, "logits")
    values = {
        "MAP_TEXT": f"{shape[1]} and {shape[2]}" if shape and fitting(record) != FREE else "its last two axes",
        "COLOURS": lambda language: language.wrapped("0x{:02x}{:02x}{:02x}".format(*colour) for colour in colours),
    }
    return readers.filled_readers("phonecv.segment", name, reader_values(record) | values, reader_conditions(record))


def app_sources(record: FileRecord) -> dict[str, str]:
    """File name -> source text, see `phonecv.bundles.room`."""
    return readers.app_sources("phonecv.segment", reader_conditions(record))


def find(file: Path, picture: Path, record: FileRecord, folder: Path) -> Found:
    """The map of the test picture, as a picture, drawn, and as shares of the classes."""
    runner, image = open_runner(file, "segment"), open_image(picture)
    labels = runner([to_tensor(image)])[0].cpu().numpy()
    palette = palette_for(runner.classes)
    save_label_map(labels, palette, folder / _MAP)
    share = shares(labels, len(runner.classes))
    order = [int(label) for label in np.argsort(-share, kind="stable") if share[label]]
    drawn = overlay(image, labels, palette)
    drawn.thumbnail((DRAWN_SIDE, DRAWN_SIDE))
    with_legend([drawn], order, runner.classes, palette, least=DRAWN_SIDE // 3).save(folder / DRAWN)
    rows = [{"label": label, "name": runner.classes[label], "share": round(float(share[label]), 6)} for label in order]
    return Found(
        {"map": _MAP, "shares": rows},
        what=f"these shares, and `{_MAP}` pixel by pixel but for a few at borders",
        header=("class", "share of the pixels"),
        rows=[(one["name"], f"{one['share']:.2%}") for one in rows],
        files={_MAP: "the classes of its pixels as a picture: values are lines of labels.txt, from 0"},
    )


def write_class_files(names: Sequence[str], folder: Path) -> Mapping[str, str]:
    """The colours of the classes."""
    write_legend(names, palette_for(names), folder / _LEGEND)
    return {_LEGEND: "number, name and colour of every class"}
