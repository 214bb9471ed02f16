"""What is done for speed leaves the golden numbers alone: compiled networks, half precision, several threads."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from conftest import mostly_long
from models.reference import golden_input, golden_model, load_golden
from models.test_golden import LOGIT_TOLERANCE, sizes_of
from phonecv.models.compiling import compile_for_inference
from phonecv.models.fusing import fuse

FILES = ["EMO_1M", "EMO2_1M_k5_hybrid", "mobileone_s0_unfused"]

#: Largest error of bfloat16, as a share of the golden logits' spread. Measured: 0.6 % (EMO, EMOv2), 0.3 % (MobileOne).
BF16_BOUND = 0.02

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="torch.compile needs a C++ compiler on the CPU"
)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Other kernels run with several threads than with one."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.long
@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("file", mostly_long(FILES, "mobileone_s0_unfused"))
def test_compiled_networks_give_the_golden_logits(file: str) -> None:
    _, arrays = load_golden(file)
    size = sizes_of(file)[0]
    x = golden_input(file, size)
    fused = fuse(golden_model(file))
    run = compile_for_inference(fused, x)
    with torch.inference_mode():
        np.testing.assert_allclose(run(x).numpy(), arrays[f"logits_{size}"], rtol=0, atol=LOGIT_TOLERANCE)


@pytest.mark.long
@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("file", ["EMO2_1M_k5_hybrid"])
def test_compiled_training_form_gives_the_golden_logits(file: str) -> None:
    _, arrays = load_golden(file)
    size = sizes_of(file)[0]
    model = golden_model(file)
    with torch.no_grad():
        logits = torch.compile(model, dynamic=False)(golden_input(file, size))
    np.testing.assert_allclose(logits.numpy(), arrays[f"logits_{size}"], rtol=0, atol=LOGIT_TOLERANCE)


@pytest.mark.parametrize(
    ("file", "batch"),
    mostly_long(itertools.product(FILES, (1, 16)), ("EMO2_1M_k5_hybrid", 1)),
)
def test_two_threads_and_larger_batches_give_the_golden_logits(file: str, batch: int, two_threads: None) -> None:
    _, arrays = load_golden(file)
    size = sizes_of(file)[-1]
    x, expected = golden_input(file, size), arrays[f"logits_{size}"]
    copies = -(-batch // len(x))
    model = golden_model(file)
    with torch.inference_mode():
        for network in (model, fuse(model)):
            logits = network(x.repeat(copies, 1, 1, 1)).numpy()
            np.testing.assert_allclose(logits, np.tile(expected, (copies, 1)), rtol=0, atol=LOGIT_TOLERANCE)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_bfloat16_stays_within_its_bound(file: str, how: str) -> None:
    _, arrays = load_golden(file)
    size = sizes_of(file)[0]
    x, fused = golden_input(file, size), fuse(golden_model(file))
    with torch.no_grad():
        if how == "weights":
            logits = fused.to(torch.bfloat16)(x.to(torch.bfloat16))
        else:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = fused(x)
    expected = arrays[f"logits_{size}"]
    error = np.abs(logits.float().numpy() - expected).max() / np.ptp(expected)
    assert 0 < error < BF16_BOUND
