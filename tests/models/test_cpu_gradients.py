"""Training on a CPU is safe for every input layout, around two defects of PyTorch's weight gradients there."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from conftest import mostly_long
from phonecv.models.blocks import Conv2d

STEP = """
import faulthandler, sys
import torch
import phonecv

faulthandler.enable()
torch.manual_seed(0)
layout = {"first": torch.contiguous_format, "last": torch.channels_last}[sys.argv[1]]
model = phonecv.create_model("mobileone_s0", num_classes=4, widths=(48, 64, 64, 64), depths=(1, 1, 1, 1)).train()
reference = phonecv.create_model("mobileone_s0", num_classes=4, widths=(48, 64, 64, 64), depths=(1, 1, 1, 1)).double()
reference.load_state_dict(model.state_dict())
model = model.to(memory_format=layout)
for step in range(2):
    x = torch.randn(8, 3, 64, 64)
    model.zero_grad(), reference.zero_grad()
    model(x.to(memory_format=layout)).square().mean().backward()
    reference(x.double()).square().mean().backward()
    for name in ("stage0.rbr_scale.conv.weight", "stage0.rbr_conv.0.conv.weight", "stage1.0.rbr_scale.conv.weight"):
        exact = reference.get_parameter(name).grad
        error = (model.get_parameter(name).grad - exact).abs().max() / exact.abs().max()
        assert error < 2e-2, (name, step, error)  # float32 rounding gives 4e-3 in either layout
print("safe")
"""


@pytest.mark.slow
@pytest.mark.parametrize("layout", mostly_long(["first", "last"], "last"))
def test_stem_gradient_is_right_and_does_not_crash(layout: str) -> None:
    """The weight gradient of a strided 1x1 convolution with few input channels corrupts memory on channels-last
    input. That shows as a crash or not at all, so the step runs in a process of its own.
    """
    done = subprocess.run([sys.executable, "-c", STEP, layout], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "safe\n"


@pytest.mark.parametrize("groups", [1, 24])
@pytest.mark.parametrize("height", [1, 2, 7])
def test_strided_gradient_on_a_narrow_map_holds_no_leftovers(groups: int, height: int) -> None:
    """In bfloat16 and channels-last, taps that only meet the padding were left as whatever was in memory."""
    torch.manual_seed(0)
    conv = Conv2d(24, 24, 3, 2, 1, groups=groups, bias=False).to(memory_format=torch.channels_last)
    x = torch.randn(4, 24, height, 1).contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = nn.Conv2d(24, 24, 3, 2, 1, groups=groups, bias=False).double()
    exact.load_state_dict(conv.state_dict())
    exact(x.detach().double()).square().sum().backward()
    reference = exact.weight.grad
    assert reference is not None
    for _ in range(5):
        conv.weight.grad = None
        # Freed blocks full of NaN, so that memory that is not written shows.
        _ = [torch.full((n,), float("nan"), dtype=dtype) for n in range(16, 5000, 37) for dtype in (torch.bfloat16,)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = conv(x)
        y.float().square().sum().backward()
        gradient = conv.weight.grad
        assert gradient is not None
        assert (gradient - reference).abs().max() < 0.05 * reference.abs().max()
