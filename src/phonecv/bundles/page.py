"""The page of a bundle: what is in it, how it was checked, and how to use it. Opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phonecv._version import __version__
from phonecv.bundles.contents import Contents
from phonecv.bundles.expected import DRAWN
from phonecv.bundles.records import difference_text, remark_of, task_of
from phonecv.bundles.room import bundling_of
from phonecv.bundles.tensors import input_texts, output_texts
from phonecv.exporting.example import example_text
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.where.finding import HEADER, rows, sources
from phonecv.report import page, picture, table, text, tiles

#: Entries of a list in a report that the page shows; the record beside the file has all.
_SHOWN = 12


def bundle_page(contents: Contents) -> str:
    """The page's HTML."""
    records = contents.records
    first = records[0]
    given = "any" if first.get("dynamic_size") else f"{first['input_size'][0]} x {first['input_size'][1]}"
    parts = [
        f"<h1>{text(contents.name)}</h1>",
        f'<p class="soft">{text(first["model"])}, {text(first["form"])} form; {text(task_of(first).noun)}</p>',
        tiles(
            [
                (f"{min(record['bytes'] for record in records) / 1e6:.2f} MB", "smallest file"),
                (str(len(records)), "model file" + "s" * (len(records) != 1)),
                (given, "input, pixels (height x width)"),
                (f"{first['num_classes']:,}", "classes"),
            ]
        ),
        _files(records),
        _test(contents),
        *_tensors(records),
        _readers(contents),
        _where(records),
        _outside(records),
        f"<h2>Licence of the weights</h2><p>{text(contents.licence)}</p>",
        "<h2>Everything in the bundle</h2>" + table(("file", "what it is"), contents.files()),
        f'<p class="soft">phonecv {text(__version__)}; manifest.json has the digests of all files</p>',
    ]
    return page(contents.name, parts)


def _files(records: Sequence[FileRecord]) -> str:
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
                difference_text(record),
                "" if agreement is None or remark_of(record) else f"{agreement:.0%} of {checked.get('pictures')}",
                checked.get("by", ""),
            )
        )
    header = ("file", "format", "precision", "MB", "difference", "same best class", "run by")
    return (
        '<h2>Model files</h2><p class="soft">Difference: the largest from PyTorch\'s outputs, as a share of the '
        "largest output, on pictures.</p>" + table(header, rows, right=(3,))
    )


def _test(contents: Contents) -> str:
    """The test picture, or what was found in it, drawn; and the numbers."""
    test = contents.records[0].get("test") or {}
    expected, drawn = contents.expected, contents.folder / DRAWN
    if expected is None:
        if "picture" not in test:
            return ""
        return picture(contents.folder / test.get("picture", ""), "Test picture", "The records hold its outputs.")
    said = f"What {expected.through} gives for {expected.given}; the app has to find the same."
    said = " ".join(filter(None, (said, expected.found.note, example_text(test))))
    shown = f"<h2>Test</h2><p>{text(said)}</p>"
    if drawn.is_file() or expected.size is not None:
        shown = picture(drawn if drawn.is_file() else contents.folder / expected.given, "Test picture", said)
    header, rows = expected.found.header, expected.found.rows
    return shown + (table(header, rows, right=tuple(range(1, len(header)))) if rows else "")


def _tensors(records: Sequence[FileRecord]) -> list[str]:
    """Input and outputs of every file; files that are fed and read alike together."""
    groups: dict[str, list[str]] = {}
    for record in records:
        rows = [("in", one.name, one.shape, one.type, one.meaning) for one in input_texts(record)]
        rows += [("out", one.name, one.shape, one.type, one.meaning) for one in output_texts(record)]
        tensors = table(("", "name", "shape", "type", "meaning"), rows)
        steps = table(("", ""), bundling_of(record).preparation(record))
        after = "".join(f"<li>{text(line)}</li>" for line in bundling_of(record).reading(record))
        html = f"{tensors}<h3>How the input is made</h3>{steps}<h3>The outputs become a result</h3><ol>{after}</ol>"
        groups.setdefault(html, []).append(record["file"])
    return [f"<h2>Input and outputs of {text(', '.join(files))}</h2>{html}" for html, files in groups.items()]


def _readers(contents: Contents) -> str:
    """Where the sources are that do this."""
    found = [f"{readers.folder}/ for {', '.join(readers.served)}" for readers in contents.readers]
    found += [f"none for {name}: {why}" for name, why in contents.unread.items()]
    listed = "".join(f"<li>{text(line)}</li>" for line in found)
    return (
        f"<h2>Sources that do this</h2><p>C++, JavaScript, Kotlin and Swift, without dependencies.</p><ul>{listed}</ul>"
    )


def _outside(records: Sequence[FileRecord]) -> str:
    """What each format's writer reports of its operators."""
    rows = []
    for record in records:
        for key, value in (record.get("report") or {}).items():
            if key not in ("inputs", "output", "settings", "where"):
                rows.append((record["file"], key.replace("_", " "), _short(value)))
    return "<h2>Operators</h2>" + table(("file", "", ""), rows) if rows else ""


def _where(records: Sequence[FileRecord]) -> str:
    """What the accelerators of phones leave to the processor, by rules with sources."""
    found = [place for record in records for place in (record.get("report") or {}).get("where", ())]
    if not found:
        return ""
    said = "".join(f"<li>{text(source)}</li>" for source in sources(found))
    notes = "".join(f"<p>{text(place['title'])}: {text(place['note'])}</p>" for place in found if "note" in place)
    return (
        '<h2>Where it will run</h2><p class="soft">What accelerators are known to leave to the processor; only the'
        f" phone shows the rest.</p>{table(HEADER, rows(found))}<ol>{said}</ol>{notes}"
    )


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
