"""The quicker gradients of depthwise convolutions against PyTorch's own in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, library, nn

from phonecv.models.blocks import Conv2d
from phonecv.models.kernels import depthwise
from phonecv.models.kernels.depthwise import gains, weight_gradient

pytestmark = pytest.mark.skipif(not depthwise._ONEDNN, reason="only x86 with oneDNN takes this way")


def pair(
    kernel: int = 5, stride: int = 1, bias: bool = False, dtype: torch.dtype = torch.float32
) -> tuple[Conv2d, nn.Conv2d]:
    """One of ours, and PyTorch's in float64 with the same values."""
    torch.manual_seed(0)
    conv = Conv2d(24, 24, kernel, stride, kernel // 2, groups=24, bias=bias).to(dtype)
    reference = nn.Conv2d(24, 24, kernel, stride, kernel // 2, groups=24, bias=bias).double()
    reference.load_state_dict(conv.state_dict())
    return conv, reference


def error(value: Tensor | None, expected: Tensor | None) -> float:
    assert value is not None
    assert expected is not None
    assert value.shape == expected.shape
    return float(((value.double() - expected).abs().max() / expected.abs().max()).detach())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 3e-6), (torch.bfloat16, 1e-2)])
def test_gradients_equal_pytorchs(
    stride: int, kernel: int, layout: torch.memory_format, dtype: torch.dtype, limit: float
) -> None:
    for size in ((14, 14), (7, 9), (8, 5), (3, 2), (1, 1)):
        for bias in (False, True):
            conv, reference = pair(kernel, stride, bias, dtype)
            x = torch.randn(3, 24, *size).to(dtype, memory_format=layout).requires_grad_()
            wide = x.detach().double().requires_grad_()
            assert gains(conv, x) == (kernel > 3 or size != (1, 1))
            y, expected = conv(x), reference(wide)
            grad = torch.randn_like(y)
            y.backward(grad)
            expected.backward(grad.double())
            assert error(y, expected) < limit
            assert error(x.grad, wide.grad) < limit
            assert error(conv.weight.grad, reference.weight.grad) < limit
            if conv.bias is not None and reference.bias is not None:
                assert error(conv.bias.grad, reference.bias.grad) < limit


def test_mixed_layouts_and_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "CHUNK", 24 * 9 * 9 * 2)  # two pictures per call, of five
    for x_layout in (torch.contiguous_format, torch.channels_last):
        for grad_layout in (torch.contiguous_format, torch.channels_last):
            conv, reference = pair()
            x = torch.randn(5, 24, 9, 18).to(memory_format=x_layout)[..., ::2].requires_grad_()
            wide = x.detach().double().requires_grad_()
            y, expected = conv(x), reference(wide)
            grad = torch.randn(y.shape).to(memory_format=grad_layout)
            y.backward(grad)
            expected.backward(grad.double())
            assert error(conv.weight.grad, reference.weight.grad) < 3e-6
            assert error(x.grad, wide.grad) < 3e-6


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_lie_like_their_weights(kernel: int, stride: int) -> None:
    conv, _ = pair(kernel, stride)
    conv.to(memory_format=torch.channels_last)
    conv(torch.randn(2, 24, 8, 8).contiguous(memory_format=torch.channels_last)).sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.stride() == conv.weight.stride()


def test_second_derivatives() -> None:
    for stride in (1, 2):
        conv, reference = pair(stride=stride)
        results = []
        for module, dtype in ((conv, torch.float32), (reference, torch.float64)):
            torch.manual_seed(1)
            x = torch.randn(2, 24, 6, 7).to(dtype).requires_grad_()
            first = torch.autograd.grad(module(x).pow(3).sum(), [x, module.weight], create_graph=True)
            penalty = sum((gradient.pow(2).sum() for gradient in first), torch.zeros((), dtype=dtype))
            results.append(torch.autograd.grad(penalty, [x, module.weight]))
        for value, expected in zip(*results, strict=True):
            assert error(value, expected) < 1e-5


def test_autocast_computes_in_its_type() -> None:
    conv, reference = pair(bias=True)
    x = torch.randn(2, 24, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.dtype == torch.float32
    reference(x.detach().double()).sum().backward()
    assert error(conv.weight.grad, reference.weight.grad) < 2e-2


def test_an_empty_batch_has_no_gradient() -> None:
    conv, _ = pair()
    conv(torch.zeros(0, 24, 8, 8, requires_grad=True)).sum().backward()
    assert conv.weight.grad is not None
    assert not conv.weight.grad.any()


def test_what_it_leaves_to_pytorch() -> None:
    conv, _ = pair()
    x = torch.randn(2, 24, 8, 8)
    assert gains(conv, x)
    assert not gains(conv, x.double())
    assert not gains(nn.Conv2d(24, 24, 3, 2, 1, groups=24), x[..., :1])
    assert not gains(nn.Conv2d(24, 24, 9, 1, 4, groups=24), x)
    assert not gains(nn.Conv2d(24, 24, 5, 1, 2, groups=12), x)
    assert not gains(nn.Conv2d(24, 24, 5, 1, 0, groups=24), x)
    assert not gains(nn.Conv2d(24, 24, 5, 1, 2, groups=24, padding_mode="reflect"), x)
    with torch.no_grad():
        assert not gains(conv, x)
    conv.requires_grad_(False)
    assert not gains(conv, x)
    conv, _ = pair()
    exported = torch.export.export(conv, (x,))
    assert not any("phonecv" in str(node.target) for node in exported.graph.nodes)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own check causes it
def test_the_operator_is_well_made() -> None:
    grad, x = torch.randn(2, 6, 4, 4, requires_grad=True), torch.randn(2, 6, 8, 8, requires_grad=True)
    library.opcheck(weight_gradient, (grad, x, 5, 2))


@pytest.mark.long
@pytest.mark.slow
def test_compiled_without_a_break() -> None:
    conv, _ = pair()
    compiled = torch.compile(conv, fullgraph=True, dynamic=False)
    x = torch.randn(2, 24, 8, 8, requires_grad=True)
    compiled(x).pow(2).sum().backward()
    gradients = x.grad, conv.weight.grad
    x.grad = conv.weight.grad = None
    conv(x).pow(2).sum().backward()
    assert error(gradients[0], x.grad) < 1e-5
    assert error(gradients[1], conv.weight.grad) < 1e-5
