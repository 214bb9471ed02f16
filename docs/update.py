"""Fill the generated tables of this folder and of the README, and draw the generated pictures.

``python docs/update.py``, or with ``--check`` only see whether they are current.

A table stands between ``<!-- phonecv ARGUMENTS -->`` and ``<!-- end -->``; the command's output goes in between. Or
between ``<!-- results NAME -->`` and ``<!-- end -->``; then it is the table of that name of `benchmarks/tables.py`,
made from the committed results, and so are the pictures. Between ``<!-- names SOURCE -->`` and ``<!-- end -->``
stand the names that `phonecv.migration` has of a source.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
from pathlib import Path
from types import ModuleType

from PIL import Image

from phonecv import migration
from phonecv.cli import main as phonecv
from phonecv.cli.output import markdown_table

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"(<!-- (?P<kind>phonecv|results|names) (?P<arguments>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def benchmarks() -> ModuleType:
    """`benchmarks/tables.py`, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("benchmark_tables", DOCS.parent / "benchmarks" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def filled(text: str) -> str:
    """The page with every table made anew."""

    def fill(match: re.Match[str]) -> str:
        content = {"phonecv": _command, "results": _results, "names": _names}[match["kind"]](match["arguments"])
        return f"{match[1]}{content.strip()}\n{match[4]}"

    return BLOCK.sub(fill, text)


def _command(arguments: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = phonecv(arguments.split())
    if status:
        raise SystemExit(f"`phonecv {arguments}` ended with status {status}")
    return output.getvalue()


def _results(name: str) -> str:
    tables = benchmarks().TABLES
    if name not in tables:
        raise SystemExit(f"there is no table {name!r} in benchmarks/tables.py, only {', '.join(tables)}")
    return tables[name]()


def _names(source: str) -> str:
    return markdown_table(("there", "here"), list(migration.rows(source)))


def old_pictures() -> list[str]:
    """Generated pictures that are missing or were drawn from other results than the committed ones."""
    tables = benchmarks()
    old = []
    for name, (results, _) in tables.PICTURES.items():
        path = DOCS / name
        if (tables.RESULTS / f"{results}.json").is_file() and _source(path) != tables.digest(results):
            old.append(name)
    return old


def _source(path: Path) -> str:
    if not path.is_file():
        return ""
    with Image.open(path) as picture:
        return str(picture.info.get("Source", ""))


def pages() -> list[Path]:
    """The README and every page of this folder."""
    return [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]


def main(check: bool) -> int:
    """Rewrite pages and pictures, or only name those that are out of date."""
    old = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            old.append(page.name)
            if not check:
                page.write_text(new, encoding="utf-8")
    for name in old_pictures():
        old.append(name)
        if not check:
            benchmarks().PICTURES[name][1](DOCS / name)
    print(f"{'out of date' if check else 'rewritten'}: {', '.join(old) or 'none'}")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
