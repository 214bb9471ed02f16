"""Cost is linear in pixels, counted, not timed; and the fit that the benchmark makes finds a known power."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from conftest import mostly_long
from phonecv import create_model
from phonecv.benchmarking.count import count_cost


@pytest.fixture(scope="module")
def growth() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "growth.py"
    spec = importlib.util.spec_from_file_location("benchmark_growth", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_fit_finds_the_power(growth: ModuleType, power: float) -> None:
    assert growth.exponent({amount: 3 * amount**power for amount in (2, 5, 11, 40)}) == pytest.approx(power)


@pytest.mark.parametrize("name", mostly_long(["emo_1m", "emov2_1m", "mobileone_s0"], "emov2_1m"))
def test_multiply_adds_are_linear_in_pixels(name: str) -> None:
    model = create_model(name)
    # These sides fill whole windows of 7 at strides 16 and 32. Differences, because the classifier and EMO's gates see
    # no pixels: pixels are as 1 to 4 to 9.
    small, middle, large = (count_cost(model, size).macs for size in (224, 448, 672))
    assert 3 * (large - middle) == 5 * (middle - small)
    assert middle > 3.9 * small


def test_one_window_over_the_whole_map_is_not_linear() -> None:
    # The check above can fail: attention over the whole map grows with the square of the pixels.
    model = create_model("emo_1m", window=0)
    small, middle, large = (count_cost(model, size).macs for size in (224, 448, 672))
    assert 3 * (large - middle) > 5.1 * (middle - small)
