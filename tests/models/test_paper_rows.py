"""Rows of the EMOv2 paper's tables, rebuilt from arguments: parameters are cut to a digit there, FLOPs rounded.

"EMOv2: Pushing 5M Vision Model Frontier", arXiv 2412.06674, tables VII, XV, XVII and XIX.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from phonecv.benchmarking.count import count_cost, count_parameters
from phonecv.errors import UserError
from phonecv.models.factory import build_model
from phonecv.models.fusing import FORM_TOLERANCE, form_difference, fuse
from settle import settle

#: What is built (emov2_5m at 224 px where nothing else is said), then millions of parameters and of FLOPs as printed.
ROWS: dict[str, tuple[dict[str, Any], float, int]] = {
    "attention: none": ({"attention_stages": ()}, 4.3, 802),
    "attention: close windows": ({"attention": "close"}, 5.1, 967),
    "attention: remote windows": ({"attention": "remote"}, 5.1, 967),
    "attention: both": ({}, 5.1, 1035),
    "attention in stage 4": ({"attention_stages": (4,)}, 4.7, 832),
    "attention in stages 2 to 4": ({"attention_stages": (2, 3, 4)}, 5.1, 1096),
    "kernels of 1": ({"kernels": (1, 1, 1, 1)}, 4.8, 969),
    "kernels of 3": ({"kernels": (3, 3, 3, 3)}, 4.9, 991),
    "kernels of 7": ({"kernels": (7, 7, 7, 7)}, 5.3, 1102),
    # The map of stage 4 is 7 wide. With 9 there, too, it would be 5.7 M and 1190 M.
    "kernels of 9": ({"kernels": (9, 9, 9, 7)}, 5.5, 1184),
    "depths 2 2 10 3": ({"depths": (2, 2, 10, 3)}, 5.3, 1038),
    "depths 2 2 12 2": ({"depths": (2, 2, 12, 2)}, 5.0, 1127),
    "EMOv1-1M": ({"name": "emo_1m"}, 1.3, 261),
    "EMOv1-2M": ({"name": "emo_2m"}, 2.3, 439),
    "EMOv1-5M": ({"name": "emo_5m"}, 5.1, 903),
    "EMOv2-1M": ({"name": "emov2_1m"}, 1.4, 285),
    "EMOv2-2M": ({"name": "emov2_2m"}, 2.3, 487),
    "EMOv2-5M at 512 px": ({"name": "emov2_5m_512", "size": 512}, 5.1, 5627),
}

#: Printed in thousand millions, with one decimal.
LARGE = {"emov2_20m": (20.1, 4.0), "emov2_50m": (49.8, 8.8), "emov2_5m_256": (5.1, 1.4)}

#: What does not come out, with the millions that we count.
OTHERS: dict[str, tuple[dict[str, Any], tuple[float, int], tuple[float, int]]] = {
    "attention in all stages": ({"attention_stages": (1, 2, 3, 4)}, (5.2, 1213), (5.157, 1213)),  # rounded, not cut
    "depths 4 4 8 3": ({"depths": (4, 4, 8, 3)}, (5.1, 1132), (4.901, 1033)),
    "depths 2 2 12 3": ({"depths": (2, 2, 12, 3)}, (5.1, 1136), (5.901, 1176)),
    "depths 2 2 8 2, 224 wide": (
        {"depths": (2, 2, 8, 2), "widths": (48, 72, 224, 288)},
        (5.1, 1117),
        (6.107, 1295),
    ),
}


def counted(name: str = "emov2_5m", size: int = 224, **overrides: Any) -> tuple[float, float]:
    """Millions of parameters and of FLOPs."""
    with torch.device("meta"):
        model = build_model(name, **overrides)
    return count_parameters(model) / 1e6, count_cost(model, size).flops / 1e6


def cut(value: float) -> float:
    return int(value * 10) / 10


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_paper(row: str) -> None:
    arguments, parameters, flops = ROWS[row]
    found = counted(**arguments)
    assert (cut(found[0]), round(found[1])) == (parameters, flops)


@pytest.mark.parametrize("name", LARGE)
def test_rows_in_thousand_millions(name: str) -> None:
    parameters, flops = counted(name, 256 if name.endswith("256") else 224)
    assert (cut(parameters), cut(flops / 1e3)) == LARGE[name]


@pytest.mark.parametrize("row", OTHERS)
def test_rows_that_do_not_come_out(row: str) -> None:
    arguments, printed, ours = OTHERS[row]
    parameters, flops = counted(**arguments)
    assert (round(parameters, 3), round(flops)) == ours
    assert (cut(parameters), round(flops)) != printed


def test_attention_in_early_stages_is_fused() -> None:
    torch.manual_seed(0)
    model = settle(build_model("emov2_1m", num_classes=7, depths=(2, 2, 2, 2), attention_stages=(1, 2, 3, 4)))
    assert form_difference(model, fuse(model), torch.randn(1, 3, 97, 130)) <= FORM_TOLERANCE


def test_stages_that_are_none() -> None:
    with pytest.raises(UserError, match=r"attention_stages \(0, 3\) are not among the stages 1 to 4"):
        build_model("emov2_1m", attention_stages=(0, 3))
    with pytest.raises(UserError, match="head_dims 20 does not divide the width 48 of stage 2"):
        build_model("emov2_1m", attention_stages=(2,), head_dims=(16, 20, 20, 20))
