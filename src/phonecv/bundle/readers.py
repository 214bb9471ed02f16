"""Short sources that prepare pictures for a model in an app, made from the model's preprocessing record.

The templates lie in `templates/`; what stands between @ signs is filled in. C++, JavaScript, Kotlin and Swift resize as
Pillow does, to the bit, so an app's input is the evaluation's. One exception: pictures more than about twice as tall as
wide, of which Pillow 13 resizes the columns first; there single values may be a few of 255 off.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from phonecv._version import __version__
from phonecv.errors import UserError
from phonecv.preprocessing import Preprocessing

#: Language -> template, which is also the name of the file that is made.
TEMPLATES = {
    "C++": "phonecv_reader.hpp",
    "JavaScript": "phonecv_reader.mjs",
    "Kotlin": "PhonecvReader.kt",
    "Swift": "PhonecvReader.swift",
}


def reader_files(preprocessing: Preprocessing, *, name: str, classes: int, layout: str, baked: bool) -> dict[str, str]:
    """File name -> source text.

    Args:
        preprocessing: of the model.
        name: of the model.
        classes: outputs.
        layout: of the input, "nchw" or "nhwc".
        baked: the model takes pixel values 0..255.

    Raises:
        UserError: an unknown layout.
    """
    if layout not in ("nchw", "nhwc"):
        raise UserError(f"layout {layout!r} is not one of nchw, nhwc")
    values = _values(preprocessing, name=name, classes=classes, layout=layout, baked=baked)
    folder = files("phonecv.bundle") / "templates"
    found = {}
    for template in TEMPLATES.values():
        text = (folder / template).read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        found[template] = text
    # The page that times models in a browser prepares its pictures with the same module.
    found["picture.js"] = (files("phonecv.bench") / "page" / "picture.js").read_text(encoding="utf-8")
    return found


def _values(preprocessing: Preprocessing, *, name: str, classes: int, layout: str, baked: bool) -> dict[str, str]:
    side = preprocessing.size
    shape = f"1 x 3 x {side} x {side}" if layout == "nchw" else f"1 x {side} x {side} x 3"
    plain: dict[str, Any] = {
        "RESIZE": preprocessing.resize,
        "SIZE": side,
        "CLASSES": classes,
        "BICUBIC": preprocessing.interpolation == "bicubic",
        "NORMALISE": not baked,
        "CHANNELS_FIRST": layout == "nchw",
        "BAKED": baked,
        "PREPROCESSING": preprocessing.to_dict(),
    }
    return {key: json.dumps(value) for key, value in plain.items()} | {
        "NAME": " ".join(name.split()).replace("*/", ""),
        "VERSION": __version__,
        "LAYOUT": layout,
        "LAYOUT_TEXT": f"float32, {shape}, {'0..255' if baked else 'normalised'}",
        "MEAN": ", ".join(map(repr, preprocessing.mean)),
        "STD": ", ".join(map(repr, preprocessing.std)),
        "MEAN_F": ", ".join(f"{value!r}f" for value in preprocessing.mean),
        "STD_F": ", ".join(f"{value!r}f" for value in preprocessing.std),
    }
