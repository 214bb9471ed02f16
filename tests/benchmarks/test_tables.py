"""Tables and pictures of the documentation, from made-up results whose answers are known."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tables

ROOT = Path(__file__).resolve().parents[2]


def row(network: str, runtime: str, precision: str, milliseconds: float, base: float, **changes: Any) -> dict[str, Any]:
    values = {
        "network": network, "runtime": runtime, "precision": precision, "label": f"{network}/{runtime}/{precision}",
        "layout": "nhwc", "batch": 1, "threads": 1, "height": 224, "median_ms": milliseconds,
        "p10_ms": milliseconds * 0.9, "p90_ms": milliseconds * 1.1, "ratio": base / milliseconds,
        "ratio_low": 0.9, "ratio_high": 1.1, "share_of_peak": 0.5,
    }  # fmt: skip
    return values | changes


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    machine = {"cpu": "Some CPU", "cores": 2, "flags": ["avx2"], "python": "3.12.1", "versions": {"torch": "9.8"}}
    part = {
        "date": "2026-01-02",
        "machine": machine,
        "parts": [
            {
                "part": "mobileone_s0",
                "baseline": "timm/eager/float32",
                "rows": [
                    row("timm", "eager", "float32", 10.0, 10.0),
                    row("mobileone_s0 not frozen", "eager", "float32", 8.0, 10.0),
                    row("mobileone_s0", "eager", "float32", 5.0, 10.0),
                    row("mobileone_s0", "openvino", "int8", 1.0, 10.0),
                    row("mobileone_s0", "eager", "float32", 2.5, 10.0, threads=2),
                ],
            },
            {
                "part": "matched",
                "baseline": "rival/eager/float32",
                "accuracies": {
                    "rival": {"top1": 70.0, "source": "their paper", "ours": False},
                    "emo_1m": {"top1": 71.5, "source": "our catalog", "ours": True},
                },
                "rows": [
                    row(name, runtime, "float32", milliseconds, 9.0)
                    for name, milliseconds in (("rival", 9.0), ("emo_1m", 6.0))
                    for runtime in ("eager", "onnxruntime", "openvino")
                ],
            },
        ],
    }
    results = {"kinds": {"AVX2": part}}
    (tmp_path / "inference.json").write_text(json.dumps(results))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    tables.results.cache_clear()
    yield tmp_path
    tables.results.cache_clear()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratios_stand_under_their_runtime_and_gaps_stay_empty(made_up: Path) -> None:
    header, _, line = tables.TABLES["inference-mobileone"]().splitlines()
    shown = dict(zip(cells(header), cells(line), strict=True))
    assert (shown["network"], shown["batch"], shown["timm"]) == ("mobileone_s0", "1", "10.0 ms")
    assert (shown["processor"], shown["eager"]) == ("AVX2", "1.25")
    assert (shown["eager, frozen"], shown["OpenVINO int8"], shown["compiled"]) == ("2.00", "10.00", "")


def test_threads_are_not_mixed(made_up: Path) -> None:
    # With two threads the baseline was not timed, so there is nothing to show.
    assert len(tables.TABLES["inference-mobileone-2-threads"]().splitlines()) == 2
    assert len(tables.TABLES["inference-mobileone-detail"]().splitlines()) == 2 + 4
    assert len(tables.TABLES["inference-mobileone-detail-2-threads"]().splitlines()) == 2 + 1


def test_families_are_ordered_by_accuracy_and_name_their_source(made_up: Path) -> None:
    lines = [cells(line) for line in tables.TABLES["inference-matched"]().splitlines()[2:]]
    assert [line[0] for line in lines] == ["rival", "**emo_1m**"]
    assert lines[1] == ["**emo_1m**", "71.5", "224", "6.0", "6.0", "6.0", "our catalog"]


def test_the_machine_is_named(made_up: Path) -> None:
    assert (
        tables.TABLES["inference-machines"]()
        == "- AVX2: 2026-01-02, Some CPU, 2 cores (avx2), Python 3.12.1, torch 9.8."
    )


@pytest.fixture(scope="module")
def update() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_update_tables", ROOT / "docs" / "update.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_blocks_are_filled_from_results(made_up: Path, update: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "benchmarks", lambda: tables)
    text = "a\n<!-- results inference-machines -->\nold\n<!-- end -->\nb\n"
    assert update.filled(text).splitlines()[2].startswith("- AVX2: 2026-01-02, Some CPU")
    with pytest.raises(SystemExit, match="there is no table 'nothing'"):
        update.filled("<!-- results nothing -->\n<!-- end -->")


def test_a_picture_of_other_results_is_out_of_date(
    made_up: Path, update: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "benchmarks", lambda: tables)
    monkeypatch.setattr(update, "DOCS", made_up)
    name = "images/inference.png"
    assert update.old_pictures() == [name]
    tables.PICTURES[name][1](made_up / name)
    assert update.old_pictures() == []
    results = made_up / "inference.json"
    results.write_text(results.read_text().replace("2026-01-02", "2026-01-03"))
    assert update.old_pictures() == [name]


def test_committed_pictures_are_current(update: ModuleType) -> None:
    assert update.old_pictures() == [], "run: python docs/update.py"


def test_segmenters_on_a_gpu(made_up: Path) -> None:
    def table(batch: int, milliseconds: float) -> dict[str, Any]:
        row = {"parameters": 5_380_000, "memory_mib": 2048.0, "milliseconds": milliseconds}
        row["images_per_second"] = 1e3 * batch / milliseconds
        return {"batch": batch, "rows": {"torchvision rival": row | {"memory_mib": None}, "unet emov2_5m": row}}

    machine = {"cpu": "Some CPU", "cores": 16, "gpus": [{"name": "Some GPU"}], "versions": {"torch": "9.8"}}
    speed = {
        "date": "2026-01-02",
        "machine": machine,
        "tables": {"a": table(16, 80.0), "b": table(16, 20.0), "c": table(1, 8.0)},
    }
    results = {"speed": speed, "overfit": {"heads": {"unet": {"miou": 0.951}}}}
    (made_up / "segmenters_gpu.json").write_text(json.dumps(results))
    header, _, rival, ours = (cells(line) for line in tables.TABLES["segmenters-gpu"]().splitlines())
    assert header[2] == "training, 16 pictures: images/s"
    assert rival == ["torchvision rival", "5.4", "200", "", "800", "", "8.0", ""]
    assert ours == ["unet emov2_5m", "5.4", "200", "2.0", "800", "2.0", "8.0", "95.1"]
    shown = tables.TABLES["segmenters-gpu-machine"]()
    assert shown == "2026-01-02, Some GPU, 16 cores of Some CPU, torch 9.8."


def test_results_of_several_kinds_of_processors_stand_side_by_side(made_up: Path) -> None:
    machine = {"cpu": "Some CPU", "cores": 2, "flags": ["avx2"], "python": "3.12.1", "versions": {"torch": "9.8"}}
    kind = {"date": "2026-01-02", "machine": machine}
    startup = {
        "groups": {"info": ["info x"]},
        "kinds": {"AVX2": kind | {"seconds": {"info x": 3.0}}, "AVX-512": kind | {"seconds": {"info x": 1.5}}},
    }
    (made_up / "startup.json").write_text(json.dumps(startup))
    header, _, line = tables.TABLES["startup"]().splitlines()
    assert cells(header) == ["group", "command", "AVX2", "AVX-512"]
    assert cells(line) == ["info", "`info x`", "3.00", "1.50"]
    first, second = tables.TABLES["startup-machines"]().splitlines()
    assert first == "- AVX2: 2026-01-02, Some CPU, 2 cores (avx2), Python 3.12.1, torch 9.8."
    assert second.startswith("- AVX-512: ")


def test_published_speeds_are_compared_as_ratios(made_up: Path) -> None:
    speed = importlib.import_module("paper_speed")
    times = {name: {"eager": 10.0, "openvino": 4.0} for name in speed.PAPER}
    times["emov2_1m"] = {"eager": 12.5, "openvino": 5.0}
    results = {"paper": speed.PAPER, "kinds": {"AVX2": {"milliseconds": times}}}
    (made_up / "paper_speed.json").write_text(json.dumps(results))
    lines = [cells(line) for line in tables.TABLES["paper-speed"]().splitlines()]
    assert lines[0][2:] == ["paper, CPU", "paper, GPU", "paper, phone", "AVX2, eager", "AVX2, OpenVINO"]
    assert lines[2] == ["emov2_1m", "emo_1m", "0.93", "0.93", "0.83", "0.80", "0.80"]
    assert lines[5] == ["emo_1m", "edgenext_xx_small", "2.17", "1.19", "3.40", "1.00", "1.00"]
