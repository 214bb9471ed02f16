"""Classifiers of clips in a bundle: what the file takes and says, without readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from phonecv.bundles.records import values_step
from phonecv.bundles.room import Found, OutputMeaning
from phonecv.exporting.fields import FileRecord
from phonecv.preprocessing import Preprocessing
from phonecv.video.network import OPTIONS

NEEDED_FIELDS = ()
READERS_TESTED = ""
WHY_NO_APPS = "a clip comes from the camera's own stream; README.md of a bundle says how it is fed and read"


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
    return "a clip comes from the camera's own stream, frame by frame, which every platform gives in its own way"


def reader_files(record: FileRecord, name: str) -> dict[str, str]:
    """None, see `why_no_readers`."""
    return {}


def app_sources(record: FileRecord) -> dict[str, str]:
    """None, see `WHY_NO_APPS`."""
    return {}


def find(file: Path, given: Path, record: FileRecord, folder: Path) -> Found | None:
    """Nothing: the test is one of tensors, a picture is no clip."""
    return None


def write_class_files(names: Sequence[str], folder: Path) -> Mapping[str, str]:
    """Nothing: classes have names alone."""
    return {}
