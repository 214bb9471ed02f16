"""ExecuTorch files: every family against PyTorch, what XNNPACK takes of them, and files that must be refused."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import phonecv
from conftest import TINY, mostly_long
from opened import open_classifier
from phonecv.errors import UserError
from phonecv.exporting import export
from phonecv.exporting.deployable import deployable
from phonecv.exporting.executorch import exporter
from phonecv.exporting.job import Job, Written
from phonecv.exporting.opening import open_session
from phonecv.models import VisionModel
from phonecv.models.blocks import LayerNorm2d
from phonecv.models.fusing import fuse
from settle import settle

pytest.importorskip("executorch")

# What the toolkit's own imports and passes use of PyTorch.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

FAMILIES = mostly_long(TINY, "mobileone_s0")


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """The runtime's threads can be set only while no program is open."""
    yield
    gc.collect()


def tiny(name: str) -> VisionModel:
    torch.manual_seed(0)
    return fuse(settle(phonecv.create_model(name, num_classes=7, **TINY[name]), size=64))


def job_of(module: nn.Module, outputs: tuple[str, ...] = ("logits",), size: int = 64, **values: Any) -> Job:
    example = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    return Job(module, (example,), outputs, "m", **values)


def written(model: VisionModel, folder: Path, **values: Any) -> Written:
    return exporter.write(job_of(*deployable(model), **values), folder)


@pytest.fixture(scope="module")
def mobileone(tmp_path_factory: pytest.TempPathFactory) -> tuple[VisionModel, Written]:
    model = tiny("mobileone_s0")
    return model, written(model, tmp_path_factory.mktemp("executorch"))


def logits(model: nn.Module, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        return model(images).numpy()


def difference(want: np.ndarray, got: np.ndarray) -> float:
    return float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_agrees_with_pytorch(tmp_path: Path, mobileone: tuple[VisionModel, Written], name: str) -> None:
    (model, result), size = mobileone, 64
    if name != "mobileone_s0":  # at 128 stage 3 has 8 x 8 cells: several windows of 7, which are filled up
        model, size = tiny(name), 128
        result = written(model, tmp_path, size=size)
    session = open_session(result.path, threads=1)
    assert (session.batch, session.size) == (1, (size, size))
    images = torch.randn(3, 3, size, size)
    want, got = logits(model, images), session(images.numpy())[0]
    assert got.dtype == np.float32
    assert difference(want, got) < 1e-4
    assert (got.argmax(1) == want.argmax(1)).all()
    assert want.std(0).min() > 1e-3  # the outputs depend on the input, or nothing was tested
    assert result.report["outside"] == []
    assert result.report["delegates"] == 1


@pytest.mark.long
def test_the_multiply_adds_are_the_networks(mobileone: tuple[VisionModel, Written]) -> None:
    model, result = mobileone
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal counted
        weight = module.get_parameter("weight")
        counted += output[0].numel() * weight[0].numel()

    hooks = [
        layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    logits(model, torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    assert counted > 0
    assert result.report["macs"] == {"delegated": counted, "outside": 0}
    assert result.report["share_of_macs"] == 1.0


class Split(nn.Module):
    """Something XNNPACK takes, something it does not, and something it takes again."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.middle = nn.Sequential(nn.GroupNorm(2, 4))
        self.last = nn.Conv2d(4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.last(self.middle(self.first(x)).cumsum(2)),)


def test_what_stays_outside_is_named_by_layer(tmp_path: Path) -> None:
    from executorch.devtools.backend_debug import get_delegation_info

    from phonecv.exporting.executorch.lowering import delegation, for_xnnpack, lower

    module = for_xnnpack(Split().eval())
    graph = lower(torch.export.export(module, (torch.randn(1, 3, 8, 8),))).exported_program().graph_module
    report = delegation(graph)
    outside = {entry["operator"]: (entry["count"], entry["layers"]) for entry in report["outside"]}
    assert outside["aten.native_group_norm.default"] == (1, ["middle.0"])
    assert outside["aten.cumsum.default"] == (1, [""])
    assert report["macs"] == {"delegated": 8 * 8 * (3 * 4 * 9 + 4 * 2), "outside": 0}

    # ExecuTorch's own count also takes the picking of a delegate's outputs for operators.
    known = get_delegation_info(graph)
    picks = known.delegation_by_operator["getitem"]
    assert report["delegates"] == known.num_delegated_subgraphs == 2
    assert report["operators"] == {
        "delegated": known.num_delegated_nodes - picks.delegated,
        "outside": known.num_non_delegated_nodes - picks.non_delegated,
    }
    shares = report["operators"]
    assert report["share_of_operators"] == pytest.approx(shares["delegated"] / sum(shares.values()), abs=1e-4)


def test_the_norm_is_a_layer_norm() -> None:
    from phonecv.exporting.executorch.lowering import for_xnnpack

    torch.manual_seed(0)
    affine = LayerNorm2d(24)
    nn.init.normal_(affine.norm.weight)
    nn.init.normal_(affine.norm.bias)
    norms = nn.Sequential(affine, LayerNorm2d(24, affine=False))
    kept = {name: value.clone() for name, value in norms.state_dict().items()}
    replaced = for_xnnpack(norms)
    assert not any(isinstance(module, nn.LayerNorm) for module in replaced.modules())
    assert all(torch.equal(value, kept[name]) for name, value in norms.state_dict().items())
    # Also where the mean is far larger than what differs from it.
    for images in (torch.randn(2, 24, 5, 7), 100 + torch.randn(2, 24, 5, 7), torch.zeros(2, 24, 5, 7)):
        with torch.no_grad():
            want, got = norms(images), replaced(images)
        assert float((want - got).abs().max()) < 1e-4


@pytest.mark.long
def test_dense_maps_come_in_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = fuse(settle(phonecv.create_model("mobileone_s0", out_indices=(2, 4), **TINY["mobileone_s0"]), size=64))
    session = open_session(written(model, tmp_path).path, threads=1)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = [value.numpy() for value in model(images)]
    found = session(images.numpy())
    assert [value.shape for value in found] == [value.shape for value in maps]
    assert max(difference(want, got) for want, got in zip(maps, found, strict=True)) < 1e-4


def test_outputs_of_a_call_outlive_the_next(mobileone: tuple[VisionModel, Written]) -> None:
    session = open_session(mobileone[1].path, threads=1)
    first = session(np.zeros((1, 3, 64, 64), np.float32))[0]
    kept = first.copy()
    session(np.ones((1, 3, 64, 64), np.float32))
    assert np.array_equal(first, kept)


def test_threads_are_those_asked_for(mobileone: tuple[VisionModel, Written]) -> None:
    from executorch.extension.pybindings import portable_lib

    session = open_session(mobileone[1].path, threads=2)
    assert portable_lib._threadpool_get_thread_count() == 2
    images = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    assert difference(logits(mobileone[0], torch.from_numpy(images)), session(images)[0]) < 1e-4
    with pytest.raises(UserError, match="2 threads here while a program is open"):
        open_session(mobileone[1].path, threads=1)
    del session
    gc.collect()
    open_session(mobileone[1].path, threads=1)
    assert portable_lib._threadpool_get_thread_count() == 1


@pytest.mark.long
def test_eight_bits(mobileone: tuple[VisionModel, Written], tmp_path: Path) -> None:
    model, whole = mobileone
    images = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    result = written(model, tmp_path, precision="int8", calibration=images.numpy())
    # Of so small a network most is not weights.
    assert result.path.stat().st_size < 0.9 * whole.path.stat().st_size
    assert result.report["delegates"] == 1
    assert result.report["settings"]["calibration"] == 16
    assert difference(logits(model, images), open_session(result.path, threads=1)(images.numpy())[0]) < 0.3


def test_broken_files_are_refused(
    mobileone: tuple[VisionModel, Written], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = mobileone[1].path.read_bytes()
    for name, data in {"empty": b"", "garbage": b"no program at all" * 100, "cut": whole[: len(whole) // 2]}.items():
        path = tmp_path / f"{name}.pte"
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"cannot be used as an ExecuTorch program: .") as caught:
            open_session(path, threads=1)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < len(str(path)) + 400
    assert capfd.readouterr() == ("", "")


def test_the_runtimes_own_line_is_told_when_it_fails(
    mobileone: tuple[VisionModel, Written], capfd: pytest.CaptureFixture[str]
) -> None:
    session = open_session(mobileone[1].path, threads=1)
    with pytest.raises(UserError, match=r"m.pte fails when ExecuTorch runs it: .*(size|shape|tensor)") as caught:
        session.run(np.zeros((1, 3, 32, 96), np.float32))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    from executorch.exir import to_edge_transform_and_lower

    program = to_edge_transform_and_lower(torch.export.export(nn.Linear(16, 2), (torch.randn(1, 16),)))
    path = tmp_path / "words.pte"
    path.write_bytes(program.to_executorch().buffer)
    with pytest.raises(UserError, match=r"\[1, 16\] float32; a network of ours takes one batch of pictures"):
        open_session(path, threads=1)


@pytest.mark.long
def test_export_end_to_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = tiny("mobileone_s0")
    model.class_names = tuple("abcdefg")
    result = export(model, tmp_path / "m.pte", size=64)
    assert result.difference is not None
    assert result.difference < 1e-4
    assert result.agreement == 1.0
    assert result.checked_by.startswith("ExecuTorch")
    assert result.report["share_of_macs"] == 1.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pte", "m.pte.json", "m.test.png"]
    runner = open_classifier(tmp_path / "m.pte")
    assert runner.class_names == tuple("abcdefg")
    images = torch.randn(3, 3, 64, 64)
    assert difference(logits(model, images), runner(images).numpy()) < 1e-4
    assert capfd.readouterr() == ("", "")


@pytest.mark.long
@pytest.mark.slow
def test_apples_network(shared_dir: Path, tmp_path: Path) -> None:
    result = export(shared_dir / "weights" / "mobileone_s0_apple_fused.pth", tmp_path / "s0.pte")
    assert result.difference is not None
    assert result.difference < 1e-4
    assert result.agreement == 1.0
    assert (result.report["delegates"], result.report["outside"]) == (1, [])
