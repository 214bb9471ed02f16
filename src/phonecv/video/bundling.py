"""Classifiers of clips in a bundle: what the file takes and says, without readers."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.numpy import load_file

from phonecv.bundles.records import values_step
from phonecv.bundles.room import Found, OutputMeaning, no_class_files, no_sources
from phonecv.data.class_mapping import display_names
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.opening import open_file
from phonecv.preprocessing import Preprocessing
from phonecv.video.network import OPTIONS
from phonecv.video.opening import names_in

NEEDED_FIELDS = ()
READERS_TESTED = ""
WHY_NO_APPS = "a clip comes from the camera's own stream; README.md of a bundle says how it is fed and read"

reader_files = app_sources = no_sources
write_class_files = no_class_files


def preparation(record: FileRecord) -> list[tuple[str, str]]:
    """How a clip becomes the input, step by step."""
    spec = Preprocessing.from_dict(record["preprocessing"])
    frames = (record.get("options") or {}).get("frames", OPTIONS["frames"])
    return [
        ("frames", f"{frames}, the middle ones of {frames} equal parts of the clip, in their order"),
        ("resize", f"the short side to {spec.resize} pixels, the aspect kept; {spec.interpolation}, as Pillow does"),
        ("crop", f"{spec.size} x {spec.size} from the middle, the same of every frame"),
        ("channels", "red, green, blue"),
        values_step(record),
    ]


def reading(record: FileRecord) -> list[str]:
    """How the outputs become a result."""
    return [
        "Softmax makes probabilities of the logits; number i belongs to line i of labels.txt, from 0.",
        "Of a stream, ask again every half second for the last two.",
    ]


def output_meanings(record: FileRecord) -> dict[str, OutputMeaning]:
    """Of the logits."""
    return {"logits": OutputMeaning("one logit for each class, in the order of labels.txt")}


def why_no_readers(record: FileRecord) -> str:
    """There are none."""
    return (
        "frames come from each platform's own decoder or camera; prepare every frame by the steps above and lay them"
        " one after another along the axis of time"
    )


def find(file: Path, given: Path, record: FileRecord, folder: Path) -> Found | None:
    """The five best classes of the test clip."""
    (clip,) = load_file(given).values()
    (logits,) = open_file(file).run(torch.from_numpy(clip))
    shares, classes = logits[0].softmax(0).tolist(), display_names(names_in(record), record["num_classes"])
    best = sorted(range(len(shares)), key=lambda label: -shares[label])[:5]
    return Found(
        {"best": [{"label": n, "name": classes[n], "probability": round(shares[n], 6)} for n in best]},
        what="these classes",
        header=("class", "probability"),
        rows=[(classes[label], f"{shares[label]:.4f}") for label in best],
    )
