"""What `docs/build_site.py` says of a site; building it is a step of its own (`python3 dev.py docs`)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
pytest.importorskip("nbformat", reason="the site's tools are not installed")

import build_site  # noqa: E402
from run_notebooks import NOTEBOOKS  # noqa: E402


def write(site: Path, **pages: str) -> Path:
    site.mkdir()
    for name, text in pages.items():
        (site / name.replace("_", ".")).write_text(text)
    return site


def test_links_to_pages_and_places_are_followed(tmp_path: Path) -> None:
    site = write(
        tmp_path / "site",
        index_html='<a href="other.html#here">x</a> <a href="other.html#there">x</a> <a href="gone.html">x</a> '
        '<a href="https://example.org/">x</a> <a href="#top">x</a> <img src="no.png"> <a href="./other.html?q=1">x</a>',
        other_html='<h2 id="here">x</h2> <a href="index.html">x</a>',
    )
    found = [line.removeprefix("index.html: ") for line in build_site.broken_links(site)]
    assert found == ["#top", "gone.html", "no.png", "other.html#there"]


def test_what_a_browser_would_fetch_elsewhere_is_found(tmp_path: Path) -> None:
    site = write(
        tmp_path / "site",
        index_html='<script src="https://cdn.example/x.js"></script> <link href="//fonts.example/f.css" rel="x">'
        '<a href="https://example.org/">a link</a> <script src="own.js"></script> <link rel="canonical" href="https://me/">',
        style_css='@import "own.css"; a { background: url(https://pictures.example/p.png) }',
    )
    assert [line.split("://")[-1].split("//")[-1] for line in build_site.outside_requests(site)] == [
        "cdn.example/x.js",
        "fonts.example/f.css",
        "pictures.example/p.png",
    ]


def test_links_of_a_page_lead_to_the_pages_of_the_site() -> None:
    text = build_site.on_the_site(
        "[a](docs/train.md) [b](CHANGELOG.md) [c](benchmarks/kinds.py#x)", DOCS.parent / "README.md"
    )
    assert text == f"[a](train.md) [b](changelog.md) [c]({build_site.REPOSITORY}/blob/main/benchmarks/kinds.py#x)"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_what_their_cells_gave(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run docs/run_notebooks.py"
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r'"([\w/-]+\.md)"', (DOCS / "zensical.toml").read_text())
    pages = [*build_site.pages(), *(f"reference/{name}.md" for name in build_site.REFERENCE)]
    assert sorted(listed) == sorted([*pages, *(f"notebooks/{path.stem}.md" for path in NOTEBOOKS)])


def test_the_reference_names_everything_public() -> None:
    assert not build_site.unlisted()
