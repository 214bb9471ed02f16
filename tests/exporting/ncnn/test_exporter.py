"""ncnn files: all families against PyTorch, the cut into windows, graphs and files that must be refused."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import phonecv
from conftest import TINY, mostly_long
from kept import kept
from opened import open_classifier
from phonecv.errors import UserError
from phonecv.exporting import EXPORTERS, export
from phonecv.exporting.deployable import deployable
from phonecv.exporting.four_axes import with_four_axes
from phonecv.exporting.job import Job, Written
from phonecv.exporting.native import try_in_child
from phonecv.exporting.ncnn import exporter, opening
from phonecv.exporting.ncnn.graph import read_graph
from phonecv.exporting.opening import open_session
from phonecv.exporting.perform import ExportFailed, captured, perform
from phonecv.models import VisionModel
from phonecv.models.blocks import WindowGrid
from settle import settle

pytest.importorskip("ncnn")


@kept
def tiny(name: str, **overrides: Any) -> VisionModel:
    torch.manual_seed(0)
    options: dict[str, Any] = {"num_classes": 7, **TINY[name], **overrides}
    return settle(phonecv.create_model(name, **options), size=64)


def job_of(model: VisionModel, height: int, width: int, *, bake: bool = False, **values: Any) -> Job:
    module, outputs = deployable(phonecv.fuse(model), bake=bake)
    images = torch.randn(4, 3, height, width, generator=torch.Generator().manual_seed(1))
    record = {"model": model.name, "input_size": [height, width]}
    return Job(module, (images * 60 + 128 if bake else images,), outputs, "m", record=record, **values)


def written(job: Job, folder: Path) -> Written:
    with captured():  # tracing warns
        return exporter.write(job, folder)


def outputs_of(path: Path, images: torch.Tensor, precision: str = "float32") -> list[np.ndarray]:
    return open_session(path, threads=1, precision=precision)(images.numpy())


@torch.no_grad()
def check(job: Job, got: list[np.ndarray], tolerance: float) -> None:
    wanted = [output.numpy() for output in job.module(job.examples[0])]
    assert [output.shape for output in got] == [output.shape for output in wanted]
    for have, want in zip(got, wanted, strict=True):
        # The outputs depend on the picture by far more than the tolerance, or nothing was tested.
        assert np.abs(want - want[:1]).max() > 20 * tolerance * np.abs(want).max() or tolerance > 0.01
        assert np.abs(have - want).max() <= tolerance * max(1.0, np.abs(want).max())
        if want.ndim == 2:
            assert (have.argmax(1) == want.argmax(1)).all()


LONG = pytest.mark.long


#: One window, padded, at 64 pixels; several windows in both directions, padded, at 256 x 160; 2 x 2 at 224.
@pytest.mark.parametrize("size", [pytest.param((64, 64), marks=LONG), (256, 160), pytest.param((224, 224), marks=LONG)])
@pytest.mark.parametrize("name", mostly_long(TINY, "emo_1m"))
def test_every_family_agrees_with_pytorch(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    job = job_of(tiny(name), *size)
    made = written(job, tmp_path)
    check(job, outputs_of(made.path, job.examples[0]), 1e-5)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.ncnn.bin", "m.param"]
    assert made.operators == len(read_graph(made.path).layers)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_long(TINY, "mobileone_s0"))
def test_half_precision_halves_the_weights(tmp_path: Path, name: str) -> None:
    sizes = {}
    for precision in ("float32", "fp16"):
        (folder := tmp_path / precision).mkdir()
        job = job_of(tiny(name), 64, 64, precision=precision)
        path = written(job, folder).path
        sizes[precision] = opening.weights_path(path).stat().st_size
        check(job, outputs_of(path, job.examples[0], precision), 0.02)
    assert sizes["fp16"] < 0.6 * sizes["float32"]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        pytest.param("emov2_1m", {"attention": "remote+close"}, marks=LONG),
        pytest.param("emov2_1m", {"attention": "close", "window": 4}, marks=LONG),
        ("emov2_1m", {"window": 0, "qkv_bias": False, "layer_scale": None}),
        pytest.param("emo_1m", {"out_indices": (1, 3, 4)}, marks=LONG),
        pytest.param("mobileone_s0", {"out_indices": (2, 4)}, marks=pytest.mark.long),
        ("mobileone_s0", {"se_pairs": (0, 0, 1, 1)}),
    ],
)
def test_variants(tmp_path: Path, name: str, overrides: dict[str, Any]) -> None:
    job = job_of(tiny(name, **overrides), 160, 96)
    made = written(job, tmp_path)
    check(job, outputs_of(made.path, job.examples[0]), 1e-5)
    assert list(made.report["outputs"]) == list(job.outputs)


@pytest.mark.parametrize("name", mostly_long(TINY, "emov2_1m"))
def test_odd_sizes(tmp_path: Path, name: str) -> None:
    job = job_of(tiny(name), 75, 53)
    check(job, outputs_of(written(job, tmp_path).path, job.examples[0]), 1e-5)


@pytest.mark.long
@pytest.mark.slow
def test_the_training_form(tmp_path: Path) -> None:
    module, outputs = deployable(tiny("emov2_1m"))
    job = Job(module, (torch.randn(3, 3, 128, 64),), outputs, "m")
    check(job, outputs_of(written(job, tmp_path).path, job.examples[0]), 1e-5)
    # A branch of MobileOne takes every other pixel.
    module, outputs = deployable(tiny("mobileone_s0"))
    with pytest.raises(UserError, match=r"Tensor\.slice \(5\)"):
        written(replace(job, module=module), tmp_path)


def test_normalisation_can_be_part_of_the_file(tmp_path: Path) -> None:
    job = job_of(tiny("mobileone_s0"), 64, 64, bake=True)
    check(job, outputs_of(written(job, tmp_path).path, job.examples[0]), 1e-5)


@pytest.mark.parametrize("name", ["emo_1m", "emov2_1m"])
def test_no_tensor_has_more_than_four_axes(name: str) -> None:
    job = job_of(tiny(name), 256, 160)
    example = job.examples[0][:1]
    plain = with_four_axes(job.module, example)
    shapes: list[torch.Size] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            shapes.extend(
                item.shape
                for item in (result if isinstance(result, tuple) else (result,))
                if isinstance(item, torch.Tensor)
            )
            return result

    with torch.no_grad(), Watch():
        got = plain(example)
    assert len(shapes) > 100
    assert max(len(shape) for shape in shapes) == 4
    # The batch's axis is never joined with another.
    assert all(shape[0] == 1 for shape in shapes)
    with torch.no_grad():
        torch.testing.assert_close(got, job.module(example), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scheme", ["remote", "close"])
def test_windows_hold_the_pixels_that_the_network_puts_in_them(scheme: Any) -> None:
    from phonecv.exporting.four_axes import _merge, _split

    grid = WindowGrid(10, 8, 4)
    x = torch.arange(2 * 12 * 8, dtype=torch.float32).reshape(1, 2, 12, 8)
    windows = _split(grid, x, scheme)  # 1 windows C tokens
    theirs = grid.split(grid.to_rows(x), scheme)  # windows tokens C

    def contents(sets: torch.Tensor) -> list[list[float]]:
        return sorted(sets.flatten(1).tolist())

    assert contents(windows[0].transpose(1, 2)) == contents(theirs)
    assert torch.equal(_merge(grid, windows, scheme), x)


def test_the_report_names_what_the_gpu_leaves_out(tmp_path: Path) -> None:
    report = written(job_of(tiny("emov2_1m"), 64, 64), tmp_path).report
    assert report["inputs"] == [{"name": "in0", "layout": "CHW", "type": "float32"}]
    assert report["outputs"] == {"logits": "out0"}
    assert report["operators"]["Softmax"] == 2
    (place,) = report["where"]
    assert [one["operators"] for one in place["outside"]] == [{"MatMul": 4}]


class Sorter(torch.nn.Module):
    """Sorts, which ncnn cannot."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (images.mean((2, 3)).sort(1).values,)


class Crasher(torch.nn.Module):
    """Where it is unpickled, which is the process that exports, ncnn gets no weights, and crashes when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.conv(images),)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "PHONECV_THREADS" in os.environ:
            import ncnn

            def load(path: Path, weights: Path, **_: object) -> Any:
                net = ncnn.Net()
                net.load_param(str(path))
                return net

            vars(exporter)["load"] = load


def test_a_graph_with_foreign_layers_is_refused_by_name(tmp_path: Path) -> None:
    job = Job(Sorter(), (torch.randn(1, 3, 32, 32),), ("logits",), "m", record={"model": "sorter"})
    with pytest.raises(UserError, match=r"ncnn cannot hold sorter: .*sort \(1\)"):
        written(job, tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(job_of(tiny("mobileone_s0"), 64, 64), tmp_path_factory.mktemp("made")).path


@pytest.fixture
def whole(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(made.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / made.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("ConvolutionDepthWise", "Tensor.reshape", 2), r"2 layers .*Tensor\.reshape \(2\)"),
        (lambda text: "garbage" + text, "its first line is not 7767517"),
        (lambda text: "", "its first line is not 7767517"),
        (lambda text: text[: len(text) // 2], "cannot be read|promises"),
        (lambda text: text.replace(" 1 1 in0 ", " 1 1 nothing "), "reads 'nothing', which nothing makes"),
        (lambda text: re.sub(r"2=3$", "2=1", text, count=1, flags=re.MULTILINE), "one picture, 3 x H x W"),
    ],
)
def test_broken_graphs_are_refused(whole: Path, change: Callable[[str], str], message: str) -> None:
    whole.write_text(change(whole.read_text()))
    with pytest.raises(UserError, match=message) as caught:
        open_session(whole)
    assert "\n" not in str(caught.value)


def test_broken_weights_are_refused(whole: Path) -> None:
    weights = opening.weights_path(whole)
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 3])
    with pytest.raises(UserError, match=r"m\.param"):
        open_session(whole)
    weights.unlink()
    with pytest.raises(UserError, match="holds the weights"):
        open_session(whole)
    whole.write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match="not text"):
        open_session(whole)


def test_another_size_than_the_files_is_refused(whole: Path) -> None:
    session = open_session(whole)
    assert (session.size, session.batch) == ((64, 64), 1)
    with pytest.raises(UserError, match="takes 64 x 64 pixels, not 32 x 64"):
        session(np.zeros((1, 3, 32, 64), np.float32))


def test_weights_under_the_names_of_others(whole: Path) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    (expected,) = open_session(whole)(images)
    theirs = whole.with_name("other.ncnn.param")
    whole.rename(theirs)
    opening.weights_path(whole).rename(whole.with_name("other.ncnn.bin"))
    np.testing.assert_array_equal(open_session(theirs)(images)[0], expected)


@pytest.mark.long
@pytest.mark.slow
def test_a_crash_stays_in_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORTERS, "ncnn", replace(EXPORTERS["ncnn"], isolated=True))
    (folder := tmp_path / "files").mkdir()
    job = Job(Crasher(), (torch.randn(1, 3, 32, 32),), ("maps",), "m", dynamic_batch=False)
    with pytest.raises(ExportFailed, match="ncnn ended with signal SIGSEGV while running the file"):
        perform(EXPORTERS["ncnn"], job, folder, [(job.examples[0].numpy(),)])


def test_files_are_tried_in_a_process_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "m.param"
    try_in_child("import sys; assert sys.argv[2] == 'more'", path, "more", runtime="ncnn")
    with pytest.raises(UserError, match=r"m\.param was refused: it crashes ncnn \(SIGABRT\)"):
        try_in_child("import os; os.abort()", path, runtime="ncnn")
    with pytest.raises(UserError, match=r"m\.param cannot be used in ncnn: no good"):
        try_in_child("import sys; sys.exit('no good')", path, runtime="ncnn")


@pytest.mark.slow
def test_export_from_end_to_end(tmp_path: Path) -> None:
    model = tiny("emov2_1m")
    model.preprocessing = replace(model.preprocessing, size=64)
    result = export(model, tmp_path / "e.param")
    assert result.difference is not None
    assert result.difference < 1e-5
    assert (result.agreement, result.checked_by[:5]) == (1.0, "ncnn ")
    assert {file.name for file in result.files} >= {"e.param", "e.ncnn.bin"}
    assert json.loads(result.record.read_text())["report"]["outputs"] == {"logits": "out0"}
    runner = open_classifier(tmp_path / "e.param")
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(runner(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("precision", mostly_long(["float32", "fp16"], "fp16"))
def test_the_real_network_keeps_its_outputs(tmp_path: Path, shared_dir: Path, precision: str) -> None:
    path = tmp_path / "s0.param"
    images = shared_dir / "data" / "imagenet-samples"
    result = export(shared_dir / "weights" / "mobileone_s0_apple_fused.pth", path, precision=precision, images=images)
    assert result.difference is not None
    assert result.difference < {"float32": 1e-5, "fp16": 0.02}[precision]
    assert result.agreement == 1.0
    assert result.bytes < {"float32": 8.6e6, "fp16": 4.4e6}[precision]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", mostly_long(["emo_1m", "emo_5m", "emov2_1m", "emov2_5m", "mobileone_s1", "mobileone_s4"], "emo_1m")
)
def test_whole_networks(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    job = job_of(settle(phonecv.create_model(name), size=128), 224, 224)
    check(job, outputs_of(written(job, tmp_path).path, job.examples[0]), 1e-5)
