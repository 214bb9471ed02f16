"""The page of a bundle: what is in it, how it was checked, and how to use it. Opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phonecv._version import __version__
from phonecv.report import page, picture, table, text, tiles

#: Entries of a list in a report that the page shows; the record beside the file has all.
_SHOWN = 12


def bundle_page(name: str, folder: Path, records: Sequence[Mapping[str, Any]], licence: str) -> str:
    """The page's HTML.

    Args:
        name: heading.
        folder: of the bundle, its other files already there.
        records: of the model files, with "bytes".
        licence: of the weights.
    """
    first = records[0]
    parts = [
        f"<h1>{text(name)}</h1>",
        f'<p class="soft">{text(first["model"])}, {text(first["form"])} form; {text(_task(first))}</p>',
        tiles(
            [
                (f"{min(record['bytes'] for record in records) / 1e6:.2f} MB", "smallest file"),
                (str(len(records)), "model file" + "s" * (len(records) != 1)),
                (f"{first['input_size'][0]} x {first['input_size'][1]}", "input, pixels"),
                (f"{first['num_classes']:,}", "classes"),
            ]
        ),
        _files(records),
        _test(folder, first),
        _preparation(folder, records),
        _outside(records),
        f"<h2>Licence of the weights</h2><p>{text(licence)}</p>",
        f'<p class="soft">phonecv {text(__version__)}; manifest.json has the digests of all files</p>',
    ]
    return page(name, parts)


def _task(record: Mapping[str, Any]) -> str:
    tasks = {"classify": "a classifier", "detect": "a detector", "segment": "a segmenter"}
    return tasks.get(record.get("task", "classify"), "a network")


def _files(records: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for record in records:
        checked = record.get("checked") or {}
        agreement = checked.get("agreement")
        rows.append(
            (
                record["file"],
                record["format"],
                record.get("precision", ""),
                f"{record['bytes'] / 1e6:.2f}",
                "not checked" if record.get("difference") is None else f"{record['difference']:.1e}",
                "" if agreement is None else f"{agreement:.0%} of {checked.get('pictures')}",
                checked.get("by", ""),
            )
        )
    header = ("file", "format", "precision", "MB", "difference", "same best class", "run by")
    return (
        '<h2>Model files</h2><p class="soft">Difference: the largest from PyTorch\'s outputs, as a share of the '
        "largest output, on pictures.</p>" + table(header, rows, right=(3,))
    )


def _test(folder: Path, record: Mapping[str, Any]) -> str:
    test = record.get("test") or {}
    shown = picture(
        folder / test.get("picture", ""), "Test picture", "Prepared as below, it has to give these outputs."
    )
    rows = []
    for name, output in (test.get("outputs") or {}).items():
        values = output.get("values") or []
        best = sorted(range(len(values)), key=lambda index: -values[index])[:5]
        rows.append(
            (
                name,
                " x ".join(map(str, output["shape"])),
                ", ".join(f"{index}: {values[index]:.4f}" for index in best) or f"largest {output['max']:.4f}",
            )
        )
    return shown + (table(("output", "shape", "largest values"), rows) if rows else "")


def _preparation(folder: Path, records: Sequence[Mapping[str, Any]]) -> str:
    rows = [(key, value) for key, value in records[0]["preprocessing"].items()]
    rows.append(("input", records[0].get("input_range", "normalised")))
    readers = sorted(file.relative_to(folder).as_posix() for file in folder.glob("readers/**/*") if file.is_file())
    listed = f"<p>Readers that do this: {', '.join(map(text, readers))}</p>" if readers else ""
    return "<h2>How a picture becomes the input</h2>" + table(("", ""), rows) + listed


def _outside(records: Sequence[Mapping[str, Any]]) -> str:
    """What each format's writer found about accelerators."""
    rows = []
    for record in records:
        for key, value in (record.get("report") or {}).items():
            if key not in ("input", "output", "settings"):
                rows.append((record["file"], key.replace("_", " "), _short(value)))
    return "<h2>Operators and accelerators</h2>" + table(("file", "", ""), rows) if rows else ""


def _short(value: Any) -> str:
    """A value of a report in words: lists and tables joined, long ones cut after so many."""
    if isinstance(value, Mapping):
        return _first([f"{key}: {_short(one)}" for key, one in value.items()], ", ")
    if isinstance(value, list | tuple):
        return _first([_short(one) for one in value], "; ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _first(parts: Sequence[str], between: str) -> str:
    if not parts:
        return "none"
    more = f"{between}and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return between.join(parts[:_SHOWN]) + more
