"""The page of a bundle that samples in the browser, offline: the ONNX file in ONNX Runtime Web, DDIM in JavaScript."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from phonecv.browser import fetch
from phonecv.files import write_text
from phonecv.generation.diffusion import ALPHA_PRODUCTS
from phonecv.generation.opening import GenerateRunner
from phonecv.generation.verbs import Sampling
from phonecv.text import printable_name

PAGE, PARTS = "sample.html", "sample"

#: Largest difference of a byte between the browser's test picture and ours that counts as rounding.
TOLERANCE = 3

#: Name in `window.RUNTIME` -> file of ONNX Runtime Web for the CPU.
_RUNTIME = {
    "script": "ort/ort.wasm.min.mjs",
    "glue": "ort/ort-wasm-simd-threaded.mjs",
    "wasm": "ort/ort-wasm-simd-threaded.wasm",
}


def why_no_page(runner: GenerateRunner, format: str) -> str:
    """Why no page can sample with a file; empty if one can."""
    if runner.latent:
        return "it makes latents, and the autoencoder that turns them into pictures is not in the bundle"
    if format != "onnx":
        return "the page runs ONNX files; add --to onnx"
    if not fetch.ready():
        return "the runtime for browsers is not installed: python -m phonecv.browser.fetch"
    return ""


def write_page(
    folder: Path,
    model: Path,
    runner: GenerateRunner,
    label: int,
    noise: Tensor,
    picture: Tensor,
    sampling: Sampling,
) -> Mapping[str, str]:
    """Write the page and its parts into the folder of the bundle with the ONNX file `model`.

    The test picture of class `label` was made of the noise ``C S S`` by "ddim"; `picture` (``3 S S`` uint8) is what
    phonecv makes of it.

    Returns:
        Name -> what it is, of the files.
    """
    data: dict[str, Any] = {
        "channels": runner.channels,
        "size": runner.size,
        "names": [printable_name(name) for name in runner.classes],
        "inputs": ["noisy", "timesteps", "classes"],
        "kept": ALPHA_PRODUCTS.tolist(),
        "test": {
            "class": label,
            "steps": sampling.steps,
            "guidance": sampling.guidance,
            "noise": _base64(noise.numpy().astype("<f4").tobytes()),
            "picture": _base64(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()).tobytes()),
            "tolerance": TOLERANCE,
        },
    }
    runtime = {name: _base64((fetch.VENDOR / file).read_bytes()) for name, file in _RUNTIME.items()}
    sources = files("phonecv.generation") / "page"
    about = f"{runner.num_classes} classes, {runner.size} x {runner.size} pixels. All of it runs on this device."
    page = (sources / "sample.html").read_text(encoding="utf-8")
    page = page.replace("@TITLE@", html.escape(model.stem)).replace("@ABOUT@", about)
    write_text(folder / PAGE, page)
    write_text(folder / PARTS / "data.js", f"const DATA = {_script(data)};\n")
    write_text(folder / PARTS / "model.js", f"const MODEL = {_script(_base64(model.read_bytes()))};\n")
    write_text(folder / PARTS / "runtime.js", f"const RUNTIME = {_script(runtime)};\n")
    for source, name in ((sources / "sample.js", "sample.js"), (fetch.FOLDER / "licences.txt", "licences.txt")):
        write_text(folder / PARTS / name, source.read_text(encoding="utf-8"))
    return {PAGE: "a page that samples in any browser, offline", f"{PARTS}/": "the scripts of that page, the model too"}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _script(value: Any) -> str:
    """JSON that may stand in a script."""
    return json.dumps(value).replace("<", "\\u003c")
