"""A frozen network gives the numbers of the plain deploy form, keeps its state dict, and refuses to change."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import phonecv
from conftest import TINY
from models.reference import golden_input, golden_model, load_golden
from models.test_golden import LOGIT_TOLERANCE, sizes_of
from phonecv.create import load_network
from phonecv.errors import UserError
from phonecv.models import packing
from phonecv.models.blocks import ConvNormAct
from phonecv.models.fusing import fuse
from phonecv.models.kernels.choices import using
from phonecv.models.packing import PackedConv2d
from phonecv.weights import save_checkpoint
from settle import settle
from weights.helpers import relative


def TanhGELU() -> nn.Module:
    return nn.GELU("tanh")


def tiny(name: str = "mobileone_s0") -> Any:
    torch.manual_seed(0)
    gates: dict[str, Any] = {"se_pairs": (0, 0, 1, 1)} if name.startswith("mobileone") else {}
    return settle(phonecv.create_model(name, num_classes=7, **TINY[name], **gates)).eval()


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the weights that were packed."""
    shapes: list[tuple[int, ...]] = []
    pack = torch.ops.mkldnn._reorder_convolution_weight

    def record(weight: Tensor, *rest: Any) -> Tensor:
        shapes.append(tuple(weight.shape))
        return pack(weight, *rest)

    monkeypatch.setattr(packing, "_reorder", record)
    return shapes


@pytest.mark.parametrize("file", ["EMO_1M", "EMO2_1M_k5_hybrid", "mobileone_s0_unfused"])
def test_golden_logits(file: str, packed: list[tuple[int, ...]]) -> None:
    _, arrays = load_golden(file)
    frozen = fuse(golden_model(file), frozen=True)
    for size in sizes_of(file):
        logits = frozen(golden_input(file, size))
        np.testing.assert_allclose(logits.numpy(), arrays[f"logits_{size}"], rtol=0, atol=LOGIT_TOLERANCE)
    convolutions = [module for module in frozen.modules() if isinstance(module, nn.Conv2d)]
    assert all(type(conv) is PackedConv2d for conv in convolutions)
    assert len(packed) >= len(convolutions)  # anew for every size


@pytest.mark.parametrize("act", [nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, TanhGELU, nn.Hardswish])
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 2, 1), (5, 1, 16), (3, 2, 4)])
def test_units(act: Any, kernel: int, stride: int, groups: int) -> None:
    torch.manual_seed(0)
    unit = ConvNormAct(16, 32, kernel, stride=stride, groups=groups, bias=True, act=act).eval()
    exact = copy.deepcopy(unit).double()
    frozen = nn.Sequential(unit)
    packing.freeze(frozen)
    for shape, layout in (((2, 16, 9, 7), torch.channels_last), ((1, 16, 8, 8), torch.contiguous_format)):
        x = torch.randn(shape).contiguous(memory_format=layout)
        for view in (x, x[..., ::2]):
            assert relative(frozen(view).double(), exact(view.double())) < 2e-6
    assert frozen(torch.zeros(0, 16, 8, 8)).shape[0] == 0


@pytest.mark.parametrize("name", TINY)
def test_it_stays_the_same_network(name: str, tmp_path: Path) -> None:
    network = tiny(name)
    plain, frozen = fuse(network), fuse(network, frozen=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = plain(x)
    assert (frozen.form, frozen.frozen, plain.frozen) == ("deploy", True, False)
    assert "frozen" in repr(frozen)
    assert "frozen" not in repr(plain)
    assert list(frozen.state_dict()) == list(plain.state_dict())
    for copied in (frozen, copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert relative(copied(x), expected) < 1e-5
        assert copied.frozen
    with using(weights="pytorch"):
        assert relative(frozen(x), expected) < 1e-5
    assert relative(frozen.double()(x.double()), expected.double()) < 1e-5
    assert relative(frozen.float()(x), expected) < 1e-5
    counts = []
    for form in (plain, frozen):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            form(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    save_checkpoint(frozen, tmp_path / "net.safetensors")
    loaded = load_network(tmp_path / "net.safetensors", task=None)
    assert (loaded.form, loaded.frozen) == ("deploy", False)
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), plain.state_dict().values(), strict=True)
    )


def test_it_refuses_to_change() -> None:
    frozen = fuse(tiny(), frozen=True)
    before = frozen.state_dict()
    for change in (
        frozen.train,
        lambda: frozen.stage1.train(),
        frozen.requires_grad_,
        lambda: frozen.load_state_dict(before),
        lambda: nn.Sequential(frozen).load_state_dict(nn.Sequential(frozen).state_dict()),
        lambda: frozen(torch.randn(1, 3, 32, 32, requires_grad=True)),
    ):
        with pytest.raises(UserError, match="this network is frozen"):
            change()
        assert not frozen.training
    frozen.stage0.requires_grad_()
    with pytest.raises(UserError, match="gradients were asked for"):
        frozen(torch.randn(1, 3, 32, 32))
    assert frozen.eval() is frozen


@pytest.mark.parametrize("name", ["emov2_1m", "mobileone_s0"])
def test_fused_again_it_can_change(name: str) -> None:
    network = tiny(name)
    plain, frozen = fuse(network), fuse(network, frozen=True)
    again = fuse(frozen)
    assert str(again) == str(plain)
    assert frozen.frozen
    assert fuse(frozen, frozen=True).frozen
    again.train()(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in again.parameters())


def test_detectors() -> None:
    torch.manual_seed(0)
    detector: Any = phonecv.create_detector("ssdlite320", "mobileone_s0", num_classes=3, **TINY["mobileone_s0"]).eval()
    frozen = fuse(detector, frozen=True)
    x = torch.randn(1, 3, 64, 64)
    for ours, theirs in zip(frozen.network(x), fuse(detector).network(x), strict=True):
        for a, b in zip(ours, theirs, strict=True) if isinstance(ours, list) else [(ours, theirs)]:
            assert relative(a, b.detach()) < 1e-5
    assert frozen.frozen
    with pytest.raises(UserError, match="frozen"):
        frozen.train()


def test_graphs_hold_plain_convolutions() -> None:
    frozen = fuse(tiny(), frozen=True)
    program = torch.export.export(frozen, (torch.randn(1, 3, 32, 32),))
    assert "mkldnn" not in str(program.graph)
    assert "conv2d" in str(program.graph)
