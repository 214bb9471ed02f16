"""What a phone sends back: checked value by value, because anything on the network can send something."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phonecv._version import __version__
from phonecv.browser.fetch import versions
from phonecv.files import write_json, write_text
from phonecv.tables import csv_text
from phonecv.text import printable

log = logging.getLogger("phonecv.benchmarking")

#: Most bytes, rows and rounds of one report, and most reports of one run of the server.
MAX_BYTES, MAX_ROWS, MAX_ROUNDS, MAX_REPORTS = 1_000_000, 500, 10_000, 1000

RUNTIMES = ("onnxruntime-web", "litert")
BACKENDS = ("wasm", "webgpu")

#: Columns of phones.csv.
COLUMNS = (
    "date", "device", "browser", "platform", "cores", "isolated", "file", "model", "form", "precision", "runtime",
    "backend", "threads", "batch", "height", "width", "rounds", "median_ms", "p10_ms", "p90_ms", "difference",
    "load_ms", "sha256",
)  # fmt: skip


class FiguresError(ValueError):
    """A report that is not what the page sends; the message says what is wrong."""


def parse(body: bytes) -> Any:
    """JSON without NaN and infinity."""

    def refuse(name: str) -> None:
        raise FiguresError(f"{name} is not a number in JSON")

    try:
        return json.loads(body, parse_constant=refuse)
    except FiguresError:
        raise
    except (ValueError, RecursionError) as error:
        raise FiguresError(f"not JSON: {type(error).__name__}") from error


def check(value: Any, files: Sequence[str]) -> dict[str, Any]:
    """The report with exactly the fields it should have, about files that were offered."""
    report = _object(value, "the report")
    if report.get("version") != 1:
        raise FiguresError(f"version {report.get('version')!r} is not 1; load the page again")
    device = _object(report.get("device"), "device")
    gpu = device.get("gpu")
    return {
        "version": 1,
        "name": _text(report, "name", 80),
        "device": {
            **{key: _text(device, key, 400) for key in ("model", "platform", "browser", "user_agent")},
            "cores": _whole(device, "cores", 1, 4096),
            "memory_gb": None if device.get("memory_gb") is None else _number(device, "memory_gb", 0, 1e6),
            "screen": [_number({"screen": side}, "screen", 0, 1e6) for side in _list(device, "screen", 3)],
            "isolated": _flag(device, "isolated"),
            "secure": _flag(device, "secure"),
            "gpu": None if gpu is None else _gpu(_object(gpu, "gpu")),
        },
        "rows": [_row(_object(row, "a row"), files) for row in _list(report, "rows", MAX_ROWS)],
        "failed": [_failed(_object(row, "a failure"), files) for row in _list(report, "failed", MAX_ROWS)],
    }


def _gpu(gpu: Mapping[str, Any]) -> dict[str, Any]:
    texts = {key: _text(gpu, key, 200) for key in ("vendor", "architecture", "description")}
    return {**texts, "kind": _one_of(gpu, "kind", ("hardware", "software")), "fp16": _flag(gpu, "fp16")}


def _way(row: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    return {
        "file": _one_of(row, "file", files),
        "backend": _one_of(row, "backend", BACKENDS),
        "threads": _whole(row, "threads", 1, 4096),
    }


def _row(row: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    return {
        **_way(row, files),
        "runtime": _one_of(row, "runtime", RUNTIMES),
        **{key: _whole(row, key, 1, 1_000_000) for key in ("batch", "height", "width", "rounds")},
        **{key: _number(row, key, 0, 1e9) for key in ("median_ms", "p10_ms", "p90_ms", "load_ms")},
        "difference": None if row.get("difference") is None else _number(row, "difference", 0, 1e30),
        "times_ms": [_number({"times_ms": value}, "times_ms", 0, 1e9) for value in _list(row, "times_ms", MAX_ROUNDS)],
    }


def _failed(row: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    return {**_way(row, files), "reason": _text(row, "reason", 400)}


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise FiguresError(f"{what} is no object")
    return value


def _list(owner: Mapping[str, Any], key: str, longest: int) -> list[Any]:
    value = owner.get(key)
    if not isinstance(value, list) or len(value) > longest:
        raise FiguresError(f"{key} is no list of at most {longest}")
    return value


def _text(owner: Mapping[str, Any], key: str, longest: int) -> str:
    value = owner.get(key)
    if not isinstance(value, str) or len(value) > longest:
        raise FiguresError(f"{key} is no text of at most {longest} letters")
    # Terminals and tables get to see it; half of a surrogate pair could not be written as UTF-8.
    return "".join(letter if letter.isprintable() else "?" for letter in value).strip()


def _flag(owner: Mapping[str, Any], key: str) -> bool:
    value = owner.get(key)
    if not isinstance(value, bool):
        raise FiguresError(f"{key} is neither true nor false")
    return value


def _number(owner: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = owner.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FiguresError(f"{key} is no number from {low:g} to {high:g}")
    return value


def _whole(owner: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = _number(owner, key, low, high)
    if value != int(value):
        raise FiguresError(f"{key} is no whole number")
    return int(value)


def _one_of(owner: Mapping[str, Any], key: str, known: Sequence[str]) -> str:
    value = owner.get(key)
    if not isinstance(value, str) or value not in known:
        raise FiguresError(f"{key} is none of {', '.join(known)}")
    return value


class Reports:
    """The reports of a run folder: ``phones/<date>-<device>.json`` each, and all rows in ``phones.csv``.

    The folder is made when the first report arrives; `files` has facts about those that were offered, by name.
    """

    def __init__(self, folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder, self.files = folder, files
        self.count = 0
        self._lock = threading.Lock()

    def save(self, report: Mapping[str, Any]) -> Path:
        """Write a checked report, unless there were too many."""
        with self._lock:
            if self.count >= MAX_REPORTS:
                raise FiguresError(f"{MAX_REPORTS} reports have come already; start the server again for more")
            self.count += 1
            name = device_name(report)
            slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "device"
            stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
            place = self.folder / "phones"
            path, number = place / f"{stem}.json", 1
            while path.exists():
                number += 1
                path = place / f"{stem}-{number}.json"
            used = {row["file"] for row in [*report["rows"], *report["failed"]]}
            files = {file: dict(told) for file, told in self.files.items() if file in used}
            date = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            made_by = {"date": date, "phonecv": __version__, "runtimes": versions(), "files": files}
            write_json(path, {**report, **made_by})
            write_text(self.folder / "phones.csv", _table(sorted(place.glob("*.json"))))
        return path


def device_name(report: Mapping[str, Any]) -> str:
    """What the person called the device, or what its browser says."""
    device = report["device"]
    return report["name"] or device["model"] or f"{device['platform']} {device['browser']}".strip() or "device"


def _table(paths: Sequence[Path]) -> str:
    """All rows of these reports; one that is damaged is left out and told."""
    rows: list[tuple[Any, ...]] = []
    for path in paths:
        try:
            rows += _rows(path)
        except (FiguresError, OSError) as error:
            log.warning("%s is no report and was left out of phones.csv: %s", printable(path), printable(str(error)))
    return csv_text(COLUMNS, rows)


def _rows(path: Path) -> list[tuple[Any, ...]]:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 4 * MAX_BYTES:
        raise FiguresError("no file, or a larger one than any report")
    value = _object(parse(path.read_bytes()), "the report")
    files = {name: _object(told, "a file's facts") for name, told in _object(value.get("files"), "files").items()}
    report = check(value, list(files))
    device = {key: report["device"][key] for key in ("browser", "platform", "cores", "isolated")}
    common = {**device, "date": _text(value, "date", 40), "device": device_name(report)}
    every = [{**common, **files[row["file"]], **row} for row in report["rows"]]
    return [tuple(row.get(name, "") for name in COLUMNS) for row in every]
