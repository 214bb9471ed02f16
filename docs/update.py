"""Fill the generated tables of this folder and of the README.

``python docs/update.py``, or with ``--check`` only see whether they are current.

A table stands between ``<!-- phonecv ARGUMENTS -->`` and ``<!-- end -->``; the command's output goes in between.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

from phonecv.cli import main as phonecv

BLOCK = re.compile(r"(<!-- phonecv (?P<arguments>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The page with every table made anew."""

    def fill(match: re.Match[str]) -> str:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = phonecv(match["arguments"].split())
        if status:
            raise SystemExit(f"`phonecv {match['arguments']}` ended with status {status}")
        return f"{match[1]}{output.getvalue().strip()}\n{match[3]}"

    return BLOCK.sub(fill, text)


def pages() -> list[Path]:
    """The README and every page of this folder."""
    folder = Path(__file__).resolve().parent
    return [folder.parent / "README.md", *sorted(folder.glob("*.md"))]


def main(check: bool) -> int:
    """Rewrite the pages, or only name those that are out of date."""
    old = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            old.append(page.name)
            if not check:
                page.write_text(new, encoding="utf-8")
    print(f"{'out of date' if check else 'rewritten'}: {', '.join(old) or 'none'}")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
