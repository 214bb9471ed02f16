"""What every one-stage detector does, on every kind of backbone."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import phonecv
from conftest import mostly_long
from detect.detectors import BACKBONES, CLASSES, ONE_STAGE, pictures, scene, settled, small, total
from phonecv.detect.base import Detector
from phonecv.detect.boxes import SSD_STDS, UNIT_STDS, encode
from phonecv.detect.retinanet import RetinaNet
from phonecv.detect.ssdlite import SSDLite
from phonecv.errors import UserError
from phonecv.models.fusing import FORM_TOLERANCE

TIMM = "timm:mobilenetv3_small_050"


@pytest.mark.parametrize("backbone", [*BACKBONES, TIMM])
@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_losses_reach_every_parameter(architecture: str, backbone: str) -> None:
    detector = small(architecture, backbone)
    images, targets = scene()
    losses = detector(images, targets)
    assert list(losses) == ["cls", "box"]
    assert all(loss.ndim == 0 and loss.isfinite() and loss > 0 for loss in losses.values())
    total(losses).backward()
    without = [name for name, p in detector.named_parameters() if p.grad is None]
    assert not without
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())


@pytest.mark.parametrize("backbone", [*BACKBONES, TIMM])
@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_predictions(architecture: str, backbone: str) -> None:
    detector = settled(small(architecture, backbone, options={"score_threshold": 0.0, "max_detections": 17}))
    images, _ = scene()
    results = detector(images)
    assert len(results) == 4
    for image, found in zip(images, results, strict=True):
        assert sorted(found) == ["boxes", "labels", "scores"]
        assert found["boxes"].shape == (17, 4)
        assert found["labels"].dtype == torch.int64
        assert 0 <= found["labels"].min() <= found["labels"].max() < CLASSES
        assert found["scores"].diff().max() <= 0
        assert not found["scores"].requires_grad
        x1, y1, x2, y2 = found["boxes"].unbind(1)
        height, width = image.shape[1:]
        assert (x1 >= 0).all()
        assert (y1 >= 0).all()
        assert (x2 <= width + 1e-3).all()
        assert (y2 <= height + 1e-3).all()
        assert (x2 > x1).all()
        assert (y2 > y1).all()


def planted(detector: Detector, images: list[Tensor], targets: list[dict[str, Tensor]]) -> Any:
    """Outputs that say where the objects are."""
    prepared = detector.prepare(images)
    logits, codes = detector.network(prepared.batch)
    sizes = [(x.shape[2], x.shape[3]) for x in logits]
    anchors = detector.anchors(sizes, prepared.batch.device)
    stds = SSD_STDS if isinstance(detector, SSDLite) else UNIT_STDS
    per_cell = len(anchors[0]) // (sizes[0][0] * sizes[0][1])
    width = logits[0].shape[1] // per_cell
    for level in logits:
        level.fill_(-9.0)
        if width > CLASSES:
            level.unflatten(1, (per_cell, width))[:, :, -1] = 9.0
    for i, target in enumerate(targets):
        for n, (box, label) in enumerate(zip(target["boxes"], target["labels"], strict=True)):
            level = n % 2  # any anchor can say it
            place = 5 + 7 * n
            a, cell = place % per_cell, place // per_cell
            y, x = divmod(cell, sizes[level][1])
            scaled = box * prepared.scales[i].repeat(2)
            codes[level].unflatten(1, (per_cell, 4))[i, a, :, y, x] = encode(anchors[level][place], scaled, stds)
            logits[level].unflatten(1, (per_cell, width))[i, a, label, y, x] = 20.0
    return logits, codes


@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_what_the_network_says_arrives_in_pixels_of_the_picture_given(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = small(architecture, options={"score_threshold": 0.5}).eval()
    images, targets = scene()
    with torch.no_grad():
        outputs = planted(detector, images, targets)
    monkeypatch.setattr(detector, "network", lambda batch: outputs)
    for found, target in zip(detector(images), targets, strict=True):
        order = found["boxes"][:, 0].argsort()
        wanted = target["boxes"][:, 0].argsort()
        torch.testing.assert_close(found["boxes"][order], target["boxes"][wanted], atol=1e-2, rtol=0)
        assert found["labels"][order].tolist() == target["labels"][wanted].tolist()


@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_crowds_and_boxes_without_area_teach_nothing(architecture: str) -> None:
    detector = settled(small(architecture))
    images = pictures((75, 101), (64, 64))
    clean = [
        {"boxes": torch.tensor([[4.0, 6, 60, 70]]), "labels": torch.tensor([0])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    nan = float("nan")
    dirty = [
        {
            "boxes": torch.tensor([[4.0, 6, 60, 70], [1, 1, 50, 50], [9, 9, 9, 30], [8, 20, 30, 3], [0, nan, 9, 9]]),
            "labels": torch.tensor([0, 1, 1, 2, 0]),
            "crowd": torch.tensor([False, True, False, False, False]),
        },
        {"boxes": torch.tensor([[5.0, 5, 5, 5]]), "labels": torch.tensor([1])},
    ]
    wanted, found = detector.losses(images, clean), detector.losses(images, dirty)
    for name, value in wanted.items():
        assert torch.equal(value, found[name])


@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_tiny_and_huge_boxes_give_finite_losses(architecture: str) -> None:
    detector = small(architecture)
    targets = [
        {"boxes": torch.tensor([[10.0, 10, 10 + 1e-5, 60], [0, 0, 1e-6, 1e-6]]), "labels": torch.tensor([0, 1])},
        {"boxes": torch.tensor([[-1e6, -1e6, 1e6, 1e6], [500.0, 500, 900, 900]]), "labels": torch.tensor([2, 1])},
    ]
    losses = detector(pictures((64, 64), (64, 80)), targets)
    total(losses).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())


@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_a_batch_equals_its_pictures(architecture: str) -> None:
    detector = settled(small(architecture, options={"score_threshold": 0.0}))
    images = torch.stack(pictures((64, 96), (64, 96)))
    together = detector(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector([image])
        torch.testing.assert_close(found["scores"], alone["scores"], rtol=1e-4, atol=1e-5)
    as_floats = detector(images.float() / 255)
    torch.testing.assert_close(as_floats[0]["boxes"], together[0]["boxes"])


def test_padding_of_the_batch_changes_no_prediction_by_itself() -> None:
    """A picture beside a larger one has the same anchors on it, and none beyond it is used in training."""
    detector = settled(small("retinanet_fpn", options={"size": 64, "longest": 128}))
    short, long = pictures((64, 64), (64, 128))
    target = {"boxes": torch.tensor([[4.0, 6, 60, 60]]), "labels": torch.tensor([0])}
    prepared = detector.prepare([short, long])
    logits, codes = detector.network(prepared.batch)
    assert isinstance(detector, RetinaNet)
    loud = [x.clone() for x in logits]
    for level in loud:
        level[0, :, :, -(-level.shape[3] // 2) :] = 50.0  # screams beyond the short picture
    values = []
    for raw in (logits, loud):
        detector.network = lambda batch, raw=raw: (raw, codes)  # type: ignore[method-assign]
        values.append(detector.losses([short, long], [target, target])["cls"])
    assert values[1].item() == pytest.approx(values[0].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("architecture", "backbone"),
    mostly_long(
        itertools.product(ONE_STAGE, BACKBONES),
        *(("ssdlite320", backbone) for backbone in BACKBONES),
        ("retinanet_fpn", "mobileone_s0"),
    ),
)
def test_fused_detectors_predict_the_same(architecture: str, backbone: str) -> None:
    detector = settled(small(architecture, backbone, options={"score_threshold": 0.01}))
    before = copy.deepcopy(detector.state_dict())
    fused = phonecv.fuse(detector)
    assert (detector.form, fused.form, fused.backbone.form) == ("training", "deploy", "deploy")
    assert not [name for name, m in fused.named_modules() if isinstance(m, _BatchNorm)] or backbone != "mobileone_s0"
    assert not [m for name, m in fused.named_modules() if isinstance(m, _BatchNorm) and "backbone" not in name]
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())

    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        for a, b in zip(*(flat(copy.deepcopy(form).double().network(x)) for form in (detector, fused)), strict=True):
            assert (a - b).abs().max() <= FORM_TOLERANCE * a.abs().max()
    images, _ = scene()
    for a, b in zip(detector(images), fused(images), strict=True):
        assert len(a["scores"]) == pytest.approx(len(b["scores"]), abs=2)
        torch.testing.assert_close(a["scores"][:5], b["scores"][:5], rtol=1e-3, atol=1e-4)
    again = phonecv.fuse(fused)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in fused.state_dict().items())


def flat(outputs: tuple[list[Tensor], list[Tensor]]) -> list[Tensor]:
    return [*outputs[0], *outputs[1]]


def test_a_detector_in_train_mode_is_not_fused() -> None:
    with pytest.raises(UserError, match=r"\.eval\(\)"):
        phonecv.fuse(small("ssdlite320"))
    # Heads alone are enough for the refusal.
    half = settled(small("ssdlite320"))
    half.get_submodule("extras").train()
    with pytest.raises(UserError, match="extras"):
        phonecv.fuse(half)


@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_low_precision(architecture: str) -> None:
    images, targets = scene()
    detector = small(architecture)
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector(images, targets)
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    total(losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    low = settled(small(architecture, options={"score_threshold": 0.0})).bfloat16()
    found = low(images)[0]
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32
    assert found["scores"].isfinite().all()


def test_a_single_picture_cannot_train_the_one_pixel_map() -> None:
    detector = small("ssdlite320")
    images, targets = scene()
    with pytest.raises(UserError, match="two pictures or more"):
        detector(images[:1], targets[:1])
    for module in detector.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    assert detector(images[:1], targets[:1])["cls"].isfinite()


def test_misuse_is_refused() -> None:
    detector = small("ssdlite320")
    images, targets = scene()
    with pytest.raises(UserError, match="needs targets"):
        detector(images)
    with pytest.raises(UserError, match="4 pictures came with 3 targets"):
        detector(images, targets[:3])
    for label in (-1, CLASSES):
        wrong = {"boxes": torch.ones(1, 4), "labels": torch.tensor([label])}
        with pytest.raises(UserError, match=f"label {label}; labels are 0..2"):
            detector(images, [*targets[:3], wrong])
    with pytest.raises(UserError, match="no pictures"):
        detector.eval()([])


def test_anchors_are_no_part_of_the_state() -> None:
    detector = settled(small("ssdlite320"))
    detector(pictures((64, 64)))
    assert not [name for name in detector.state_dict() if "anchor" in name or "remembered" in name]
    again = pickle.loads(pickle.dumps(detector))
    assert again.anchors([(6, 6), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)], torch.device("cpu"))
    assert torch.equal(again(pictures((64, 64)))[0]["boxes"], detector(pictures((64, 64)))[0]["boxes"])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ONE_STAGE)
def test_network_can_be_exported(architecture: str) -> None:
    detector = settled(small(architecture))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector = detector

        def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
            return self.detector.network(x)

    x = torch.randn(1, 3, 96, 96)
    program = torch.export.export(Network().eval(), (x,))
    for a, b in zip(flat(program.module()(x)), flat(detector.network(x)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_first_losses() -> None:
    """One positive and three negatives at ln 81 each; one positive at the prior."""
    images = pictures((320, 320), (320, 320))
    boxes = torch.tensor([[20.0, 30, 120, 200], [100, 60, 300, 180], [5, 5, 60, 70]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([0, 17, 63])},
        {"boxes": torch.tensor([[30.0, 130, 220, 300]]), "labels": torch.tensor([79])},
    ]
    torch.manual_seed(0)
    ssd = phonecv.create_detector("ssdlite320", "emov2_1m", window=10)
    assert ssd(images, targets)["cls"].item() == pytest.approx(17.58, rel=0.03)
    retina = phonecv.create_detector("retinanet_fpn", "emov2_1m", window=10, options={"size": 320, "longest": 320})
    assert retina(images, targets)["cls"].item() == pytest.approx(1.15, abs=0.08)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("architecture", mostly_long(ONE_STAGE, "ssdlite320"))
def test_a_few_pictures_are_learnt_by_heart(architecture: str) -> None:
    options = {"channels": 32} if architecture == "retinanet_fpn" else None
    detector = settled(small(architecture, "mobileone_s0", options=options)).train()
    kinds = [
        {"boxes": torch.tensor([[4.0, 6, 60, 70], [50, 40, 95, 90]]), "labels": torch.tensor([0, 2])},
        {"boxes": torch.tensor([[20.0, 20, 90, 70]]), "labels": torch.tensor([1])},
    ]
    images, targets = pictures(*[(96, 96)] * 6), kinds * 3
    for image, target in zip(images, targets, strict=True):
        image //= 4
        for box, label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            image[label, box[1] : box[3], box[0] : box[2]] += 160
    optimizer = torch.optim.AdamW(detector.parameters(), 2e-3)
    for _ in range(120):
        optimizer.zero_grad()
        total(detector(images, targets)).backward()
        optimizer.step()
    for found, target in zip(detector.eval()(images), targets, strict=True):
        count = len(target["labels"])
        assert (found["scores"][:count] > 0.5).all()
        order, wanted = found["labels"][:count].argsort(), target["labels"].argsort()
        assert torch.equal(found["labels"][:count][order], target["labels"][wanted])
        torch.testing.assert_close(found["boxes"][:count][order], target["boxes"][wanted], atol=6.0, rtol=0)
