"""Layers of one shape, laid out channels-last as `fuse` leaves them, keep a weight each in every format."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import mostly_long
from phonecv.exporting.formats import EXPORTERS
from phonecv.exporting.job import Job
from phonecv.exporting.perform import captured
from phonecv.exporting.record import find_record

#: Of each kind. Fewer may go well by chance: what is merged hangs on which addresses are free.
LAYERS = 6

RECORD = {"model": "equal", "classes": ["ß", "b"], "outputs": ["logits"]}


class Equal(nn.Module):
    """Six dense and six depthwise convolutions of one shape, and six scales that lie across the memory."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.dense = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(LAYERS))
        self.depthwise = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(LAYERS))
        self.scales = nn.ParameterList(nn.Parameter(1 + 0.5 * torch.randn(2, width).T) for _ in range(LAYERS))

    def forward(self, images: Tensor) -> tuple[Tensor]:
        features = self.stem(images)
        for dense, depthwise, scale in zip(self.dense, self.depthwise, self.scales, strict=True):
            features = dense(features) + depthwise(features)
            features = features * scale[:, 0, None, None] + scale[:, 1, None, None]
        return (features.mean((2, 3)),)


@pytest.fixture(scope="module")
def job() -> Job:
    torch.manual_seed(0)
    module: Any = Equal().eval().to(memory_format=torch.channels_last)
    assert not module.dense[0].weight.is_contiguous()
    assert not module.scales[0].is_contiguous()
    return Job(module, (torch.randn(2, 3, 8, 8),), ("logits",), "m", record=RECORD)


@pytest.mark.slow
@pytest.mark.parametrize("format", mostly_long(EXPORTERS, "coreml", "ncnn", "pt2"))
def test_no_two_share_a_weight(tmp_path: Path, job: Job, format: str) -> None:
    exporter = EXPORTERS[format]
    if exporter.missing():
        pytest.skip(f"{format} is not installed")
    write, open_session = (resolve_name(path) for path in (exporter.function, exporter.session))
    with captured():  # the toolkits warn and print
        made = write(job, tmp_path)
        (got,) = open_session(made.path, threads=1)(job.examples[0].numpy())
    with torch.no_grad():
        wanted = job.module(job.examples[0])[0].numpy()
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()
    # Alone, the file still says what it is.
    assert find_record(made.path) == (RECORD if exporter.within else {})
    # What was handed over is as it was: other formats of the same call are written from it.
    layers: Any = job.module
    assert layers.dense[0].weight.is_contiguous(memory_format=torch.channels_last)
