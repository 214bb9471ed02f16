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
from phonecv.exporting.formats import EXPORTERS
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
    """Every file with what is to be known of it, below each other: phones are narrow."""
    parts = [
        '<h2>Model files</h2><p class="soft">Difference: the largest from PyTorch\'s outputs, as a share of the '
        "largest output, on pictures.</p>"
    ]
    for record in records:
        checked = record.get("checked") or {}
        agreement = checked.get("agreement")
        rows = [
            ("format", f"{EXPORTERS[record['format']].title}, {record.get('precision', '')}"),
            ("size", f"{record['bytes'] / 1e6:.2f} MB"),
            ("difference", difference_text(record)),
        ]
        if agreement is not None and not remark_of(record):
            alike = "same labels" if record.get("decoding", {}).get("activation") == "sigmoid" else "same best class"
            rows.append((alike, f"{agreement:.0%} of {checked.get('pictures')}"))
        if checked.get("by"):
            rows.append(("run by", checked["by"]))
        parts.append(f"<h3>{text(record['file'])}</h3>{table(('', ''), rows)}")
    return "".join(parts)


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
    if expected.size is not None:
        shown = picture(contents.folder / expected.given, "Test picture", said)
        if drawn.is_file():
            shown += picture(drawn, "What has to be found", "", level=3)
    elif drawn.is_file():
        shown = picture(drawn, "Test picture", said)
    header, rows = expected.found.header, expected.found.rows
    return shown + (table(header, rows, right=tuple(range(1, len(header)))) if rows else "")


def _tensors(records: Sequence[FileRecord]) -> list[str]:
    """Inputs and outputs of every file, and the steps before and after; what several files share is said once."""
    tensors: dict[str, list[str]] = {}
    steps: dict[str, list[str]] = {}
    for record in records:
        taken, given = input_texts(record), output_texts(record)
        listed = "".join(
            f"<li>{way} <b>{text(one.name)}</b>, {text(one.shape)}, {text(one.type)}: {text(one.meaning)}</li>"
            for way, found in (("in", taken), ("out", given))
            for one in found
        )
        tensors.setdefault(f"<ul>{listed}</ul>", []).append(record["file"])
        room = bundling_of(record)
        before = "".join(f"<li><b>{text(step)}</b>: {text(how)}</li>" for step, how in room.preparation(record))
        after = "".join(f"<li>{text(line)}</li>" for line in room.reading(record))
        html = f"<h3>How the input is made</h3><ol>{before}</ol><h3>The outputs become a result</h3><ol>{after}</ol>"
        steps.setdefault(html, []).append(record["file"])
    parts = ["<h2>Inputs and outputs</h2>"]
    parts += [f"<h3>{text(', '.join(files))}</h3>{html}" for html, files in tensors.items()]
    for html, files in steps.items():
        whose = "" if len(steps) == 1 else f" of {text(', '.join(files))}"
        parts.append(f"<h2>Before and after the network{whose}</h2>{html}")
    return parts


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
