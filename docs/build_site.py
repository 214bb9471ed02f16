"""Build the documentation site in build/site: the guides, the reference from docstrings, the pictures, and search.

    python3 dev.py docs
    python3 dev.py docs --stored    show what the notebooks hold in place of running them

The pages are the files of this folder, the README (first page), CHANGELOG.md and CONTRIBUTING.md; the notebooks, which
are run for it; and the reference, made of `REFERENCE`. Links between pages work on the site as they do in the
repository. The build is strict: a link or a name that leads nowhere ends it, and so does a page that would ask another
machine for a script, a style, a font or a picture: the site reads the same without a network.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import phonecv
import run_notebooks as notebooks
from phonecv.late import late_modules

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
BUILD = ROOT / "build" / "docs"
SOURCE, SITE = BUILD / "pages", BUILD / "site"

#: Page of the reference -> what stands on it: names of `phonecv`, and modules whose public names are meant.
REFERENCE: Mapping[str, list[str]] = {
    "networks": [
        "create_model",
        "list_models",
        "create_detector",
        "list_detectors",
        "create_segmenter",
        "list_segmenters",
        "create_generator",
        "list_generators",
        "create_video_classifier",
        "fuse",
        "accelerate",
    ],
    "weights": [
        "load_checkpoint",
        "read_checkpoint",
        "save_checkpoint",
        "convert",
        "push_to_hub",
        "from_pretrained",
        "info",
    ],
    "training": ["train", "distill", "phonecv.training.config", "phonecv.classify.config"],
    "predicting": ["predict", "evaluate", "generate", "phonecv.options", "phonecv.classify.verbs"],
    "dense": ["phonecv.detect.config", "phonecv.detect.verbs", "phonecv.segment.config", "phonecv.segment.verbs"],
    "shipping": ["export", "quantize", "bundle", "verify", "phonecv.exporting.options"],
    "measuring": ["bench", "compare", "doctor", "audit", "convert_data", "samples", "demo"],
    "errors": ["UserError"],
}

#: Files that are linked to from a page but are no pages: on the site they are read in the repository.
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]

_LINK = re.compile(r"(\]\()(?P<target>[^)#:\s]+)(?P<rest>#[^)]*)?\)")
#: What makes a browser ask another machine when a page is opened; links that somebody follows are no such thing.
_REQUEST = re.compile(
    r"""<(?:script|img|iframe|source|link(?![^>]*rel="?(?:canonical|alternate|prev|next))[^>]*?)\s[^>]*?"""
    r"""(?:src|href)="?(?P<address>(?:https?:)?//[^"\s>]+)"""
)
_STYLE_REQUEST = re.compile(r"""(?:@import|url\()\s*["']?(?P<address>(?:https?:)?//[^"')\s]+)""")


def pages() -> dict[str, Path]:
    """Name on the site -> file in the repository."""
    guides = {path.name: path for path in sorted(DOCS.glob("*.md")) if path.name != "README.md"}
    return {"index.md": ROOT / "README.md", "guides.md": DOCS / "README.md"} | guides | {
        "changelog.md": ROOT / "CHANGELOG.md",
        "contributing.md": ROOT / "CONTRIBUTING.md",
    }  # fmt: skip


def on_the_site(text: str, path: Path) -> str:
    """A page with its links as they are on the site."""
    names = {file.resolve(): name for name, file in pages().items()}
    names |= {file: f"notebooks/{file.stem}.md" for file in notebooks.NOTEBOOKS}

    def follow(match: re.Match[str]) -> str:
        target = (path.parent / match["target"]).resolve()
        if target in names:
            address = names[target]
        elif target.is_relative_to(DOCS):
            address = target.relative_to(DOCS).as_posix()
        else:
            address = f"{REPOSITORY}/blob/main/{target.relative_to(ROOT).as_posix()}"
        return f"{match[1]}{address}{match['rest'] or ''})"

    return _LINK.sub(follow, text)


def reference(name: str) -> str:
    """A page of the reference: what the site makes of docstrings."""
    lines = [f"# {name.capitalize()}", ""]
    for entry in REFERENCE[name]:
        module, shown = (late_modules("phonecv") | {"UserError": "phonecv.errors"}).get(entry), f"phonecv.{entry}"
        if module is None:
            lines += [f"::: {entry}", ""]
        else:
            lines += [f"::: {module}.{entry}", "    options:", f"      heading: {shown}", ""]
    return "\n".join(lines)


def unlisted() -> set[str]:
    """Public names of `phonecv` that the reference lacks."""
    return set(phonecv.__all__) - {"__version__"} - {entry for entries in REFERENCE.values() for entry in entries}


def write_sources(*, stored: bool) -> None:
    """Lay out what the site is built from."""
    outputs = notebooks.read if stored else notebooks.executed
    shutil.rmtree(SOURCE, ignore_errors=True)
    (SOURCE / "reference").mkdir(parents=True)
    for name, path in pages().items():
        (SOURCE / name).write_text(on_the_site(path.read_text(encoding="utf-8"), path), encoding="utf-8")
    for name in REFERENCE:
        (SOURCE / "reference" / f"{name}.md").write_text(reference(name), encoding="utf-8")
    for path in notebooks.NOTEBOOKS:
        page = SOURCE / "notebooks" / f"{path.stem}.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text(notebooks.as_page(outputs(path), page.with_suffix("")), encoding="utf-8")
    shutil.copytree(DOCS / "images", SOURCE / "images")


def outside_requests(site: Path) -> Iterator[str]:
    """What a browser would ask other machines for when it opens a page of the site."""
    for path in sorted(site.rglob("*")):
        found = {".html": _REQUEST, ".css": _STYLE_REQUEST}.get(path.suffix)
        for match in found.finditer(path.read_text(encoding="utf-8")) if found else ():
            yield f"{path.relative_to(site)}: {match['address']}"


def broken_links(site: Path) -> Iterator[str]:
    """Links within the site that lead to no page, or to no place on it: the tool's own strictness lets some pass."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    places = {path: set(re.findall(r"""\bid="?([^"\s>]+)""", text)) for path, text in texts.items()}
    for path, text in texts.items():
        for address in sorted(set(re.findall(r"""<(?:a|img)\s[^>]*?(?:href|src)="?([^"\s>]+)""", text))):
            parts = urlsplit(html.unescape(address))
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            place = unquote(parts.fragment)
            if not target.is_file() or (place and target in places and place not in places[target] | {"__top"}):
                yield f"{path.relative_to(site)}: {address}"


def main() -> None:
    """Build the site."""
    if missing := unlisted():
        sys.exit(f"docs/build_site.py: REFERENCE lacks {', '.join(sorted(missing))}")
    write_sources(stored="--stored" in sys.argv[1:])
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copy(DOCS / "zensical.toml", BUILD)  # the tool wants all of a project in the folder of its settings
    tool = Path(sys.executable).with_name("zensical")
    done = subprocess.run([tool, "build", "--strict", "--clean", "--config-file", BUILD / "zensical.toml"], cwd=BUILD)
    if done.returncode:
        sys.exit(done.returncode)
    for fault, found in (
        ("would ask other machines for", outside_requests),
        ("links to what is not there", broken_links),
    ):
        if places := list(found(SITE)):
            sys.exit(f"the site {fault}:\n" + "\n".join(places))
    print(f"{SITE.relative_to(ROOT)}/index.html: {len(list(SITE.rglob('*.html')))} pages")


if __name__ == "__main__":
    main()
