"""README.md of a bundle: for the person who builds the app."""

from __future__ import annotations

from collections.abc import Sequence

from phonecv._version import __version__
from phonecv.bundles.contents import Contents
from phonecv.bundles.records import decoding_kind, remark_of, takes_picture, task_of
from phonecv.bundles.room import bundling_of
from phonecv.bundles.tensors import input_texts, output_texts
from phonecv.exporting.example import example_text
from phonecv.exporting.fields import FileRecord
from phonecv.exporting.formats import EXPORTERS
from phonecv.text import counted, printable


def bundle_readme(contents: Contents) -> str:
    """The text, in Markdown."""
    first = contents.records[0]
    parts = [
        f"# {_line(contents.name)}",
        f"{_line(first['model'])}: {task_of(first).noun} of {counted(first['num_classes'], 'classes')} in files"
        f" for phones, made and checked by phonecv {__version__}.",
        "## Files",
        _table(("file", "what it is"), [(f"`{name}`", what) for name, what in contents.files()]),
        *_models(contents.records),
        *_readers(contents),
        *_test(contents),
        f"## Licence of the weights\n\n{contents.licence.replace('<', '&lt;')}",
    ]
    return "\n\n".join(parts) + "\n"


def _models(records: Sequence[FileRecord]) -> list[str]:
    """Tensors of every file, and the way to and from them; what equals the file before is said once."""
    parts: list[str] = []
    said: dict[str, str] = {}
    for record in records:
        exporter = EXPORTERS[record["format"]]
        precision, size = _line(record.get("precision", "")), f"{record['bytes'] / 1e6:.2f} MB"
        parts.append(f"## {record['file']}\n\n{exporter.title}, {precision}, {size}. {_checked(record)}")
        rows = [("in", f"`{one.name}`", one.shape, one.type, one.meaning) for one in input_texts(record)]
        rows += [("out", f"`{one.name}`", one.shape, one.type, one.meaning) for one in output_texts(record)]
        parts.append(_table(("", "name", "shape", "type", "meaning"), rows))
        if record["format"] in ("executorch", "pt2"):
            parts.append("The file knows no names; outputs come in this order.")
        if record.get("dynamic_batch"):
            parts.append("B: any number of pictures.")
        if record.get("dynamic_size"):
            parts.append("H, W: any height and width; h, w follow from them.")
        if takes_picture(record):
            parts.append("Core ML takes a picture (a CVPixelBuffer): round the values of the reader to bytes.")
        steps = [f"**{step}**: {_line(how)}" for step, how in bundling_of(record).preparation(record)]
        for title, lines in (
            ("How the input is made", steps),
            ("The outputs become a result", [_line(step) for step in bundling_of(record).reading(record)]),
        ):
            listed = "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
            before = said.setdefault(listed, record["file"])
            parts.append(f"{title}:\n\n{listed}" if before == record["file"] else f"{title} as for {before}.")
    return parts


def _checked(record: FileRecord) -> str:
    checked = record.get("checked") or {}
    by = _line(checked.get("by", "its runtime"))
    if remark := remark_of(record):
        return f"Run by {by}, but nothing could be compared with PyTorch: {_line(remark)}."
    if record.get("difference") is None or not checked:
        return "It was not run after it was written."
    return (
        f"Run by {by} on {counted(checked.get('pictures') or 0, 'pictures')} and compared with PyTorch:"
        f" difference {record['difference']:.1e} of the largest output."
    )


def _readers(contents: Contents) -> list[str]:
    parts = []
    if contents.readers:
        parts.append(
            "## Readers\n\nSources without dependencies that do all of this: copy that of your language into the app."
            " How to call it stands at its top. The tests of phonecv compile and run those for C++ and JavaScript and"
            f" compare them with phonecv itself. {bundling_of(contents.records[0]).READERS_TESTED}"
        )
        if len(contents.readers) > 1:
            rows = [(f"`{readers.folder}/`", ", ".join(readers.served)) for readers in contents.readers]
            parts.append(_table(("folder", "for"), rows))
    if contents.unread:
        lines = "\n".join(f"- {_line(name)}: {_line(why)}." for name, why in contents.unread.items())
        heading = "" if parts else "## Readers\n\n"
        parts.append(f"{heading}No readers for\n\n{lines}")
    return parts


def _test(contents: Contents) -> list[str]:
    expected = contents.expected
    if expected is None:
        return []
    found, first = expected.found, contents.records[0]
    rounding = "8-bit and 16-bit files differ a little more than rounding."
    more = ""
    if found.total is not None and found.total > len(found.rows):
        more = f" The best {len(found.rows)} of {found.total} are listed."
    if decoding_kind(first) and any(decoding_kind(one) != decoding_kind(first) for one in contents.records):
        rounding += " Files with another part of the decoding may differ at borders and between equal scores."
    example = _line(example_text(first.get("test") or {}))
    given, through = _line(expected.given), _line(expected.through)
    size = "" if expected.size is None else f" ({expected.size[0]} x {expected.size[1]}, width x height)"
    return [
        f"## Test\n\nGive the app `{given}`{size}."
        f" Through `{through}` it has to find {_line(found.what)}; `expected.json` has the numbers. {rounding}{more}"
        + f" {example}"
        * bool(example),
        _table(found.header, found.rows) if found.rows else "Nothing is found in this picture.",
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_line(cell).replace("|", "\\|") for cell in row) + " |" for row in lines)


def _line(text: object) -> str:
    """On one line, and no HTML."""
    return printable(" ".join(str(text).split())).replace("<", "&lt;")
