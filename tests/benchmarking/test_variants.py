"""`bench --variants`: what is made and why not, what is called best, and the table, the page and the CSV."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import phonecv
from conftest import TINY
from phonecv.benchmarking import variants as module
from phonecv.benchmarking.runtimes import RUNTIMES
from phonecv.benchmarking.variants import Variant, VariantsResult, marked, runtime_of, variants
from phonecv.errors import UserError
from phonecv.exporting.formats import EXPORTERS
from settle import settle

SMALL = Variant("onnx", "int8", "m-int8.onnx", 1_000_000, 0.5, "close", median_ms=2.0, p90_ms=2.5, memory_mb=9.0)
ROWS = (
    Variant("onnx", "float32", "m.onnx", 4_000_000, 0.0, "the same", median_ms=4.0, p90_ms=4.5, memory_mb=20.0),
    SMALL,
    Variant("litert", "int8", "m-int8.tflite", 900_000, 30.0, "ruined", median_ms=1.0, p90_ms=1.5, memory_mb=5.0),
    Variant("coreml", "fp16", "m.mlpackage", 2_000_000, 0.1, "close"),
)


def test_the_best_are_those_within_the_budget() -> None:
    found = {row.file: row.best for row in marked(ROWS, 1.0)}
    assert found["m-int8.onnx"] == ("bytes", "memory_mb", "median_ms", "p90_ms", "overall")
    assert found["m.onnx"] == ("lost",)
    assert found["m-int8.tflite"] == ()  # fast, and of no use
    assert found["m.mlpackage"] == ()
    assert not any(row.best for row in marked([replace(SMALL, lost=9.0)], 1.0))


def test_table_page_and_csv(tmp_path: Path) -> None:
    skipped = {"ncnn int8": "the format is not written so", "pt2 int8": "the format is not written so"}
    result = VariantsResult("net", "points lost", 1.0, "100 pictures of signs", marked(ROWS, 1.0), skipped, 1)
    header, rows, right = result.table()
    assert len(header) == len(rows[0])
    assert [row[1:3] for row in rows] == [
        ("litert", "int8"), ("onnx", "int8"), ("onnx", "float32"), ("coreml", "fp16"),
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["", "best", "", ""]
    assert rows[1][3:] == ("1.00*", "", "9.00*", "", "2.00*", "2.50*", "+0.50")
    assert min(right) == 3
    assert any("ncnn int8, pt2 int8" in line for line in result.remarks())
    result.save(tmp_path)
    with (tmp_path / "variants.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    assert [row["file"] for row in told] == [row.file for row in ROWS]
    assert told[1]["best"] == "bytes memory_mb median_ms p90_ms overall"
    assert json.loads((tmp_path / "variants.json").read_text())["rows"][0]["median_ms"] == 4.0
    page = (tmp_path / "report.html").read_text()
    assert "Variants of net" in page
    assert "onnx, int8" in page


def test_formats_are_timed_by_the_runtime_of_their_own() -> None:
    found = {name: runtime_of(name) for name in EXPORTERS}
    assert {name: one.name for name, one in found.items() if one is not None} == {
        one.formats[-1]: one.name for one in RUNTIMES.values() if one.formats
    }
    onnx = found["onnx"]
    assert onnx is not None
    assert onnx.name == "onnxruntime"


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    return settle(phonecv.create_model("mobileone_s0", num_classes=4, **TINY["mobileone_s0"]), size=64)


def test_mistakes_are_told_before_work(network: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'int4' is not one of float32"):
        variants(network, data=tmp_path, precisions=["int4"], out=tmp_path)
    with pytest.raises(UserError, match="unknown export format 'onx'"):
        variants(network, data=tmp_path, formats=["onx"], out=tmp_path)


@pytest.mark.slow
def test_a_network_in_every_way(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(module, "disturbances", lambda: ["a busy machine"])
    data = tmp_path / "data"
    data.mkdir()
    generator = np.random.default_rng(0)
    for number in range(24):
        picture = generator.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(picture).resize((64, 64)).save(data / f"{number}.png")
    result = variants(network, data=data, formats=["onnx", "pt2"], rounds=3, seconds=1, out=tmp_path / "out")
    assert {(row.format, row.precision) for row in result.rows} == {
        ("onnx", "float32"), ("onnx", "fp16"), ("onnx", "int8"), ("pt2", "float32"),
    }  # fmt: skip
    assert set(result.skipped) == {"pt2 fp16", "pt2 int8"}
    for row in result.rows:
        assert (tmp_path / "out" / row.file).is_file()
        timed = [row.load_ms, row.first_ms, row.median_ms, row.p90_ms]
        assert all(value is None for value in timed) if row.format == "pt2" else all(value > 0 for value in timed)  # type: ignore[operator]
    plain = next(row for row in result.rows if (row.format, row.precision) == ("onnx", "float32"))
    assert plain.lost == 0
    assert sum("overall" in row.best for row in result.rows) == 1
    assert result.warnings == ("a busy machine",)
