"""Mask R-CNN against numbers that the published implementation gave for the same weights."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import mostly_long
from detect import golden
from detect.reference_names_mask import reference_name
from phonecv.detect.mask_rcnn import MaskRCNN
from phonecv.detect.masks import BoxMasks
from phonecv.detect.roi import level_of, pool

STRIDES = (4, 8, 16, 32)
HEIGHT, WIDTH = 256, 352


def filled(name: str) -> MaskRCNN:
    """The published detector with weights made from their names; it takes normalised pictures and learns from all."""
    detector = golden.published_detector(name, options={"rpn_samples": None, "roi_samples": None})
    assert isinstance(detector, MaskRCNN)
    state = detector.state_dict()
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):
            filled = golden.rule.fill(reference_name(key), tuple(value.shape))
            state[key] = torch.from_numpy(filled).to(value.dtype)
    detector.load_state_dict(state)
    return golden.take_normalised(detector.eval(), HEIGHT, WIDTH)


def targets() -> list[dict[str, Tensor]]:
    """The golden objects, each with the ellipse inscribed in its box as its mask."""
    found = golden.golden_targets(HEIGHT, WIDTH)
    y, x = torch.arange(HEIGHT)[:, None] + 0.5, torch.arange(WIDTH) + 0.5
    for target in found:
        x1, y1, x2, y2 = target["boxes"][:, :, None, None].unbind(1)
        inside = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2
        target["masks"] = inside <= 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize("pictures", mostly_long([1, 2], 1))
def test_published_1m(pictures: int) -> None:
    compare("v2_maskrcnn_1M", golden.arrays("v2_maskrcnn_1M"), pictures)


@pytest.mark.long
@pytest.mark.slow
def test_published_5m(shared_dir: Path) -> None:
    compare("v2_maskrcnn_5M", golden.arrays("v2_maskrcnn_5M", shared_dir / "golden" / "detection"))


@pytest.mark.parametrize("size", ["1M", "2M", "5M", "20M"])
def test_published_names(size: str, shared_dir: Path) -> None:
    with gzip.open(shared_dir / "golden" / "detection" / "v2_state_keys.json.gz") as file:
        entry = json.load(file)[f"v2_maskrcnn_{size}"]
    with torch.device("meta"):
        detector = golden.published_detector(f"v2_maskrcnn_{size}")
    ours = {
        reference_name(key): list(value.shape)
        for key, value in detector.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert ours == {key: list(shape) for key, shape in dict(entry["state"]).items()}
    frozen = {reference_name(key) for key, value in detector.named_parameters() if not value.requires_grad}
    assert frozen == set(entry["frozen"])


def compare(name: str, arrays: dict[str, np.ndarray], pictures: int = 2) -> None:
    """Network, heads and losses of both pictures, predictions of as many."""
    detector = filled(name)
    x = golden.picture(name)
    compare_heads(detector, compare_network(detector.double(), x, arrays), arrays)
    detector.float()
    compare_anchors(detector, arrays)
    compare_losses(detector, x.float(), arrays)
    compare_predictions(detector, x[:pictures].float(), arrays)


@torch.no_grad()
def compare_network(detector: MaskRCNN, x: Tensor, arrays: dict[str, np.ndarray]) -> list[Tensor]:
    """The levels that the heads read."""
    seen: list[list[Tensor]] = []
    parts = (detector.backbone, detector.neck)
    hooks = [part.register_forward_hook(lambda module, given, maps: seen.append(maps)) for part in parts]
    levels, scores, codes = detector.network(x)
    for hook in hooks:
        hook.remove()
    maps, merged = seen
    for kind, values in (("backbone", maps), ("neck", merged), ("cls", scores), ("reg", codes)):
        for i, value in enumerate(values):
            golden.assert_like(value, arrays, f"{kind}{i}", 1e-6)
    return levels


@torch.no_grad()
def compare_heads(detector: MaskRCNN, levels: list[Tensor], arrays: dict[str, np.ndarray]) -> None:
    rois = torch.from_numpy(arrays["rois"]).double()
    assert level_of(rois[:, 1:], 4).tolist() == arrays["roi_level"].tolist()
    features = pool(levels, rois, 7, STRIDES)
    golden.assert_like(features, arrays, "roi_bbox_feat", 1e-6)
    logits, codes = detector.box_head(features)
    golden.assert_like(logits, arrays, "roi_cls", 1e-6)
    golden.assert_like(codes.flatten(1), arrays, "roi_reg", 1e-6)
    features = pool(levels, rois, 14, STRIDES)
    golden.assert_like(features, arrays, "roi_mask_feat", 1e-6)
    golden.assert_like(detector.mask_head(features), arrays, "roi_mask", 1e-6)


def compare_anchors(detector: MaskRCNN, arrays: dict[str, np.ndarray]) -> None:
    sizes = [tuple(arrays[f"cls{i}/shape"][2:].tolist()) for i in range(5)]
    anchors = detector.anchors(sizes, torch.device("cpu"))
    assert [len(level) for level in anchors] == arrays["anchor_counts"].tolist()
    for i, level in enumerate(anchors):
        np.testing.assert_allclose(level[:6], arrays[f"anchor{i}/first"], atol=1e-4)
        np.testing.assert_allclose(level[-3:], arrays[f"anchor{i}/last"], atol=1e-4)


def compare_losses(detector: MaskRCNN, x: Tensor, arrays: dict[str, np.ndarray]) -> None:
    losses = detector.losses(x, targets())
    names = {
        "rpn_cls": "loss_rpn_cls",
        "rpn_box": "loss_rpn_bbox",
        "cls": "loss_cls",
        "box": "loss_bbox",
        "mask": "loss_mask",
    }
    assert set(losses) == set(names)
    for name, theirs in names.items():
        assert losses[name].item() == pytest.approx(float(arrays[f"loss/{theirs}"]), rel=1e-5), name
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(float(arrays["loss/total"]), rel=1e-5)
    ours = {reference_name(key): value for key, value in detector.named_parameters()}
    wanted = [key.split("/")[1] for key in arrays if key.startswith("grad/") and key.endswith("/shape")]
    assert len(wanted) == 3
    for key, gradient in zip(wanted, torch.autograd.grad(total, [ours[key] for key in wanted]), strict=True):
        compare_gradient(gradient, arrays, key)


def compare_gradient(gradient: Tensor, arrays: dict[str, np.ndarray], key: str) -> None:
    """As shares of the largest and of the mean magnitude: near ties among proposals make single values noisy.

    Our own float32 and float64 differ as much from each other as from the golden values.
    """
    assert list(gradient.shape) == arrays[f"grad/{key}/shape"].tolist(), key
    flat = gradient.flatten()
    error = flat[torch.from_numpy(golden.rule.sample(flat.numel()))].numpy() - arrays[f"grad/{key}/sample"]
    _, _, mean, low, high = arrays[f"grad/{key}/stat"]
    assert np.abs(error).max() < 4e-4 * max(-low, high), key
    assert np.abs(error).mean() < 4e-4 * mean, key
    assert flat.abs().double().mean().item() == pytest.approx(mean, rel=4e-4), key


def compare_predictions(detector: MaskRCNN, x: Tensor, arrays: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        outputs = detector.network(x)
    detector.network = lambda batch: outputs  # type: ignore[method-assign] - it is asked once
    levels = outputs[0]
    wanted, areas = [], []
    for i, found in enumerate(detector(x)):
        boxes, scores, labels = (arrays[f"pred{i}/{key}"] for key in ("boxes", "scores", "labels"))
        assert len(found["boxes"]) == int(arrays[f"pred{i}/count"])
        # The reference shows boxes of no width or height too, which we drop; they suppress no others.
        real = (boxes[:, 2:] > boxes[:, :2]).all(1)
        top = int(real.sum())
        assert top >= 5
        np.testing.assert_allclose(found["scores"][:top], scores[real], rtol=1e-4)
        assert found["labels"][:top].tolist() == labels[real].tolist()
        np.testing.assert_allclose(found["boxes"][:top], boxes[real], atol=0.05)
        assert found["masks"].shape == (len(found["boxes"]), 1, HEIGHT, WIDTH)
        wanted.append({"boxes": torch.from_numpy(boxes[real]), "labels": torch.from_numpy(labels[real])})
        areas.append(arrays[f"pred{i}/mask_area"][real])
    # Masks in the reference's boxes: one of 3 x 327 pixels changes by 18 of 699 if its box moves by 0.02.
    with torch.no_grad():
        squares = detector._squares(levels, wanted, torch.ones(len(x), 2))
    for square, there, area in zip(squares, wanted, areas, strict=True):
        ours = (BoxMasks(square, there["boxes"], HEIGHT, WIDTH).paste() >= 0.5).sum((1, 2, 3)).numpy()
        # A pixel at a probability of one half may fall to either side.
        np.testing.assert_allclose(ours, area, atol=2)
