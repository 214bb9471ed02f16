"""What a bundle's files give for its test picture, from picture to result: `expected.json` and a drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from phonecv.bundles.facts import Record, task_of
from phonecv.data.pictures.opening import open_image
from phonecv.exporting.formats import exporter_for
from phonecv.files import write_json

RESULT, MAP, DRAWN = "expected.json", "expected.png", "result.png"

#: Longer side of the drawing, pixels.
_SIDE = 1024

#: Least score of an object at first, and the most that are listed.
_THRESHOLD, _LISTED = 0.3, 20


def write_expected(folder: Path, records: Sequence[Record]) -> dict[str, Any] | None:
    """Predict the test picture through the first file whose runtime is installed; write the result beside it.

    Args:
        folder: of the bundle, files and test picture already there.
        records: of the files, with "file".

    Returns:
        What expected.json holds; None where no file can be run or there is no test picture.
    """
    for record in records:
        file = folder / record["file"]
        exporter, name = exporter_for(file), record.get("test", {}).get("picture")
        if exporter is None or exporter.missing() or not name or not (folder / name).is_file():
            continue
        predict = {"classify": _classified, "detect": _detected, "segment": _segmented}[task_of(record)]
        found = predict(folder, file, folder / name, record)
        if found is None:
            continue
        with Image.open(folder / name) as image:
            width, height = image.size
        result = {"picture": name, "width": width, "height": height, "through": file.name, **found}
        write_json(folder / RESULT, result)
        return result
    return None


def _classified(folder: Path, file: Path, picture: Path, record: Record) -> dict[str, Any] | None:
    if list(record["outputs"]) != ["logits"] or record["input_size"][0] != record["input_size"][1]:
        return None  # features, or a shape that evaluation does not use
    from phonecv.classify.predict import predict

    (prediction,) = predict(file, picture, topk=5, workers=0)
    rows = zip(prediction.indices, prediction.labels, prediction.probabilities, strict=True)
    return {"best": [{"label": index, "name": name, "probability": round(share, 6)} for index, name, share in rows]}


def _detected(folder: Path, file: Path, picture: Path, record: Record) -> dict[str, Any]:
    from phonecv.data.pictures.reading import planes
    from phonecv.detect.draw import draw_detections, to_image
    from phonecv.detect.predict import find
    from phonecv.detect.runner import open_detector

    runner, tensor = open_detector(file), planes(open_image(picture))
    (every,) = find(runner, [tensor], 0.0)
    # A picture unlike those of the training may hold nothing that is sure.
    threshold = _THRESHOLD
    while len(every) and every.scores.max() < threshold:
        threshold /= 2
    found = every[every.scores >= np.float32(threshold)]
    _save_small(to_image(draw_detections(tensor, found[:_LISTED], runner.classes)), folder / DRAWN)
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    objects = [
        {
            "label": label,
            "name": runner.classes[label],
            "score": round(score, 5),
            **dict(zip(("left", "top", "right", "bottom"), (round(side, 2) for side in box), strict=True)),
        }
        for label, score, box in rows
    ]
    return {"threshold": threshold, "count": len(objects), "objects": objects[:_LISTED]}


def _segmented(folder: Path, file: Path, picture: Path, record: Record) -> dict[str, Any]:
    from phonecv.data.labelmaps.classes import palette_for
    from phonecv.data.pictures.reading import planes
    from phonecv.segment.overlay import legend, overlay, save_label_map, shares
    from phonecv.segment.runner import open_segmenter

    runner, image = open_segmenter(file), open_image(picture)
    labels = runner([planes(image)])[0].cpu().numpy()
    palette = palette_for(runner.classes)
    save_label_map(labels, palette, folder / MAP)
    share = shares(labels, len(runner.classes))
    order = [int(label) for label in np.argsort(-share, kind="stable") if share[label]]
    drawn = overlay(image, labels, palette)
    drawn.thumbnail((_SIDE, _SIDE))
    strip = legend(max(drawn.width, _SIDE // 3), order, runner.classes, palette)
    sheet = Image.new("RGB", (strip.width, drawn.height + strip.height), "white")
    sheet.paste(drawn, (0, 0))
    sheet.paste(strip, (0, drawn.height))
    sheet.save(folder / DRAWN)
    rows = [{"label": label, "name": runner.classes[label], "share": round(float(share[label]), 6)} for label in order]
    return {"map": MAP, "shares": rows}


def _save_small(image: Image.Image, path: Path) -> None:
    image.thumbnail((_SIDE, _SIDE))
    image.save(path)


def expected_rows(expected: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of the result."""
    if "best" in expected:
        return ("class", "probability"), [(one["name"], f"{one['probability']:.4f}") for one in expected["best"]]
    if "shares" in expected:
        return ("class", "share of the pixels"), [(one["name"], f"{one['share']:.2%}") for one in expected["shares"]]
    sides = ("left", "top", "right", "bottom")
    rows: list[tuple[str, ...]] = [
        (one["name"], f"{one['score']:.3f}", *(f"{one[side]:.1f}" for side in sides)) for one in expected["objects"]
    ]
    return ("class", "score", *sides), rows
