"""An app for browsers: a page that phones install and open without a network."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.resources import files
from pathlib import Path

from phonecv.browser import fetch
from phonecv.bundles.apps.plan import Plan
from phonecv.bundles.apps.project import icon, write_project
from phonecv.bundles.records import input_of
from phonecv.bundles.templating import filled
from phonecv.files import sha256, write_json, write_text

#: Of ONNX Runtime Web, what computes on the CPU.
_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")

#: Written at last: it names all other files.
_WORKER = "sw.js"


def write(plan: Plan, folder: Path) -> None:
    """See `phonecv.bundles.apps.table.Platform`."""
    templates = files("phonecv.bundles.apps") / "web_files"
    write_project(templates, folder, {"TITLE": plan.name, "ABOUT": plan.about}, {}, {_WORKER})
    write_text(folder / "phonecv_reader.mjs", plan.readers["phonecv_reader.mjs"])
    write_text(folder / "draw.js", plan.answers["draw.js"])
    for source in ("drawing.js", "picture.js", "licences.txt"):
        write_text(folder / source, (fetch.FOLDER / source).read_text(encoding="utf-8"))
    (folder / "vendor").mkdir()
    for name in _RUNTIME:
        shutil.copyfile(fetch.VENDOR / "ort" / name, folder / "vendor" / name)
    shutil.copyfile(plan.model, folder / "model.onnx")
    shutil.copyfile(plan.picture, folder / "test.png")
    write_json(folder / "expected.json", plan.expected)
    taken = input_of(plan.record)
    write_json(
        folder / "model.json",
        {
            "file": "model.onnx",
            "input": taken["name"],
            "layout": taken["layout"],
            "size": list(plan.record["input_size"]),
            "outputs": list(plan.record["outputs"]),
            "names": list(plan.names),
            "test": "test.png",
        },
    )
    for side in (180, 192, 512):  # Apple's are cut to shape by the system
        icon(side, rounded=side != 180).save(folder / f"icon-{side}.png")
    icon(512, rounded=False).save(folder / "icon-full.png")
    write_json(folder / "manifest.webmanifest", _manifest(plan))
    held = {
        file.relative_to(folder).as_posix(): sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "README.md"
    }
    digest = hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]
    values = {"ID": plan.id, "DIGEST": digest, "FILES": json.dumps(["./", *held])}
    write_text(folder / _WORKER, filled(templates / _WORKER, values))


def _manifest(plan: Plan) -> dict[str, object]:
    icons: list[dict[str, str]] = [
        {"src": f"icon-{side}.png", "sizes": f"{side}x{side}", "type": "image/png"} for side in (192, 512)
    ]
    icons.append({"src": "icon-full.png", "sizes": "512x512", "type": "image/png", "purpose": "maskable"})
    return {
        "id": f"./?{plan.id}",
        "name": plan.name,
        "short_name": plan.name,
        "description": plan.about,
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "theme_color": "#0a6b52",
        "background_color": "#f1f4f8",
        "icons": icons,
    }
