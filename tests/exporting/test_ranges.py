"""Ranges against NumPy's sort, and the settings of int8 files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from exporting.int8_jobs import int8_job
from phonecv.errors import UserError
from phonecv.exporting.ranges import Int8Settings, Tails, calibration_pictures, chosen_modules, int8_settings


@pytest.mark.parametrize("percentile", [100.0, 99.9, 90.0])
@pytest.mark.parametrize("relu", [False, True])
def test_tails_are_the_percentile_of_the_whole_stream(percentile: float, relu: bool) -> None:
    values = np.random.default_rng(0).normal(0.5, 2, (20, 30, 50)).astype(np.float32)
    if relu:
        values = values.clip(0)
    tails = Tails(values.size, percentile)
    for part in values:
        tails.add(part)
    cut = int(values.size * (100 - percentile) / 200)
    ordered = np.sort(values.ravel())
    assert tails.range() == (min(0.0, ordered[cut]), ordered[-1 - cut])


def test_ranges_hold_zero() -> None:
    tails = Tails(3, 100)
    tails.add(np.array([2, 3, 4], np.float32))
    assert tails.range() == (0.0, 4.0)
    assert Tails(3, 100).range() == (0.0, 0.0)


def test_settings_are_checked() -> None:
    job = int8_job()
    assert int8_settings(job) == Int8Settings()
    wanted = Int8Settings("percentile", 99.9, ("network.stage0",))
    got = int8_settings(replace(job, settings={"range": "percentile", "percentile": 99.9, "float_layers": "stage0"}))
    assert got == wanted
    assert (got.span, Int8Settings().span) == (99.9, 100.0)
    for settings, message in (
        ({"rang": "minmax"}, "did you mean 'range'"),
        ({"range": "all"}, "minmax, percentile"),
        ({"percentile": 0.9}, r"99\.99"),
        ({"float_layers": ["stage7"]}, "did you mean 'stage"),
    ):
        with pytest.raises(UserError, match=message):
            int8_settings(replace(job, settings=settings))


def test_calibration_pictures_are_checked() -> None:
    job = int8_job()
    assert job.calibration is not None
    assert calibration_pictures(job).shape == (12, 3, 64, 64)
    broken = job.calibration.copy()
    broken[0, 0, 0, 0] = np.nan
    for pictures, message in (
        (None, "calibration="),
        (job.calibration[:0], "calibration="),
        (job.calibration[:, :, :32], "takes N x"),
        (broken, "NaN"),
    ):
        with pytest.raises(UserError, match=message):
            calibration_pictures(replace(job, calibration=pictures))


def test_names_are_ends_of_paths() -> None:
    module = nn.Sequential()
    module.add_module("network", nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU(), nn.ReLU())))
    assert chosen_modules(module, ["1"]) == ["network.1"]  # and not what is in it
    assert chosen_modules(module, ["1.0", "network.0"]) == ["network.1.0", "network.0"]
    with pytest.raises(UserError, match="no layer '2'"):
        chosen_modules(module, ["2"])
