"""Reports that phones send: good ones are kept whole, anything else is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarking.reports import device, report, row
from phonecv.benchmarking import page_figures
from phonecv.benchmarking.page_figures import FiguresError, Reports, check, parse

FILES = ["signs.onnx", "signs.tflite"]


def test_a_report_is_kept_whole_and_nothing_is_added() -> None:
    sent = report()
    assert check(parse(json.dumps(sent).encode()), FILES) == sent
    assert check(report(more="x", device=device(more="y")), FILES) == report()
    plain = report(device=device(gpu=None, memory_gb=None), rows=[row(difference=None)], failed=[])
    assert check(plain, FILES) == plain


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ([], "the report is no object"),
        (report(version=2), "version 2 is not 1"),
        (report(name=5), "name is no text"),
        (report(name="x" * 81), "name is no text of at most 80"),
        (report(device=None), "device is no object"),
        (report(device=device(cores=0)), "cores is no number from 1"),
        (report(device=device(cores=True)), "cores is no number"),
        (report(device=device(screen=[1, 2, 3, 4])), "screen is no list of at most 3"),
        (report(device=device(isolated="yes")), "isolated is neither"),
        (report(device=device(gpu={"vendor": "x"})), "architecture is no text"),
        (report(rows={}), "rows is no list"),
        (report(rows=[row()] * 501), "rows is no list of at most 500"),
        (report(rows=[row(file="other.onnx")]), "file is none of signs.onnx, signs.tflite"),
        (report(rows=[row(file=["signs.onnx"])]), "file is none of"),
        (report(rows=[row(threads=1.5)]), "threads is no whole number"),
        (report(rows=[row(median_ms=-1)]), "median_ms is no number from 0"),
        (report(rows=[row(median_ms=None)]), "median_ms is no number"),
        (report(rows=[row(times_ms=["1"])]), "times_ms is no number"),
        (report(rows=[row(runtime="ncnn")]), "runtime is none of"),
        (report(failed=[{"file": "signs.onnx", "backend": "cuda", "threads": 1, "reason": ""}]), "backend is none of"),
    ],
)
def test_anything_else_is_refused_with_its_reason(sent: Any, words: str) -> None:
    with pytest.raises(FiguresError, match=words):
        check(sent, FILES)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b"[-Infinity]", b"[" * 100_000])
def test_only_json_without_special_numbers(body: bytes) -> None:
    with pytest.raises(FiguresError):
        parse(body)


def test_texts_cannot_drive_a_terminal_or_break_a_table() -> None:
    found = check(report(name="\x1b[2Ja\nb\ud800"), FILES)
    assert found["name"] == "?[2Ja?b?"


def test_reports_are_numbered_named_and_gathered_in_a_table(tmp_path: Path) -> None:
    reports = Reports(tmp_path, {"signs.onnx": {"model": "emo_1m", "precision": "float32", "sha256": "abc"}})
    paths = [reports.save(report()) for _ in range(2)] + [reports.save(report(name="", device=device(model="")))]
    assert len(set(paths)) == 3
    assert paths[0].name.endswith("-anna-s-phone.json")
    assert paths[2].name.endswith("-android-16-chrome-156.json")
    kept = json.loads(paths[0].read_text())
    assert kept["rows"] == report()["rows"]
    assert kept["files"] == {"signs.onnx": {"model": "emo_1m", "precision": "float32", "sha256": "abc"}}
    assert set(kept["runtimes"]) == {"onnxruntime-web", "@litertjs/core"}
    with (tmp_path / "phones.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(line["device"] for line in rows) == ["Android 16 Chrome 156", "Anna's phone", "Anna's phone"]
    assert {(line["median_ms"], line["threads"], line["sha256"], line["isolated"]) for line in rows} == {
        ("12.5", "4", "abc", "True")
    }


def test_there_is_an_end_to_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_figures, "MAX_REPORTS", 1)
    reports = Reports(tmp_path, {})
    reports.save(report())
    with pytest.raises(FiguresError, match="1 reports have come already"):
        reports.save(report())


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"[]", b"null", b'{"files": null}', b"[" * 100_000, b'{"files": {"a": 5}}', b""]
)
def test_a_damaged_report_in_the_folder_is_told_and_left_out(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "phones").mkdir()
    (tmp_path / "phones" / "bad.json").write_bytes(content)
    Reports(tmp_path, {"signs.onnx": {}}).save(report())
    with (tmp_path / "phones.csv").open(newline="") as file:
        assert [line["device"] for line in csv.DictReader(file)] == ["Anna's phone"]
    assert "bad.json is no report" in caplog.text


def test_a_device_name_is_no_formula(tmp_path: Path) -> None:
    Reports(tmp_path, {"signs.onnx": {}}).save(report(name="=cmd|' /C calc'!A0"))
    assert ",'=cmd|' /C calc'!A0," in (tmp_path / "phones.csv").read_text()
