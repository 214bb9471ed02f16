"""What goes into a file and what comes out, in words: for the page and the README of a bundle."""

from __future__ import annotations

from dataclasses import dataclass

from phonecv.bundles.facts import (
    FIT,
    FREE,
    STRETCH,
    Record,
    fitting,
    input_of,
    is_baked,
    kind_of,
    output_shape,
    task_of,
)
from phonecv.preprocessing import DensePreprocessing, Preprocessing

#: Outputs that hold whole numbers; ncnn has floating point alone.
_WHOLE = ("labels", "count", "classes")

_BOX = "x1 y1 x2 y2 in pixels of the input, x to the right and y down from its upper left corner"


@dataclass(frozen=True, slots=True)
class TensorText:
    """An input or output.

    Attributes:
        name: in the file.
        shape: such as "1 x 3 x 96 x 96".
        type: of its numbers.
        meaning: of its axes and numbers.
    """

    name: str
    shape: str
    type: str
    meaning: str


def input_text(record: Record) -> TensorText:
    """The file's input."""
    found = input_of(record)
    height, width = ("H", "W") if record.get("dynamic_size") else record["input_size"]
    batch = "B" if record.get("dynamic_batch") else "1"
    shape = {
        "NHWC": f"{batch} x {height} x {width} x 3",
        "CHW": f"3 x {height} x {width}",
        "RGB picture": f"{height} x {width} RGB picture",
    }.get(found["layout"], f"{batch} x 3 x {height} x {width}")
    meaning = "pixel values 0..255" if is_baked(record) else "normalised values"
    return TensorText(found["name"], shape, found["type"], f"red, green, blue; {meaning}, rows from top to bottom")


def output_texts(record: Record) -> list[TensorText]:
    """The file's outputs, in its order."""
    layout = input_of(record)["layout"]
    batch = "" if layout == "CHW" else "B x " if record.get("dynamic_batch") else "1 x "
    names = record.get("report", {}).get("outputs", {})
    meanings = _meanings(record)
    found = []
    for name in record["outputs"]:
        shape = output_shape(record, name)
        sides = "" if shape is None else " x ".join(map(str, shape))
        if record.get("dynamic_size") and shape and len(shape) > 1:
            sides = "H x W" if name == "classes" else f"{shape[0]} x h x w"
        whole = name in _WHOLE and layout != "CHW"
        found.append(
            TensorText(
                names.get(name, name) if isinstance(names, dict) else name,
                "" if shape is None else (batch + sides).removesuffix(" x "),
                "int32" if whole else "float32",
                meanings.get(name, "a feature map"),
            )
        )
    return found


def preparation(record: Record) -> list[tuple[str, str]]:
    """How a picture becomes the input, step by step."""
    height, width = record["input_size"]
    mean, std = (", ".join(f"{value:g}" for value in record["preprocessing"][name]) for name in ("mean", "std"))
    values = "0..255 as they are" if is_baked(record) else f"(value / 255 - mean) / std; mean {mean}; std {std}"
    steps = [("orientation", "upright: what the camera noted (EXIF) is applied first")]
    if task_of(record) == "classify":
        spec = Preprocessing.from_dict(record["preprocessing"])
        if height == width:
            filtered = f"{spec.interpolation} with antialiasing, as Pillow does"
            steps.append(("resize", f"the short side to {spec.resize} pixels, the aspect kept; {filtered}"))
            steps.append(("crop", f"{spec.size} x {spec.size} from the middle"))
        else:
            steps.append(("size", f"{height} x {width}; how is yours to choose, the evaluation crops squares"))
        return [*steps, ("channels", "red, green, blue"), ("values", values)]
    spec = DensePreprocessing.from_dict(record["preprocessing"])
    resized = {
        STRETCH: f"the whole picture to {height} x {width} (height x width), its aspect changed",
        FIT: f"to fit into {height} x {width} (height x width), its aspect kept, sides rounded",
        FREE: f"the aspect kept, sides rounded, at most {spec.size} x {spec.longest} (short x long)",
    }[fitting(record)]
    steps.append(("resize", f"{resized}; bilinear without antialiasing, pixel centres at halves"))
    steps += [("channels", "red, green, blue"), ("values", values)]
    if fitting(record) != STRETCH:
        rest = f"up to multiples of {spec.multiple} " if fitting(record) == FREE else ""
        zero = "the mean times 255" if is_baked(record) else "zeros"
        steps.append(("padding", f"at the bottom and at the right {rest}with the mean colour, {zero}"))
    return steps


def reading(record: Record) -> list[str]:
    """How the outputs become a result, step by step."""
    if task_of(record) == "classify":
        return ["Softmax makes probabilities of the logits; number i belongs to line i of labels.txt, from 0."]
    side = "input" if fitting(record) == STRETCH else "filled"
    back = f"Divide x by ({side} width / picture width), y by ({side} height / picture height)."
    if fitting(record) != STRETCH:
        back = f"Cut boxes to the part of the input that the picture fills. {back}"
    if task_of(record) == "segment":
        cut = "" if fitting(record) == STRETCH else ", cut the padding off"
        if kind_of(record) == "raw":
            return [f"Resize the logits bilinearly to the input's size{cut}, resize them to the picture's.",
                    "The class of a pixel is the one with the largest logit."]  # fmt: skip
        return [f"Take the map{cut}, and resize it to the picture without mixing (nearest pixel)."]
    options = record["decoding"]
    least = f"Scores have to be above {options.get('score_threshold') or 0:g}; apps usually show those from 0.3 up."
    suppression = (
        f"Of each class drop every box that overlaps a better one that stays by more than {options['nms_overlap']:g}"
        f" (intersection over union); keep the best {options['max_detections']}."
    )
    if kind_of(record) == "raw":
        activation = (
            "a softmax over classes and background (the last)" if options["activation"] == "softmax" else "a sigmoid"
        )
        return [
            f"Scores are {activation} of the class logits.", least,
            f"Take the best {options['candidates']} of each level, decode their boxes from their anchors"
            " (the record has the rule; the readers have both).", suppression, back,
        ]  # fmt: skip
    if kind_of(record) == "boxes":
        return [least, suppression, back]
    shown = [f"Go through the places until the label is -1. {least}", back]
    if "masks" in record["outputs"]:
        shown.append("Stretch a mask over its box, bilinearly; from 0.5 up a pixel belongs to the object.")
    return shown


def _meanings(record: Record) -> dict[str, str]:
    """Of the outputs, by name."""
    if task_of(record) == "classify":
        return {"logits": "one logit for each class, in the order of labels.txt"}
    if task_of(record) == "segment":
        return {
            "logits": "for each class a map of logits, in the order of labels.txt, at the network's own resolution",
            "classes": "the class of every pixel of the input: line of labels.txt, from 0",
        }
    background = ", and one for the background" if record["decoding"].get("activation") == "softmax" else ""
    if kind_of(record) != "final":
        return {
            "class_logits": f"for each anchor a logit for each class in the order of labels.txt{background}",
            "box_codes": "for each anchor dx dy dw dh, relative to it; see the record, or the readers",
            "scores": "for each anchor a score 0..1 for each class, in the order of labels.txt",
            "boxes": f"for each anchor {_BOX}",
        }
    return {
        "boxes": f"for each object {_BOX}; best object first",
        "scores": "for each object 0..1; 0 for places without an object",
        "labels": "for each object the line of labels.txt, from 0; -1 for places without an object",
        "count": "how many places hold an object",
        "masks": "for each object a square of shares 0..1, to be stretched over its box",
    }
