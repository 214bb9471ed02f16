"""What is timed, what is not and why, and mistakes in asking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from phonecv.benchmarking import plan as plan_module
from phonecv.benchmarking import runtimes
from phonecv.benchmarking.machine import PRECISIONS
from phonecv.benchmarking.plan import check_numbers, pick_baseline, plan
from phonecv.benchmarking.runtimes import LIMITS, RUNTIMES, refusal
from phonecv.benchmarking.subject import Subject
from phonecv.errors import UserError
from phonecv.exporting.formats import EXPORTERS
from phonecv.exporting.inputs import picture_input
from phonecv.models import build_model

NET = Subject("net", "deploy", (32, 32), (picture_input(32, 32),), network=build_model("mobileone_s0"))
FILE = Subject("file", "deploy", (32, 32), (picture_input(32, 32),), path=Path("file.onnx"))


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bfloat16 and without float16; everything is installed."""
    monkeypatch.setattr(runtimes, "native", lambda precision, device: precision != "fp16")
    monkeypatch.setattr(runtimes, "find_spec", lambda name: object())


def labels(*subjects: Subject, **choices: object) -> list[str]:
    return [entry.label for entry in plan(subjects, **choices)[0]]  # type: ignore[arg-type]


def test_by_default_everything_that_starts_at_once() -> None:
    assert labels(NET) == [
        "net/eager/float32",
        "net/eager/bf16",
        "net/onnxruntime/float32",
        "net/onnxruntime/int8",
        "net/openvino/float32",
        "net/openvino/bf16",
        "net/openvino/int8",
    ]


def test_what_is_left_out_has_a_reason() -> None:
    entries, skipped = plan([NET])
    assert len(entries) + len(skipped) == len(RUNTIMES) * len(PRECISIONS)
    reasons = {item.what: item.reason for item in skipped}
    assert "no fp16 arithmetic" in reasons["net/eager/fp16"]
    assert "--runtime compiled" in reasons["net/compiled/float32"]
    assert "bf16 kernels" in reasons["net/onnxruntime/bf16"]
    assert "int8" in reasons["net/eager/int8"]


def test_a_runtime_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "openvino" else object())
    assert not any("openvino" in label for label in labels(NET))
    with pytest.raises(UserError, match=r"openvino cannot be timed here.*pip install 'phonecv\[openvino\]'"):
        plan([NET], runtimes=["eager", "openvino"])


def test_what_is_asked_for_and_impossible_is_an_error_that_says_why() -> None:
    with pytest.raises(UserError, match="fp16 cannot be timed here: this processor has no fp16 arithmetic"):
        plan([NET], runtimes=["eager"], precisions=["float32", "fp16"])
    with pytest.raises(UserError, match="eager cannot be timed here: PyTorch runs no int8 form"):
        plan([NET], runtimes=["eager"], precisions=["int8"])
    # Runtimes that nobody named are only listed.
    entries, skipped = plan([NET], precisions=["int8"])
    assert [entry.label for entry in entries] == ["net/onnxruntime/int8", "net/openvino/int8"]
    assert [item.what for item in skipped] == [
        "net/eager/int8", "net/compiled/int8", "net/executorch/int8", "net/litert/int8", "net/ncnn/int8",
        "net/mnn/int8",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["compiled", "executorch", "litert", "ncnn"])
def test_what_takes_long_to_prepare_only_when_named(name: str) -> None:
    assert labels(NET, runtimes=[name], precisions=["float32"]) == [f"net/{name}/float32"]
    reasons = {item.what: item.reason for item in plan([NET])[1]}
    assert f"--runtime {name}" in reasons[f"net/{name}/float32"]


def test_a_family_that_a_format_cannot_hold_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    record = replace(EXPORTERS["ncnn"], refused={"mobileone": "ncnn knows no such thing"})
    monkeypatch.setitem(EXPORTERS, "ncnn", record)
    with pytest.raises(UserError, match="ncnn cannot be timed here: ncnn knows no such thing"):
        plan([NET], runtimes=["ncnn"], precisions=["float32"])


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("executorch", ["executorch/float32"]),
        ("litert", ["litert/float32"]),
        ("ncnn", ["ncnn/float32"]),
        ("openvino", ["openvino/float32", "openvino/bf16"]),
    ],
)
def test_a_file_of_another_format_is_timed_in_its_runtime_without_asking(format: str, expected: list[str]) -> None:
    subject = replace(FILE, format=format)
    assert labels(subject) == [f"file/{item}" for item in expected]
    reasons = {item.what: item.reason for item in plan([subject])[1]}
    assert "no file of ONNX Runtime" in reasons["file/onnxruntime/float32"]
    assert "not quantized" in reasons[f"file/{expected[0].partition('/')[0]}/int8"]


def test_a_quantized_file_of_another_format() -> None:
    assert labels(replace(FILE, format="litert", precision="int8")) == ["file/litert/int8"]


def test_files_are_for_their_runtimes() -> None:
    entries, skipped = plan([FILE, replace(FILE, name="small", precision="int8")], precisions=["float32", "int8"])
    assert [entry.label for entry in entries] == [
        "file/onnxruntime/float32",
        "file/onnxruntime/int8",
        "file/openvino/float32",
        "file/openvino/int8",
        "small/onnxruntime/int8",
        "small/openvino/int8",
    ]
    reasons = {item.what: item.reason for item in skipped}
    assert "exported file" in reasons["file/eager/float32"]
    assert "quantized to int8 already" in reasons["small/openvino/float32"]


def test_exported_runtimes_and_a_gpu() -> None:
    assert "CPU only" in refusal(RUNTIMES["openvino"], "float32", "cuda")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert "onnxruntime-gpu" in refusal(RUNTIMES["onnxruntime"], "float32", "cuda:0")


def test_every_precision_has_a_stated_limit() -> None:
    assert set(LIMITS) == set(PRECISIONS)
    assert LIMITS["float32"] == 1e-4


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"runtimes": ["onnxrt"]}, "unknown runtime 'onnxrt'; did you mean 'onnxruntime'"),
        ({"precisions": ["float16"]}, "unknown precision 'float16'"),
        ({"layout": "chwn"}, "unknown layout 'chwn'"),
        ({"runtimes": []}, "no runtime was given"),
    ],
)
def test_unknown_names(choices: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan([NET], **choices)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (([0], [1], 1, None), "batch 0"),
        (([1], [0], 1, None), "threads 0"),
        (([1], [999], 1, None), "threads 999 is not in 1..2"),
        (([1], [1], 0, None), "rounds 0"),
        (([1], [1], 1, -1.0), "seconds -1"),
        (([], [1], 1, None), "at least one batch size"),
    ],
)
def test_figures_out_of_range(numbers: tuple, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "usable_cores", lambda: 2)
    with pytest.raises(UserError, match=words):
        check_numbers(*numbers)


def test_a_baseline_in_full_in_part_or_the_first() -> None:
    names = ["a/eager/float32", "a/openvino/float32", "b/openvino/float32"]
    assert pick_baseline(None, names) == names[0]
    assert pick_baseline(names[2], names) == names[2]
    assert pick_baseline("eager", names) == names[0]
    with pytest.raises(UserError, match="could be any of a/openvino/float32, b/openvino/float32"):
        pick_baseline("openvino", names)
    with pytest.raises(UserError, match="not among the candidates; did you mean 'a/eager/float32'"):
        pick_baseline("a/eagr/float32", names)
