"""What depends on the device, on a CUDA device: networks, gradients, batches, training, evaluation, prediction.

Everything is compared with the CPU, with golden numbers, or with an unbroken run. PHONECV_TEST_DEVICE=cpu runs the same
on the CPU, to try the tests themselves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import training.conftest as small
from detect.detectors import ONE_STAGE, settled
from detect.detectors import pictures as random_pictures
from detect.detectors import small as small_detector
from detect.test_roi import STRIDES, boxes_of_all_levels, pyramid
from models.kernels.test_depthwise import error, pair
from models.kernels.test_moments import LAYERS, differences, in_form, layer, picture
from models.reference import golden_input, golden_model, load_golden
from phonecv.cli import main
from phonecv.data.labelmaps.listing import read_label_split
from phonecv.data.labelmaps.loading import SegmentationDataset, make_segmentation_loader
from phonecv.data.loading.loader import eval_batches
from phonecv.detect.postprocess import class_nms
from phonecv.detect.roi import pool
from phonecv.models.fusing import form_difference, fuse
from phonecv.models.kernels import branch_sum, depthwise
from phonecv.training import train
from phonecv.training.guard import FiniteGuard, NonFiniteLoss
from segment import golden as segment_golden
from segment.tiny import OPTIONS, tiny
from training.conftest import SMALL, SMALL_DENSE, Configure
from training.test_resume import LIVELY, assert_same, crash, rows_of, state_of

DEVICE = torch.device(os.environ.get("PHONECV_TEST_DEVICE", "cuda"))
CUDA = DEVICE.type == "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(CUDA and not torch.cuda.is_available(), reason="no CUDA device"),
]

pictures, scenes, configure, configure_dense = small.pictures, small.scenes, small.configure, small.configure_dense

if CUDA:  # deterministic trainings need it, and it is read once in a process
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

#: In float32, relative to the largest value.
SINGLE = 2e-5


@pytest.fixture(autouse=True)
def _whole_float32() -> Iterator[None]:
    """No TF32: its ten bits would hide mistakes."""
    backends: Any = torch.backends
    settings = [backends.cudnn.conv, backends.cuda.matmul]
    before = [each.fp32_precision for each in settings]
    for each in settings:
        each.fp32_precision = "ieee"
    yield
    for each, value in zip(settings, before, strict=True):
        each.fp32_precision = value


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference of a tensor from the device, relative to the largest value."""
    assert found.device.type == DEVICE.type
    assert found.shape == expected.shape
    scale = expected.abs().max().clamp(min=1e-12)
    return float(((found.cpu().double() - expected.double()).abs().max() / scale).detach())


# Networks


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "file", ["EMO_1M", "EMO2_1M_k5_hybrid", "EMO2_5M_k5_hybrid", "EMO1_1M", "mobileone_s0_unfused"]
)
def test_classifiers_give_the_golden_logits(file: str, layout: torch.memory_format) -> None:
    _, arrays = load_golden(file)
    model = golden_model(file).to(DEVICE).to(memory_format=layout)
    for size in load_golden(file)[0]["inputs"]:
        x = golden_input(file, size).to(DEVICE).contiguous(memory_format=layout)
        for network in (model, fuse(model)):
            with torch.inference_mode():
                logits = network(x)
            np.testing.assert_allclose(logits.cpu().numpy(), arrays[f"logits_{size}"], rtol=0, atol=2e-4)


@pytest.mark.parametrize("file", ["EMO2_1M_backbone_w10", "EMO_1M_backbone_w7", "EMO_5M_backbone_w16"])
def test_window_attention_and_its_deploy_form(file: str) -> None:
    model = golden_model(file, out_indices=(0, 1, 2, 3, 4))
    for size in load_golden(file)[0]["inputs"]:
        x = golden_input(file, size)
        with torch.no_grad():
            expected = model(x)
            moved = golden_model(file, out_indices=(0, 1, 2, 3, 4)).to(DEVICE)
            found = moved(x.to(DEVICE))
        assert max(difference(*both) for both in zip(found, expected, strict=True)) < SINGLE
        assert form_difference(moved, fuse(moved), x.to(DEVICE)) < 1e-5


@pytest.mark.parametrize("file", ["v2_segformer_1M", "v2_fpn_1M", "v2_deeplabv3_1M", "v1_pspnet_1M"])
def test_segmenters_give_the_golden_logits_and_losses(file: str) -> None:
    arrays, model = segment_golden.load_arrays(file), segment_golden.golden_model(file).to(DEVICE)
    x = segment_golden.golden_input(file)
    with torch.no_grad():
        logits, _ = model.network(x.to(DEVICE))
    segment_golden.assert_golden(logits.cpu(), arrays, "logits", 2e-6)
    images, labels = segment_golden.golden_pictures(model, x), segment_golden.golden_labels(x, model.num_classes)
    losses = model.losses(images.to(DEVICE), labels.to(DEVICE))
    assert losses["ce"].item() == pytest.approx(float(arrays["loss/decode.loss_ce"]), rel=1e-5)


@pytest.mark.parametrize("architecture", OPTIONS)
def test_a_segmenter_learns_from_the_same_gradients(architecture: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(4, 3, 72, 100, generator=generator), torch.randint(5, (4, 72, 100), generator=generator)
    labels[:, :9] = 255
    gradients = []
    for device in (torch.device("cpu"), DEVICE):
        model = tiny(architecture, options={"dropout": 0}, drop_path=0).double().train().to(device)
        torch.stack(list(model(images.double().to(device), labels.to(device)).values())).sum().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    expected, found = gradients
    assert found.keys() == expected.keys()
    scale = max(float(value.abs().max()) for value in expected.values())
    assert max(float((found[name].cpu() - value).abs().max()) for name, value in expected.items()) < 1e-8 * scale


@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_a_detector_finds_the_same(architecture: str) -> None:
    images = random_pictures((75, 101), (64, 64), (131, 60))
    expected = settled(small_detector(architecture)).double()(images)
    model = settled(small_detector(architecture)).double().to(DEVICE)
    for detector in (model, fuse(model)):
        with torch.inference_mode():
            found = detector([image.to(DEVICE) for image in images])
        for one, other in zip(found, expected, strict=True):
            assert one["labels"].tolist() == other["labels"].tolist()
            torch.testing.assert_close(one["boxes"].cpu(), other["boxes"], rtol=1e-5, atol=1e-3)
            torch.testing.assert_close(one["scores"].cpu(), other["scores"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("file", ["EMO2_1M_k5_hybrid", "mobileone_s0_unfused"])
def test_bfloat16_is_near(file: str) -> None:
    model = golden_model(file).to(DEVICE).to(memory_format=torch.channels_last)
    x = golden_input(file, "224x224").to(DEVICE)
    with torch.inference_mode(), torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        logits = fuse(model)(x)
    assert logits.dtype == torch.bfloat16
    assert difference(logits.float(), torch.from_numpy(load_golden(file)[1]["logits_224x224"])) < 0.1


# Operations


@pytest.mark.parametrize("form", ["branches", "moments", "auto"])
@pytest.mark.parametrize("name", LAYERS)
def test_mobileones_training_forms(name: str, form: branch_sum.TrainingForm) -> None:
    block = layer(name)
    x = picture(block, (4, 8, 8))
    wants_x = not name.startswith("stem")
    expected = step(in_form(block, "branches"), x, wants_x, torch.device("cpu"))
    found = step(in_form(block, form), x, wants_x, DEVICE)
    assert max(differences(expected, found).values()) < 1e-10, differences(expected, found)
    summed = branch_sum.sum_branches(in_form(block, form).to(DEVICE), x.to(DEVICE))
    if form != "auto":
        assert (summed is None) == (form == "branches")
    elif CUDA:
        assert summed is None, "moments gain on CPUs alone"


def step(block: nn.Module, x: Tensor, wants_x: bool, device: torch.device) -> dict[str, Tensor]:
    """Output, gradients and buffers of a training step, on the CPU."""
    block, x = block.to(device), x.detach().to(device).requires_grad_(wants_x)
    y = block(x)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    y.backward(weight.to(device, y.dtype))
    found = {"output": y.detach()} | ({"input": x.grad} if x.grad is not None else {})
    found |= {f"gradient {key}": value.grad for key, value in block.named_parameters() if value.grad is not None}
    found |= {f"buffer {key}": value for key, value in block.named_buffers()}
    return {key: value.cpu() for key, value in found.items()}


@pytest.mark.parametrize("name", ["depthwise k=4", "dense k=4, skip", "stem k=3"])
def test_moments_under_autocast(name: str) -> None:
    block = in_form(layer(name, dtype=torch.float32), "moments").to(DEVICE)
    x = picture(block, (8, 16, 16), torch.float32).to(DEVICE)
    exact = in_form(block, "branches").double()(x.double())
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        y = block(x)
    y.float().square().sum().backward()
    assert difference(y.float(), exact.detach().cpu()) < 0.05
    assert all(bool(value.grad.isfinite().all()) for value in block.parameters() if value.grad is not None)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_gradients(kernel: int, dtype: torch.dtype, limit: float, layout: torch.memory_format) -> None:
    for stride in (1, 2):
        for size in ((14, 14), (7, 9), (5, 1), (1, 1)):
            conv, reference = pair(kernel, stride, True, dtype)
            conv = conv.to(DEVICE).to(memory_format=layout)
            x = torch.randn(3, 24, *size).to(DEVICE, dtype, memory_format=layout).requires_grad_()
            wide = x.detach().cpu().double().requires_grad_()
            assert not (CUDA and depthwise.gains(conv, x)), "a way around slow kernels of the CPU"
            y, expected = conv(x), reference(wide)
            weight = torch.randn(y.shape).to(dtype)
            y.backward(weight.to(DEVICE))
            expected.backward(weight.double())
            assert conv.weight.grad is not None
            assert x.grad is not None
            assert error(y.cpu(), expected) < limit
            assert error(x.grad.cpu(), wide.grad) < limit
            assert error(conv.weight.grad.cpu(), reference.weight.grad) < limit


def test_suppression() -> None:
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(500, 2, generator=generator) * 300
    boxes = torch.cat([corner, corner + 5 + torch.rand(500, 2, generator=generator) * 80], 1)
    scores, labels = torch.rand(500, generator=generator), torch.randint(7, (500,), generator=generator)
    expected = class_nms(boxes, scores, labels, 0.5)
    assert 0 < len(expected) < 500
    assert class_nms(boxes.to(DEVICE), scores.to(DEVICE), labels.to(DEVICE), 0.5).tolist() == expected.tolist()


def test_features_of_boxes_and_their_gradients() -> None:
    rois, results = boxes_of_all_levels().double(), []
    for device in (torch.device("cpu"), DEVICE):
        levels = [level.to(device).requires_grad_() for level in pyramid(dtype=torch.float64)]
        found = pool(levels, rois.to(device), 7, STRIDES)
        found.square().sum().backward()
        results.append([found.detach().cpu(), *(level.grad.cpu() for level in levels if level.grad is not None)])
    assert len(results[0]) == 5
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


# Data and training


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_come_in_pinned_memory(scenes: Path, workers: int) -> None:
    split = read_label_split(scenes, "val", reduce_zero_label=False, classes=None, ignore=255, threshold=None)
    dataset = SegmentationDataset(split, None, substitute=False)
    batches: Any = eval_batches(len(split), 3, 0, 1)
    loader = make_segmentation_loader(dataset, batches, workers, pin_memory=CUDA)
    for batch in loader:
        assert batch.images.is_pinned() == CUDA
        moved = batch.to(DEVICE)
        assert moved.images.device.type == moved.labels.device.type == DEVICE.type
        assert torch.equal(moved.images.cpu(), batch.images)
        assert torch.equal(moved.labels.cpu(), batch.labels)


def test_the_guard_reads_one_step_later_and_misses_nothing() -> None:
    images = torch.full((2, 3, 4, 4), 7.0, device=DEVICE)
    guard, bad = FiniteGuard(), {"ce": torch.tensor(float("nan"), device=DEVICE)}
    good = {"ce": torch.tensor(1.0, device=DEVICE)}
    guard.watch(1, 0.1, good, images)
    guard.flush()
    if CUDA:
        guard.watch(2, 0.1, bad, images)
    with pytest.raises(NonFiniteLoss, match=r"at step 2: ce=nan; .*values from 7 to 7"):
        guard.watch(3, 0.1, good, images) if CUDA else guard.watch(2, 0.1, bad, images)
    net = nn.Linear(3, 3).to(DEVICE)
    guard = FiniteGuard()
    guard.check_weights(net, 1)
    nn.init.constant_(net.bias, float("inf"))
    with pytest.raises(NonFiniteLoss, match="weights of bias are no longer finite after step 4"):
        guard.check_weights(net, 4)


def on_device(*overrides: str) -> tuple[str, ...]:
    """For `configure`: on the device, with what it chooses for speed."""
    return (f"run.device={DEVICE}", "run.amp=auto", *overrides)


#: Recipe and settings of one short training each.
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "classify": ("from_scratch_small", SMALL),
    "ssdlite320": ("detect_small", (*SMALL_DENSE, "detect.architecture=ssdlite320", *small.DENSE["ssdlite320"])),
    "mask_rcnn_fpn": (
        "detect_small",
        (*SMALL_DENSE, "detect.architecture=mask_rcnn_fpn", *small.DENSE["mask_rcnn_fpn"]),
    ),
    "deeplabv3": ("segment_small", (*SMALL_DENSE, "segment.architecture=deeplabv3", *small.DENSE["deeplabv3"])),
    "segformer": ("segment_small", (*SMALL_DENSE, "segment.architecture=segformer", *small.DENSE["segformer"])),
}


@pytest.mark.parametrize("what", RUNS)
def test_train_evaluate_and_predict(
    what: str, pictures: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, settings = RUNS[what]
    data, run = pictures if what == "classify" else scenes, tmp_path / "run"
    more = on_device("schedule.epochs=1", "data.workers=1")
    assert main(["train", recipe, *settings, *more, "--data", str(data), "--out", str(run)]) == 0
    said = capsys.readouterr().out
    assert f"process on {DEVICE.type}" in said
    chosen = torch.load(run / "state.pt", weights_only=True, map_location="cpu")["speed"]
    if CUDA:
        assert chosen == {"amp": "bf16", "channels_last": True, "compile": False, "fused": True}, said

    last, shown = str(run / "last.safetensors"), sorted(map(str, (data / "val").rglob("*.png")))[:3]
    shown = shown or sorted(map(str, (data / "images" / "validation").iterdir()))[:3]
    assert len(shown) == 3
    summaries, predictions = [], []
    for device in ("cpu", str(DEVICE)):
        assert main(["eval", last, "--data", str(data), "--device", device, "--json"]) == 0
        summaries.append(json.loads(capsys.readouterr().out))
        assert main(["predict", last, *shown, "--device", device, "--json"]) == 0
        predictions.append(json.loads(capsys.readouterr().out))
    figures = {"classify": ("top1", "top5"), "segment": ("miou", "aacc")}.get(recipe.partition("_")[0], ("ap", "ap50"))
    figures = ("top1",) if what == "classify" else figures
    for name in figures:
        assert summaries[0][name] == pytest.approx(summaries[1][name], abs=0.3)
    assert_alike(predictions[1], predictions[0])


def assert_alike(found: Any, expected: Any) -> None:
    """The same structure; fractions nearly so, all else the same but the device in descriptions."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_alike(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=0.02, abs=0.02)
    elif not (isinstance(expected, str) and "PyTorch on" in expected):
        assert found == expected


def test_a_deterministic_run_goes_on_with_the_same_bits(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (*LIVELY, *on_device("run.deterministic=true", "schedule.epochs=3"))
    unbroken, broken = configure(*settings, out="unbroken"), configure(*settings, out="broken")
    assert train(unbroken).finished
    crash(broken, 5, monkeypatch)
    assert train(broken).finished
    assert_same(unbroken, broken)


@pytest.mark.parametrize("architecture", ["retinanet_fpn", "segformer"])
def test_a_dense_run_goes_on(architecture: str, configure_dense: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some of their kernels add up in no fixed order, so the numbers are near, not equal.
    settings = (*on_device("schedule.epochs=3", "run.save_every=1"), "run.amp=none")
    unbroken, broken = (configure_dense(architecture, *settings, out=name) for name in ("unbroken", "broken"))
    assert train(unbroken).finished
    crash(broken, 3, monkeypatch)
    assert state_of(broken)["progress"]["step"] == 3
    assert train(broken).finished
    rows, others = rows_of(unbroken), rows_of(broken)
    assert [row["step"] for row in rows] == [row["step"] for row in others]
    for row, other in zip(rows, others, strict=True):
        for name in ("lr", "loss"):
            assert float(other[name] or 0) == pytest.approx(float(row[name] or 0), rel=0.02)


def test_the_program_in_a_process_of_its_own(pictures: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    more = on_device("schedule.epochs=1", "run.deterministic=true", "data.workers=2")
    command = ["train", "from_scratch_small", *SMALL, *more, "--data", str(pictures), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:phonecv", "-m", "phonecv", *command],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"process on {DEVICE.type}" in done.stdout
    assert (tmp_path / "run" / "best.safetensors").is_file()
