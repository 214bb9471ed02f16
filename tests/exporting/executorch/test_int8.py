"""int8 programs for ExecuTorch: near the float network, really in 8 bits, ranges from the pictures, layers kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import mostly_long
from exporting.int8_jobs import FIRST, images, int8_job, signal_to_noise
from phonecv.exporting.job import Job

pytest.importorskip("executorch")

# What the toolkit's own imports and passes use of PyTorch.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def quantized(job: Job) -> tuple[torch.export.ExportedProgram, dict[str, Any]]:
    from phonecv.exporting.executorch.int8 import quantized_program
    from phonecv.exporting.executorch.lowering import for_xnnpack, norm_names

    module = for_xnnpack(job.module)
    layers = (*job.settings.get("float_layers", ()), *norm_names(module))
    return quantized_program(replace(job, module=module, settings={**job.settings, "float_layers": layers}))


@torch.no_grad()
def decibels(job: Job, program: torch.export.ExportedProgram) -> float:
    run, pictures = program.module(), images(8, 3)
    return signal_to_noise(job, np.concatenate([run(picture)[0].numpy() for picture in pictures.split(1)]), pictures)


def weight_scales(program: torch.export.ExportedProgram) -> list[int]:
    """Lengths of the scales of all weights that are quantized per channel."""
    found = []
    for node in program.graph.nodes:
        if node.op == "call_function" and "dequantize_per_channel" in str(node.target):
            found.append(node.args[1].meta["val"].numel())
    return found


@pytest.fixture(scope="module")
def plain() -> tuple[Job, torch.export.ExportedProgram, dict[str, Any]]:
    job = int8_job()
    return job, *quantized(job)


def test_near_the_float_network(plain: tuple[Job, torch.export.ExportedProgram, dict[str, Any]]) -> None:
    job, program, used = plain
    assert decibels(job, program) > 13  # measured: 16.6
    assert used["range"] == "minmax"
    assert used["calibration"] == 12


def test_weights_are_int8_per_channel(plain: tuple[Job, torch.export.ExportedProgram, dict[str, Any]]) -> None:
    job, program, used = plain
    wanted = [value.shape[0] for value in job.module.parameters() if value.ndim > 1]
    assert sorted(weight_scales(program)) == sorted(wanted)
    assert used["operators"]["conv2d"] == len(wanted) - 1
    assert used["operators"]["linear"] == 1
    held = [value for value in [*program.state_dict.values(), *program.constants.values()] if hasattr(value, "dtype")]
    integers = sum(value.numel() for value in held if value.dtype == torch.int8)
    assert integers == sum(value.numel() for value in job.module.parameters() if value.ndim > 1)


class Levels(nn.Module):
    """One head on two maps, as a detector's pyramid has it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(x), self.head(nn.functional.avg_pool2d(x, 2))


def test_a_layer_that_reads_several_maps_is_in_8_bits_on_each(tmp_path: Path) -> None:
    """On all but the first the quantizer left weights in floating point, and XNNPACK refused the file."""
    from phonecv.exporting.executorch.exporter import open_session, write

    torch.manual_seed(0)
    job = Job(Levels().eval(), (images(2, 2),), ("fine", "coarse"), "m", "int8", calibration=images(4, 1).numpy())
    written = write(job, tmp_path)
    assert written.report["settings"]["operators"]["conv2d"] == 2
    got = open_session(written.path, threads=torch.get_num_threads())(images(1, 3).numpy())
    with torch.no_grad():
        for want, have in zip(job.module(images(1, 3)), got, strict=True):
            assert np.abs(want.numpy() - have).mean() < 0.02 * want.abs().max()  # measured: 0.004


def test_layers_by_name_stay_float(plain: tuple[Job, torch.export.ExportedProgram, dict[str, Any]]) -> None:
    job, program, _ = plain
    chosen = replace(job, settings={"float_layers": ["stage3.1", "linear"]})
    fewer, used = quantized(chosen)
    assert len(weight_scales(fewer)) == len(weight_scales(program)) - 2
    assert used["float_layers"] == ["stage3.1", "linear"]
    assert "linear" not in used["operators"]


@pytest.mark.long
def test_ranges_are_those_of_the_pictures(plain: tuple[Job, torch.export.ExportedProgram, dict[str, Any]]) -> None:
    job, program, _ = plain
    darker = int8_job(scale=0.3)
    assert decibels(darker, quantized(darker)[0]) < decibels(job, program) - 8
    first = next(node for node in program.graph.nodes if "quantize_per_tensor" in str(node.target))
    assert job.calibration is not None
    span = job.calibration.max() - job.calibration.min()
    assert first.args[1] == pytest.approx(span / 255, rel=1e-5)
    cut, used = quantized(replace(job, settings={"range": "percentile", "percentile": 99.0}))
    first = next(node for node in cut.graph.nodes if "quantize_per_tensor" in str(node.target))
    low, high = np.percentile(job.calibration, [0.5, 99.5])
    assert first.args[1] == pytest.approx((high - low) / 255, rel=1e-2)
    assert used["percentile"] == 99.0


def test_relu6_is_part_of_its_convolution() -> None:
    job = int8_job()
    modules: list[Any] = list(job.module.modules())
    blocks = [module for module in modules if isinstance(getattr(module, "act", None), torch.nn.ReLU)]
    for module in blocks:
        module.act = torch.nn.ReLU6()
        module.reparam_conv.weight.data *= 3  # so that much of what comes out is cut away
    program, _ = quantized(job)
    cut = [node for node in program.graph.nodes if "hardtanh" in str(node.target)]
    assert len(cut) == len(blocks) > 5
    for node in cut:
        assert "conv" in str(node.args[0].target)  # nothing is rounded before it is cut
        (rounded,) = [user for user in node.users if "quantize_per_tensor" in str(user.target)]
        assert rounded.args[1] <= 6.001 / 255


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_long([FIRST, "emov2_1m"], FIRST))
def test_files_run_in_executorch(name: str, tmp_path: Path) -> None:
    from phonecv.exporting.executorch import exporter as executorch

    job = int8_job(name)
    path = executorch.write(job, tmp_path).path
    float_path = executorch.write(replace(job, precision="float32", stem="f"), tmp_path).path
    pictures = images(8, 3)
    session = executorch.open_session(path, threads=1)
    got = session(pictures.numpy())[0]
    assert signal_to_noise(job, got, pictures) > (13 if name == FIRST else 7)
    assert path.stat().st_size < float_path.stat().st_size
