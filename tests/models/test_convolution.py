"""`Conv2d` calls another kernel in inference on one thread; nobody but the clock may notice."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from phonecv.models.blocks import Conv2d
from weights.helpers import relative


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes that went to oneDNN by name."""
    shapes: list[tuple[int, ...]] = []
    onednn = torch.mkldnn_convolution

    def record(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        shapes.append(tuple(x.shape))
        return onednn(x, *rest)

    monkeypatch.setattr(torch, "mkldnn_convolution", record)
    return shapes


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 4])
def test_one_thread_inference_gives_the_same(
    layout: torch.memory_format, stride: int, groups: int, called: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    conv = Conv2d(24, 40, 1, stride, groups=groups).to(memory_format=layout)
    plain = nn.Conv2d(24, 40, 1, stride, groups=groups).double()
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(3, 24, 9, 7).contiguous(memory_format=layout)
    with torch.inference_mode():
        assert relative(conv(x).double(), plain(x.double())) < 1e-6
    assert called == [(3, 24, 9, 7)]
    assert relative(conv(x).double(), plain(x.double())) < 1e-6  # with gradients: PyTorch's own choice
    assert len(called) == 1


def test_counters_autocast_tracing_and_other_types_see_the_ordinary_operator(called: list[tuple[int, ...]]) -> None:
    conv = Conv2d(8, 16, 1)
    x = torch.randn(1, 8, 5, 5)
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            conv(x)
        assert counter.get_total_flops() == 2 * 8 * 16 * 25
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert conv(x).dtype == torch.bfloat16
        assert conv.double()(x.double()).dtype == torch.float64
        conv.float()
        assert conv(x[:0]).shape == (0, 16, 5, 5)
    assert called == []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # tracing is deprecated, and still what exporters use
        traced = torch.jit.trace(conv, x)
        program = torch.export.export(conv, (x,))
    assert "mkldnn" not in str(traced.graph)  # pyrefly: ignore[missing-attribute]
    assert "mkldnn" not in str(program.graph)


def test_hooks_of_the_convolution_still_run() -> None:
    conv, seen = Conv2d(8, 16, 1), []
    conv.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    with torch.inference_mode():
        conv(torch.randn(1, 8, 5, 5))
    assert seen == [(1, 16, 5, 5)]
