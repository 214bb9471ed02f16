"""Mask R-CNN as a whole: its contract, in training and in prediction."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import phonecv
from conftest import TINY
from kept import kept
from phonecv.detect.mask_rcnn import MaskRCNN
from phonecv.errors import UserError

CLASSES = 3
LOSSES = {"rpn_cls", "rpn_box", "cls", "box", "mask"}
SMALL: dict[str, Any] = {"size": 64, "longest": 96, "channels": 16, "hidden": 32, "proposals": 50}


@kept
def make(backbone: str = "emov2_1m", **options: Any) -> MaskRCNN:
    torch.manual_seed(0)
    overrides = TINY.get(backbone, {})
    detector = phonecv.create_detector(
        "mask_rcnn_fpn", backbone, num_classes=CLASSES, options=SMALL | options, **overrides
    )
    assert isinstance(detector, MaskRCNN)
    return detector


def sure(detector: MaskRCNN) -> MaskRCNN:
    """Larger weights in the last layers, so that a fresh detector finds things; evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    for layer, std in ((detector.box_head.cls, 3.0), (detector.box_head.box, 0.1), (detector.rpn.box, 0.1)):
        torch.nn.init.normal_(layer.weight, std=std, generator=generator)
    return detector.eval()


def picture(height: int = 64, width: int = 96, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def target(boxes: list[list[float]], labels: list[int], height: int = 64, width: int = 96) -> dict[str, Tensor]:
    """Boxes and masks that fill them."""
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[int(y1) : int(y2), int(x1) : int(x2)] = True
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": masks,
    }


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Three pictures of different shapes, one of them without objects."""
    images = [picture(), picture(50, 40, 1), picture(64, 64, 2)]
    targets = [
        target([[5, 5, 50, 40], [60, 10, 90, 60]], [0, 2]),
        target([[4, 8, 30, 44]], [1], 50, 40),
        target([], [], 64, 64),
    ]
    return images, targets


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


@pytest.mark.parametrize("backbone", ["emov2_1m", "emo_1m", "mobileone_s0", "timm:test_resnet"])
def test_every_backbone_trains_and_predicts(backbone: str) -> None:
    detector = make(backbone)
    images, targets = batch()
    losses = detector(images, targets)
    assert set(losses) == LOSSES
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    total(losses).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    predictions = sure(detector)(images)
    assert len(predictions) == 3
    assert all(set(found) == {"boxes", "scores", "labels", "masks"} for found in predictions)


@pytest.mark.parametrize(
    ("loss", "layers"),
    [
        ("rpn_cls", ["rpn.objectness", "rpn.shared.conv", "neck.laterals.0"]),
        ("rpn_box", ["rpn.box", "rpn.shared.conv"]),
        ("cls", ["box_head.cls", "box_head.fc1", "box_head.fc2", "neck.laterals.0"]),
        ("box", ["box_head.box", "box_head.fc1", "neck.laterals.0"]),
        ("mask", ["mask_head.mask", "mask_head.upsample", "mask_head.convs.0.conv", "neck.laterals.0"]),
    ],
)
def test_each_loss_teaches_its_own_part(loss: str, layers: list[str]) -> None:
    detector = make()
    detector(*batch())[loss].backward()
    taught = {name.rsplit(".", 1)[0] for name, p in detector.named_parameters() if p.grad is not None and p.grad.any()}
    assert set(layers) <= taught
    outputs = {"rpn.objectness", "rpn.box", "box_head.cls", "box_head.box", "mask_head.mask"}
    assert taught & outputs == {layers[0]}


def test_the_seed_decides_what_is_learnt_from() -> None:
    detector = make(rpn_samples=8, roi_samples=8).eval()
    images, targets = batch()
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append([loss.item() for loss in detector.losses(images, targets).values()])
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_all_candidates_leave_nothing_to_chance() -> None:
    detector = make(rpn_samples=None, roi_samples=None).eval()
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        values.append([loss.item() for loss in detector.losses(*batch()).values()])
    assert values[0] == values[1]


def test_a_step_is_the_same_again() -> None:
    gradients = []
    for _ in range(2):
        detector = make(rpn_samples=32, roi_samples=32)
        torch.manual_seed(5)
        total(detector(*batch())).backward()
        gradients.append([p.grad for p in detector.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_numbers_that_are_none_stop_nothing() -> None:
    # A run that has diverged is for the training's guard to notice, by its losses.
    detector = make()
    torch.nn.init.constant_(detector.neck.get_parameter("laterals.0.weight"), torch.nan)
    images, targets = batch()
    losses = detector(images, targets)
    assert losses["rpn_cls"].isnan()
    for found, image in zip(detector.eval()(images), images, strict=True):
        assert all(value.isfinite().all() for value in found.values())
        assert found["masks"].shape[2:] == image.shape[1:]


def test_batches_without_objects() -> None:
    detector = make()
    images = [picture(), picture(seed=1)]
    losses = detector(images, [target([], []), target([], [])])
    assert losses["rpn_cls"] > 0
    assert losses["cls"] > 0
    assert [losses[name].item() for name in ("rpn_box", "box", "mask")] == [0, 0, 0]
    total(losses).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_crowds_are_not_learnt_from() -> None:
    detector = make(rpn_samples=None, roi_samples=None).eval()
    images = [picture()]
    both = target([[5, 5, 50, 40], [60, 10, 90, 60]], [0, 2])
    both["crowd"] = torch.tensor([False, True])
    one = target([[5, 5, 50, 40]], [0])
    crowd = detector.losses(images, [both])
    plain = detector.losses(images, [one])
    for name in LOSSES:
        assert crowd[name].item() == pytest.approx(plain[name].item(), rel=1e-6)
    both["crowd"] = torch.tensor([True, True])
    assert detector.losses(images, [both])["mask"] == 0


def test_no_proposal_survives() -> None:
    detector = make().eval()
    # Every box is moved far out of the picture and cut to nothing.
    assert detector.rpn.box.bias is not None
    torch.nn.init.constant_(detector.rpn.box.bias, 1000.0)
    images, targets = batch()
    losses = detector.losses(images, targets)
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["mask"] > 0  # of the objects' own boxes
    nothing = detector.losses(images[2:], targets[2:])
    assert [nothing[name].item() for name in ("cls", "box", "mask")] == [0, 0, 0]
    total(nothing).backward()
    for found, image in zip(detector(images), images, strict=True):
        assert found["boxes"].shape == (0, 4)
        assert found["scores"].shape == found["labels"].shape == (0,)
        assert found["masks"].shape == (0, 1, *image.shape[1:])


def test_predictions() -> None:
    detector = sure(make(max_detections=7))
    images = batch()[0]
    for found, image in zip(detector(images), images, strict=True):
        height, width = image.shape[1:]
        assert len(found["boxes"]) == 7
        assert found["masks"].shape == (7, 1, height, width)
        assert found["masks"].dtype == torch.float32
        assert found["masks"].min() >= 0
        assert found["masks"].max() <= 1
        assert found["labels"].min() >= 0
        assert found["labels"].max() < CLASSES
        assert (found["scores"] > 0.05).all()
        assert found["scores"].diff().le(0).all()
        assert (found["boxes"][:, 2:] > found["boxes"][:, :2]).all()
        assert found["boxes"].min() >= 0
        assert found["boxes"][:, 2].max() <= width + 1e-3
        assert found["boxes"][:, 3].max() <= height + 1e-3
        # A mask stays in its box, give or take a pixel.
        for mask, box in zip(found["masks"][:, 0], found["boxes"], strict=True):
            x1, y1, x2, y2 = box.tolist()
            spread_x, spread_y = 1 + (x2 - x1) / 28, 1 + (y2 - y1) / 28
            outside = torch.ones_like(mask, dtype=torch.bool)
            outside[
                max(0, int(y1 - spread_y)) : int(y2 + spread_y) + 1, max(0, int(x1 - spread_x)) : int(x2 + spread_x) + 1
            ] = False
            assert not mask[outside].any()


def test_a_picture_does_not_depend_on_its_batch() -> None:
    detector = sure(make())
    images = [picture(), picture(seed=3), picture(seed=4)]
    together = detector(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector([image])
        assert found["labels"].tolist() == alone["labels"].tolist()
        for key in ("boxes", "scores", "masks"):
            torch.testing.assert_close(found[key], alone[key], rtol=1e-3, atol=1e-3)


def test_losses_do_not_depend_on_how_masks_are_scaled_to_the_network() -> None:
    # 128 x 192 is shown at half its size; the larger masks are read at their own resolution.
    detector = make(rpn_samples=None, roi_samples=None).eval()
    large = picture(64, 96).float().div(255).repeat_interleave(2, 1).repeat_interleave(2, 2)
    small = picture(64, 96).float() / 255
    a = detector.losses([large], [target([[10, 10, 100, 80]], [1], 128, 192)])
    b = detector.losses([small], [target([[5, 5, 50, 40]], [1])])
    for name in LOSSES:
        assert a[name].item() == pytest.approx(b[name].item(), rel=1e-3), name


def test_fused() -> None:
    detector = sure(make("mobileone_s0"))
    fused = phonecv.fuse(detector)
    assert detector.form == "training"
    assert fused.form == "deploy"
    assert sum(p.numel() for p in fused.parameters()) < sum(p.numel() for p in detector.parameters())
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for ours, theirs in zip(detector.network(x), fused.network(x), strict=True):
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * a.abs().max().item())
    found = fused([picture()])[0]
    assert found["masks"].shape[1:] == (1, 64, 96)


@pytest.mark.long
@pytest.mark.slow
def test_the_network_is_tensors_alone() -> None:
    detector = make().eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        levels, scores, codes = detector.network(x)
        exported = torch.export.export(Network(detector), (x,)).module()(x)
    assert [tuple(v.shape) for v in levels] == [(1, 16, 64 // s, 96 // s) for s in (4, 8, 16, 32)]
    assert [tuple(v.shape) for v in scores] == [(1, 3, 16, 24), (1, 3, 8, 12), (1, 3, 4, 6), (1, 3, 2, 3), (1, 3, 1, 2)]
    assert [v.shape[1] for v in codes] == [12] * 5
    for a, b in zip([*levels, *scores, *codes], [*exported[0], *exported[1], *exported[2]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


class Network(torch.nn.Module):
    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> Any:
        return self.detector.network(x)


def test_autocast() -> None:
    detector = make()
    images, targets = batch()
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector(images, targets)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    total(losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        found = sure(detector)(images)[0]
    assert found["masks"].dtype == found["boxes"].dtype == found["scores"].dtype == torch.float32
    assert all(value.isfinite().all() for value in found.values())


def test_deep_copies_are_apart() -> None:
    detector = sure(make())
    twin = copy.deepcopy(detector)
    torch.nn.init.zeros_(twin.box_head.cls.weight)
    assert detector.box_head.cls.weight.any()
    a, b = detector([picture()])[0], copy.deepcopy(detector)([picture()])[0]
    assert torch.equal(a["boxes"], b["boxes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rpn_samples": 0}, "rpn_samples 0"),
        ({"roi_samples": 2.5}, "roi_samples 2.5"),
        ({"proposals": 0}, "proposals 0"),
        ({"train_candidates": -1}, "train_candidates -1"),
        ({"nms_overlap": 2}, "nms_overlap 2"),
        ({"samples": 3}, "no option 'samples'"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)


def test_training_needs_masks() -> None:
    images, targets = batch()
    del targets[1]["masks"]
    with pytest.raises(UserError, match="target 1 has no 'masks'"):
        make()(images, targets)


@pytest.mark.long
@pytest.mark.slow
def test_it_learns_boxes_and_masks() -> None:
    """Two pictures by heart: every object is found, with a mask that fits."""
    detector = make(train_candidates=200)
    y, x = torch.arange(64)[:, None] + 0.5, torch.arange(96) + 0.5
    images, targets = [], []
    for seed, (boxes, labels) in enumerate([([[8, 8, 40, 40], [56, 12, 88, 60]], [0, 1]), ([[30, 20, 78, 52]], [2])]):
        image = picture(seed=seed) // 8
        found = target([[float(v) for v in box] for box in boxes], labels)
        for i, (x1, y1, x2, y2) in enumerate(boxes):
            disc = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
            found["masks"][i] = disc
            image[labels[i], disc] += 160
        images.append(image)
        targets.append(found)
    optimizer = torch.optim.AdamW(detector.parameters(), 2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        total(detector(images, targets)).backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
        optimizer.step()
    for found, wanted in zip(detector.eval()(images), targets, strict=True):
        sure_ones = found["scores"] > 0.5
        assert sorted(found["labels"][sure_ones].tolist()) == wanted["labels"].tolist()
        for label, mask in zip(wanted["labels"], wanted["masks"], strict=True):
            ours = found["masks"][sure_ones & (found["labels"] == label)][0, 0] >= 0.5
            assert (ours & mask).sum() / (ours | mask).sum() > 0.7
