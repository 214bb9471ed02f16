"""The report: valid HTML on its own, whatever texts the run folder holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

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


JUNK = (None, [], {}, "x", -1, 1.5, True, EVIL, "\ud800", 10**400, [1], {"a": EVIL}, float("nan"))


def damages(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, inner in value.items():
        yield {key: kept for key, kept in value.items() if key != name}
        yield from ({**value, name: junk} for junk in JUNK)
        if isinstance(inner, dict):
            yield from ({**value, name: damage} for damage in damages(inner))


@pytest.mark.parametrize("name", ["forms.json", "export.json", "evaluation/summary.json"])
def test_whatever_stands_in_a_file_the_page_is_safe(tmp_path: Path, name: str) -> None:
    """Every damage of a file is told on the page or harmless, and nothing of it becomes a tag."""
    full_run(tmp_path)
    honest = json.loads((tmp_path / name).read_text())
    for damage in [*damages(honest), *JUNK]:
        (tmp_path / name).write_text(json.dumps(damage))
        page = parse(write_report(tmp_path))
        assert "script" not in page.tags
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / name).write_bytes(content)
        assert f"left out because it is damaged: {tmp_path / name}" in parse(write_report(tmp_path)).text


@pytest.mark.parametrize("field", ["runtime", "same", "count", "top1", "reference_top1"])
def test_no_value_of_the_agreement_is_a_tag(tmp_path: Path, field: str) -> None:
    full_run(tmp_path)
    exported = json.loads((tmp_path / "export.json").read_text())
    exported["agreement"][field] = "<script>alert(1)</script>"
    (tmp_path / "export.json").write_text(json.dumps(exported))
    page = parse(write_report(tmp_path))
    assert "script" not in page.tags
    if field != "runtime":
        assert f"export.json: 'agreement.{field}' is the text '<script>" in page.text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe", "per_class.csv is no table in UTF-8"),
        (b"class,count,top1,top5,top1_percent\na,1,1,1,x\nb,1,1,1,50.00\n", "per_class.csv: 1 of its 3 rows"),
        (b"class,count,top1,top5,top1_percent\na,1\n", "per_class.csv: 1 of its 2 rows"),
        (b"<b>,c\n1,2\n", ""),
    ],
)
def test_damaged_tables_are_told(tmp_path: Path, content: bytes, told: str) -> None:
    full_run(tmp_path)
    (tmp_path / "evaluation" / "per_class.csv").write_bytes(content)
    page = parse(write_report(tmp_path))
    assert told in page.text
    assert ("50.00" in page.text) == (b"50.00" in content)


def test_names_that_turn_the_text_around_are_shown_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: \u202eevil\x1b[31m\nb: 1\n", encoding="utf-8")
    page = parse(write_report(tmp_path, title="run \u202e\ud800"))
    assert "\u202e" not in page.text
    assert "a: \\xe2\\x80\\xaeevil\\x1b[31m\nb: 1" in page.text


def test_a_training_shows_its_scores(tmp_path: Path) -> None:
    summary = {
        "finished": True, "epoch": 3, "step": 60, "score": "miou", "images": 12,
        "last_scores": {"net": 61.5, "ema": 63.25},
        "best_score": 64.0, "best_epoch": 2, "best_net": "ema", "unreadable": 0, "seconds": 71.4,
    }  # fmt: skip
    (tmp_path / "metrics.csv").write_text("epoch,lr\n1,0.1\n")
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    text = parse(write_report(tmp_path)).text
    for part in ("61.50", "mean IoU, %, last epoch, averaged weights; 12 pictures", "best epoch (2)", "71 s"):
        assert part in text
    (tmp_path / "summary.json").write_text(
        json.dumps(summary | {"best_score": None, "best_epoch": None, "best_net": ""})
    )
    text = parse(write_report(tmp_path)).text
    assert "mean IoU, %, last epoch" in text
    assert "best" not in text


@pytest.mark.parametrize(
    ("task", "figures", "shown"),
    [
        (
            "detect",
            {"ap": 31.25, "ap50": 52.0, "ap75": None, "mask_ap": 28.0},
            ["31.2", "AP50", "mask AP", "7pictures"],
        ),
        ("segment", {"miou": 71.234, "aacc": 90.0, "macc": 80.0}, ["71.23 %", "mIoU", "pixel accuracy"]),
    ],
)
def test_every_task_shows_its_own_figures(tmp_path: Path, task: str, figures: dict[str, Any], shown: list[str]) -> None:
    summary = {"task": task, "model": "a network", "data": "a folder (val)", "count": 7, **figures}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    text = parse(write_report(tmp_path)).text
    for part in shown:
        assert part in text
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"task": "juggle"}))
    assert "task the text 'juggle' is not one of" in parse(write_report(tmp_path)).text
