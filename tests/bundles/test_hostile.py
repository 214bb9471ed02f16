"""Pages of bundles whose records hold other people's markup: shown as text, wherever it stands."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from phonecv.bundles.contents import Contents
from phonecv.bundles.expected import Expected
from phonecv.bundles.page import bundle_page
from phonecv.bundles.readme import bundle_readme
from phonecv.bundles.room import Found
from phonecv.exporting.fields import FileRecord

EVIL = "</script><script>alert('x')</script>\"&\u202e"


class Tags(HTMLParser):
    """The names of all tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def contents(folder: Path) -> Contents:
    record: FileRecord = {
        "task": "classify", "model": EVIL, "form": EVIL, "num_classes": 2, "classes": [EVIL, "b"], "format": "onnx",
        "input_size": [32, 32], "input_range": EVIL, "outputs": ["logits", EVIL], "precision": EVIL, "file": "a.onnx",
        "preprocessing": {"size": 32, "crop": 1.0, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3},
        "difference": 1e-6, "checked": {"by": EVIL, "difference": 1e-6, "agreement": 1.0, "pictures": 1}, "bytes": 5,
        "report": {"inputs": [{"name": EVIL, "layout": EVIL, "type": EVIL}], EVIL: [EVIL, {EVIL: EVIL}]},
    }  # fmt: skip
    found = Found({}, EVIL, ("class", "probability"), [(EVIL, "1.0000")], note=EVIL, files={EVIL: EVIL})
    expected = Expected(EVIL, (3, 3), EVIL, found)
    return Contents(EVIL, folder, [record], [], {"a.onnx": EVIL}, expected, {EVIL: EVIL}, {EVIL: EVIL}, EVIL)


def test_the_page(tmp_path: Path) -> None:
    page = bundle_page(contents(tmp_path))
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.found
    assert "alert(&#x27;x&#x27;)" in page
    assert "\u202e" not in page


def test_the_readme(tmp_path: Path) -> None:
    page = bundle_readme(contents(tmp_path))
    assert "<script" not in page
    assert "alert('x')" in page
