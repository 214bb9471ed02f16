"""Every published row: the network, its parameters and its cost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import mostly_long
from phonecv.benchmarking.count import count_parameters
from phonecv.segment.architectures import SEGMENTERS
from phonecv.segment.base import Segmenter
from phonecv.segment.create import ARCHITECTURES
from phonecv.segment.published import PUBLISHED
from segment.costs import hooked_flops, traced_flops
from segment.golden import create_published

HRF = "unet_hrf_emov2_unet"


def shapes_of(row: str) -> Segmenter:
    """The network without numbers: shapes are all that counting needs."""
    with torch.device("meta"):
        return create_published(row)


def smallest_first(names: Iterable[str]) -> list[Any]:
    """Rows to be counted: of each head that of the smallest backbone, the others only with `long`."""
    names = list(names)
    return mostly_long(names, *(name for name in names if name.endswith("_1m")))


def cut(value: float) -> float:
    return int(value * 10 + 1e-9) / 10


def test_tables_agree() -> None:
    assert list(SEGMENTERS) == list(ARCHITECTURES)
    assert len(PUBLISHED) == 23


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name: str) -> None:
    row, model = PUBLISHED[name], shapes_of(name)
    auxiliary = count_parameters(model.aux_head) if model.aux_head is not None else 0
    assert auxiliary == row.auxiliary_parameters
    assert count_parameters(model) - auxiliary == row.parameters
    assert count_parameters(create_without_auxiliary(name)) == row.parameters
    if row.table_parameters is not None:
        counted = row.parameters + (auxiliary if row.backbone.startswith("emo_") else 0)
        rounded = name == "segformer_emov2_20m"
        assert (round(counted / 1e6, 1) if rounded else cut(counted / 1e6)) == row.table_parameters


def create_without_auxiliary(name: str) -> Segmenter:
    with torch.device("meta"):
        return create_published(name, options={"aux": False})


@pytest.mark.parametrize("name", smallest_first(name for name, row in PUBLISHED.items() if row.flops is not None))
def test_traced_flops(name: str) -> None:
    row = PUBLISHED[name]
    assert row.flops is not None
    assert traced_flops(shapes_of(name), 512) == row.flops
    if name != HRF:
        assert cut(row.flops / 1e9) == row.table_gflops


@pytest.mark.parametrize("name", smallest_first(name for name, row in PUBLISHED.items() if row.hook_gflops is not None))
def test_hooked_flops(name: str) -> None:
    row = PUBLISHED[name]
    assert row.hook_gflops is not None
    assert hooked_flops(shapes_of(name), 512) / 1e9 == pytest.approx(row.hook_gflops, abs=5.1e-5)
    assert cut(row.hook_gflops) == row.table_gflops


@pytest.mark.parametrize(
    ("name", "giga"),
    mostly_long(
        [
            ("deeplabv3_emo_1m", 2.7142),
            ("deeplabv3_emo_2m", 3.8092),
            ("deeplabv3_emo_5m", 6.7706),
            ("pspnet_emo_1m", 2.3565),
            ("pspnet_emo_2m", 3.4121),
            ("pspnet_emo_5m", 6.2651),
        ],
        ("deeplabv3_emo_1m", 2.7142),
        ("pspnet_emo_1m", 2.3565),
    ),
)
def test_emo_traced_up_to_the_input_s_size(name: str, giga: float) -> None:
    upsampling = 4 * 150 * 512 * 512
    assert (traced_flops(shapes_of(name), 512) + upsampling) / 1e9 == pytest.approx(giga, abs=5.1e-5)


def test_unet_flops() -> None:
    """The table's 228 G are those of windows of 8: at 512 px, where the plain UNet of its first row has the 204 G."""
    assert traced_flops(shapes_of(HRF), 256) / 1e9 == pytest.approx(71.674, abs=5.1e-4)
    with torch.device("meta"):
        windows_of_8 = create_published(HRF, window=8)
    assert int(traced_flops(windows_of_8, 512) / 1e9) == PUBLISHED[HRF].table_gflops


def test_rows_are_those_of_the_counted_list(shared_dir: Path) -> None:
    names = {"fpn": "semantic_fpn"}
    listed = json.loads((shared_dir / "golden" / "detseg_counts.json").read_text())
    seen = 0
    for entry in listed:
        head = names.get(entry["model"], entry["model"])
        if head not in SEGMENTERS:
            continue
        seen += 1
        family = {"v1": "emo", "v2": "emov2"}[entry["gen"]]
        row = PUBLISHED[f"{head}_{family}_{entry['size'].lower()}"]
        assert row.parameters == entry["params_without_aux"]
        assert row.parameters + row.auxiliary_parameters == entry["params"]["total"]
        assert (row.table_parameters, row.table_gflops) == tuple(entry["published"].values())
        assert row.flops == entry["reproduces"].get("flops")
        assert row.hook_gflops == (entry["reproduces"]["flops_G"] if family == "emo" else None)
    assert seen == 22
