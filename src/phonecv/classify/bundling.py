"""Classifiers in a bundle: readers that resize as Pillow does, to the bit, so that an app's input is the evaluation's.

One exception: pictures more than about twice as tall as wide, of which Pillow 13 resizes the columns first; there
single values may be a few of 255 off.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from phonecv.bundles import readers
from phonecv.bundles.records import channels_first, decoding_kind, is_baked, values_step
from phonecv.bundles.room import Found, OutputMeaning, no_class_files
from phonecv.classify.opening import thresholds_in
from phonecv.classify.predict import TOP, predictions
from phonecv.classify.verbs import PredictOptions
from phonecv.exporting.fields import FileRecord
from phonecv.opening import open_runner
from phonecv.preprocessing import Preprocessing
from phonecv.verbs import Steps

NEEDED_FIELDS = ()
READERS_TESTED = (
    "Kotlin is compiled and Swift type-checked where compilers are installed, neither is run. JavaScript needs both"
    " files."
)
WHY_NO_APPS = ""

write_class_files = no_class_files


def preparation(record: FileRecord) -> list[tuple[str, str]]:
    """How a picture becomes the input, step by step."""
    height, width = record["input_size"]
    spec = Preprocessing.from_dict(record["preprocessing"])
    steps = [("orientation", "upright: what the camera noted (EXIF) is applied first")]
    if height == width:
        filtered = f"{spec.interpolation} with antialiasing, as Pillow does"
        steps.append(("resize", f"the short side to {spec.resize} pixels, the aspect kept; {filtered}"))
        steps.append(("crop", f"{spec.size} x {spec.size} from the middle"))
    else:
        steps.append(("size", f"{height} x {width}; how is yours to choose, the evaluation crops squares"))
    gray = 'gray, (19595 red + 38470 green + 7471 blue + 32768) >> 16 of bytes: Pillow\'s "L", the luma of ITU-R 601-2'
    return [*steps, ("channels", gray if spec.channels == 1 else "red, green, blue"), values_step(record)]


def reading(record: FileRecord) -> list[str]:
    """How the outputs become a result."""
    final = decoding_kind(record) == "final"
    if thresholds_in(record) is not None:
        made = (
            "The file gives the probability of each label;"
            if final
            else "The sigmoid of a logit, 1 / (1 + exp(-logit)), is the probability of a label;"
        )
        return [
            f"{made} labels do not exclude each other.",
            "A picture has the labels whose probability reaches their threshold (`decoding.thresholds` of the record),"
            " which may be none; number i belongs to line i of labels.txt, from 0.",
        ]
    made = "" if final else "Softmax makes probabilities of the logits. "
    return [f"{made}Number i belongs to line i of labels.txt, from 0."]


def output_meanings(record: FileRecord) -> dict[str, OutputMeaning]:
    """Of what has a number for each class; all else is a feature map."""
    return {
        "logits": OutputMeaning("one logit for each class, in the order of labels.txt"),
        "probabilities": OutputMeaning("one probability for each class, in the order of labels.txt"),
    }


def why_no_readers(record: FileRecord) -> str:
    """Why the readers cannot serve a file; empty if they can."""
    height, width = record["input_size"]
    if decoding_kind(record) == "final":
        return "classifiers of MediaPipe and Core ML prepare pictures themselves; a file without --decode has readers"
    if list(record["outputs"]) != ["logits"]:
        return "the file gives feature maps, which only your own head can read"
    if height != width:
        return f"the network was evaluated on square crops, the file takes {height} x {width} pixels"
    return ""


def reader_files(record: FileRecord, name: str) -> dict[str, str]:
    """File name -> source text, see `phonecv.bundles.room`."""
    spec, thresholds = Preprocessing.from_dict(record["preprocessing"]), thresholds_in(record)
    planes, baked = channels_first(record), is_baked(record)
    side, channels = spec.size, spec.channels
    shape = f"1 x {channels} x {side} x {side}" if planes else f"1 x {side} x {side} x {channels}"
    found = readers.filled_readers(
        "phonecv.classify",
        name,
        {
            "RESIZE": spec.resize,
            "SIZE": side,
            "CLASSES": record["num_classes"],
            "BICUBIC": spec.interpolation == "bicubic",
            "NORMALISE": not baked,
            "CHANNELS_FIRST": planes,
            "BAKED": baked,
            "PREPROCESSING": spec.to_dict(),
            "MEAN": spec.mean,
            "STD": spec.std,
            "LAYOUT": "nchw" if planes else "nhwc",
            "LAYOUT_TEXT": f"float32, {shape}, {'0..255' if baked else 'normalised'}",
            "THRESHOLDS": thresholds or (),
            "CHANNELS": channels,
            "COLOURS": "gray" if channels == 1 else "red, green, blue",
        },
        {"one" if thresholds is None else "many", "gray" if channels == 1 else "rgb"},
    )
    # The page that times models in a browser prepares its pictures with the same module.
    found["picture.js"] = (files("phonecv.browser") / "picture.js").read_text(encoding="utf-8")
    return found


def app_sources(record: FileRecord) -> dict[str, str]:
    """File name -> source text, see `phonecv.bundles.room`."""
    return readers.app_sources("phonecv.classify", {"one" if thresholds_in(record) is None else "many"})


def find(file: Path, picture: Path, record: FileRecord, folder: Path) -> Found | None:
    """The best classes, or the labels it tells; None for feature maps, and for a shape that evaluation does not use."""
    if why_no_readers(record) and decoding_kind(record) != "final":
        return None
    thresholds = thresholds_in(record)
    topk = TOP if thresholds is None else len(thresholds)
    steps = predictions(
        open_runner(file, "classify"), [Path(picture)], Steps(workers=0), PredictOptions(topk=topk), None
    )
    (prediction,) = next(steps)
    best = list(zip(prediction.indices, prediction.labels, prediction.probabilities, strict=True))
    told = [index for index, _, share in best if thresholds is not None and share >= thresholds[index]]
    best = best[: max(TOP, len(told))]
    numbers = {"best": [{"label": index, "name": name, "probability": round(share, 6)} for index, name, share in best]}
    if thresholds is None:
        rows = [(name, f"{round(share, 6):.4f}") for _, name, share in best]
        return Found(numbers, what="these classes", header=("class", "probability"), rows=rows)
    return Found(
        numbers | {"labels": told},
        what="these labels",
        header=("label", "probability", "told from"),
        rows=[(name, f"{share:.4f}", f"{thresholds[index]:.4f}") for index, name, share in best],
        note=f"{len(told)} of them reach their threshold.",
    )
