"""The report: valid HTML on its own, whatever texts the run folder holds."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from phonecv.errors import UserError
from phonecv.report import write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}
EVIL = "<script>alert('x')</script> & \"q\" 日本"


class Checker(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(path: Path) -> Checker:
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    checker.close()
    assert checker.open == []
    return checker


def full_run(folder: Path) -> Path:
    for name in ("evaluation", "predictions"):
        (folder / name).mkdir()
    for name in ("curves.png", "evaluation/confusion.png", "evaluation/worst.png", "predictions/predictions.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "config.yaml").write_text(f"model: {EVIL}\n", encoding="utf-8")
    summary = {
        "model": EVIL, "data": EVIL, "count": 200, "top1": 171, "top5": 192, "top1_percent": 85.5, "top5_percent": 96.0,
    }  # fmt: skip
    (folder / "evaluation" / "summary.json").write_text(json.dumps(summary))
    (folder / "evaluation" / "per_class.csv").write_text(
        f'class,count,top1,top5,top1_percent\n"{EVIL.replace(chr(34), chr(34) * 2)}",3,1,2,33.33\nb,1,1,1,100.00\n',
        encoding="utf-8",
    )
    (folder / "evaluation" / "skipped.csv").write_text("path,reason\nx.jpg,empty file\n")
    form = {"parameters": 1234567, "bytes": 5_000_000, "macs": 25_000_000, "layers": 80}
    forms = {"size": 64, "difference": 1.2e-7, "forms": {"training": form, "deploy": form}}
    (folder / "forms.json").write_text(json.dumps(forms))
    exported = {
        "path": EVIL, "form": "deploy", "format": "onnx", "size": [64, 64], "operators": 88, "bytes": 4_900_000,
        "difference": 1e-6,
        "agreement": {"runtime": "ONNX Runtime", "same": 199, "count": 200, "top1": 171, "reference_top1": 171},
    }  # fmt: skip
    (folder / "export.json").write_text(json.dumps(exported))
    return folder


def test_a_full_report_stands_alone(tmp_path: Path) -> None:
    page = parse(write_report(full_run(tmp_path), title=EVIL))
    assert page.tags.count("img") == 4
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert page.text.count(EVIL) >= 5  # shown as text wherever it occurs
    for part in ("171 of 200", "1,234,567", "same class for 199 of 200", "x.jpg", "empty file", "33.33", "1.2e-07"):
        assert part in page.text
    raw = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http://" not in raw
    assert "https://" not in raw
    assert "@import" not in raw
    assert "url(" not in raw


def test_missing_parts_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: 1\n")
    page = parse(write_report(tmp_path, destination=tmp_path / "elsewhere" / "page.html"))
    assert page.tags.count("img") == 0
    assert "a: 1" in page.text


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to report on"):
        write_report(tmp_path)
