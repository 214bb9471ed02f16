"""`bench` from end to end, and what it makes of the figures it gets."""

from __future__ import annotations

import csv
import json
import signal
import statistics
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import phonecv.benchmarking.run as run_module
from benchmarking.conftest import SIZE, Small
from phonecv.benchmarking import count_cost, prepare
from phonecv.benchmarking.candidates import Candidate, Job
from phonecv.benchmarking.machine import Peaks
from phonecv.benchmarking.plan import Entry, Skipped
from phonecv.benchmarking.report import BenchResult, Row, share_of_peak, table
from phonecv.benchmarking.run import bench, measure
from phonecv.benchmarking.subject import network_subject
from phonecv.errors import UserError


@pytest.mark.long
@pytest.mark.slow
def test_figures_agree_with_each_other_and_with_the_files(mobileone: Small, emov2: Small, tmp_path: Path) -> None:
    models = [str(mobileone.checkpoint), str(emov2.checkpoint)]
    found = bench(
        models, batches=[1, 4], threads=[1], runtimes=["eager", "onnxruntime"], precisions=["float32", "int8"],
        rounds=5, out=tmp_path / "run",
    )  # fmt: skip
    macs = count_cost(mobileone.network, SIZE).executed_macs
    names = {Path(model).stem for model in models}
    assert {row.network for row in found.rows} == names
    assert len(found.rows) == 2 * 3 * 2
    for row in found.rows:
        assert (row.form, row.height, row.rounds, row.device) == ("deploy", SIZE, 5, "cpu")
        assert row.median_ms == pytest.approx(statistics.median(row.times_ms), rel=1e-3)
        assert row.p10_ms <= row.median_ms <= row.p90_ms
        assert row.images_per_second == pytest.approx(1000 * row.batch / row.median_ms)
        assert row.ratio_low <= row.ratio <= row.ratio_high
        assert row.memory_mb is not None
        assert 0 <= row.memory_mb < 2000
        assert row.gflops is not None
        if row.network == mobileone.checkpoint.stem:
            assert row.gflops == pytest.approx(2e-6 * macs * row.batch / row.median_ms)
            assert row.share_of_peak == share_of_peak(row.gflops, found.peaks[0].gflops.get(row.precision))
        assert row.difference < (1e-4 if row.precision == "float32" else 2)
    base = [row for row in found.rows if row.label == found.baseline]
    assert [row.ratio for row in base] == [1.0, 1.0]
    # What stands in the run folder is what was returned.
    assert json.loads((tmp_path / "run" / "bench.json").read_text()) == json.loads(json.dumps(found.to_dict()))
    with (tmp_path / "run" / "bench.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["median_ms"]) for row in rows] == [row.median_ms for row in found.rows]
    with Image.open(tmp_path / "run" / "bench.png") as picture:
        assert picture.width > 500


def row(**changes: Any) -> Row:
    values: dict[str, Any] = {
        "network": "net", "form": "deploy", "runtime": "eager", "precision": "float32", "layout": "nhwc",
        "device": "cpu", "height": 224, "width": 224, "batch": 1, "threads": 1, "rounds": 3, "median_ms": 2.0,
        "p10_ms": 1.5, "p90_ms": 3.0, "images_per_second": 500.0, "ratio": 1.0, "ratio_low": 0.9, "ratio_high": 1.1,
        "memory_mb": 12.3, "gflops": 100.0, "share_of_peak": 0.25, "difference": 3e-6, "label": "net/eager/float32",
        "times_ms": (1.5, 2.0, 3.0),
    }  # fmt: skip
    return Row(**(values | changes))


def result(*rows: Row, **changes: Any) -> BenchResult:
    values: dict[str, Any] = {
        "rows": rows, "skipped": (), "baseline": "net/eager/float32", "peaks": (), "warnings": (), "notes": (),
        "machine": {}, "date": "2026-01-01", "seconds": 1.0,
    }  # fmt: skip
    return BenchResult(**(values | changes))


def test_rows_are_grouped_by_what_compares() -> None:
    rows = [row(batch=16, threads=2), row(batch=1, threads=2), row(batch=16), row()]
    assert list(result(*rows).groups()) == [(1, 1), (1, 2), (16, 1), (16, 2)]


def test_the_table_shows_form_and_leaves_the_unknown_empty() -> None:
    header, (line,), _ = table([row(form="training", memory_mb=None, share_of_peak=None)])
    shown = dict(zip(header, line, strict=True))
    assert (shown["form"], shown["MB"], shown["of peak"], shown["ms"]) == ("training", "", "", "2.000")


@pytest.mark.parametrize(
    ("gflops", "peak", "share", "shown"),
    [
        (57.0, 4.0, None, ""),  # 1423 %: an imitated product is no peak
        (57.0, None, None, ""),
        (None, 100.0, None, ""),
        (110.0, 100.0, 1.1, "110%"),
        (25.0, 100.0, 0.25, "25%"),
        (0.2, 100.0, 0.002, "<1%"),
    ],
)
def test_a_share_of_what_is_a_peak(gflops: float | None, peak: float | None, share: float | None, shown: str) -> None:
    found = share_of_peak(gflops, peak)
    assert found == (None if share is None else pytest.approx(share))
    header, (line,), _ = table([row(share_of_peak=found)])
    assert dict(zip(header, line, strict=True))["of peak"] == shown


def test_rows_without_a_share_are_explained() -> None:
    peaks = (Peaks("cpu", 2, {"float32": 470.0}, 80.0),)
    rows = (row(), row(precision="int8", share_of_peak=None), row(share_of_peak=None, gflops=900.0))
    text = "\n".join(result(*rows, peaks=peaks).remarks())
    assert "no share of peak for int8: no instructions for it are known here" in text
    assert "no share of peak for some rows in float32: they exceed the product measured" in text
    assert "no share" not in "\n".join(result(*rows).remarks())


def test_remarks_tell_what_a_reader_must_know() -> None:
    skipped = (Skipped("net/eager/fp16", "no fp16"), Skipped("net/openvino/fp16", "no fp16"))
    peaks = (Peaks("cpu", 2, {"float32": 470.0}, 80.0),)
    text = "\n".join(
        result(
            row(form="training"), row(precision="int8"), skipped=skipped, peaks=peaks, warnings=("busy",)
        ).remarks()
    )  # fmt: skip
    for words in (
        "warning: busy",
        "training form are not what a phone runs",
        "accuracy was not checked",
        "peak with 2 threads: float32 470 GFLOP/s, copy 80 GB/s",
        "not run: eager/fp16, openvino/fp16 (no fp16)",
    ):
        assert words in text


def test_the_picture_has_a_panel_for_each_group(tmp_path: Path) -> None:
    result(row()).draw(tmp_path / "one.png")
    result(row(), row(batch=16)).draw(tmp_path / "two.png")
    heights = []
    for name in ("one.png", "two.png"):
        with Image.open(tmp_path / name) as picture:
            heights.append(picture.height)
    assert heights[1] > heights[0]


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    candidate = Candidate("a/eager/float32", "eager", "float32", "auto", "p.npz", "n.pt", 1e-4)
    job = Job((candidate,), (1, 16), 2, "cpu", rounds=3, seconds=None, warmup=2)
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job


def job() -> Job:
    return Job((), (1,), 1, "cpu", rounds=1, seconds=None, warmup=1)


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [(-signal.SIGKILL, UserError, "signal 9.*not enough memory"), (1, RuntimeError, "Traceback of the worker")],
)
def test_a_process_that_ends_badly_is_reported(
    code: int, error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = SimpleNamespace(returncode=code, stderr="Traceback of the worker")
    monkeypatch.setattr(run_module.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(error, match=words):
        run_module.start_worker(job(), tmp_path)


def test_the_process_waits_for_threads_as_openmp_does_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def pretend(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        Path(command[-1]).write_text('{"error": "a mistake"}')
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("OMP_DYNAMIC", "false")
    monkeypatch.setattr(run_module.subprocess, "run", pretend)
    with pytest.raises(UserError, match="a mistake"):
        run_module.start_worker(job(), tmp_path)
    assert "OMP_WAIT_POLICY" not in seen
    assert seen["OMP_DYNAMIC"] == "false"


def test_wrong_outputs_stop_the_run(mobileone: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way through the child process: a network that is not the one whose outputs are expected."""
    subject = network_subject(mobileone.network, name="net", form="deploy", size=SIZE)
    monkeypatch.setattr(prepare, "expected_outputs", lambda subject, images: [mobileone.expected[0] + 1])
    with pytest.raises(UserError, match="net/eager/float32 gives wrong outputs"):
        measure([Entry(subject, "eager", "float32")], baseline="net/eager/float32", batches=[1], threads=[1],
                rounds=1, peaks=False)  # fmt: skip


def test_two_of_one_name_are_refused(mobileone: Small) -> None:
    subject = network_subject(mobileone.network, name="net", form="deploy", size=SIZE)
    entries = [Entry(subject, "eager", "float32"), Entry(replace(subject), "eager", "float32")]
    with pytest.raises(UserError, match="two candidates are called 'net/eager/float32'"):
        measure(entries, baseline="net/eager/float32", batches=[1], threads=[1])


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"form": "fused"}, "form='fused'"),
        ({"device": "cuda:99"}, "device 'cuda:99'"),
        ({"batches": [0]}, "batch 0"),
        ({"baseline": "nobody"}, "the baseline 'nobody' is not among the candidates"),
        ({"size": 0}, "size=0"),
    ],
)
def test_mistakes_are_named_before_anything_is_timed(
    choices: dict[str, Any], words: str, mobileone: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "measure", lambda *_, **__: pytest.fail("it was timed"))
    with pytest.raises(UserError, match=words):
        bench([str(mobileone.checkpoint)], **choices)
