"""Whole detectors against numbers that the published implementations gave for the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import mostly_long
from detect import golden
from detect.reference_names import reference_name
from phonecv.detect.base import Detector

OWN = ("v2_ssdlite300_1M", "v2_retinanet_1M")
SHARED = (
    "v1_ssdlite_1M",
    "v1_ssdlite_5M",
    "v1_retinanet_1M",
    "v1_retinanet_5M",
    "v2_ssdlite300_5M",
    "v2_ssdlite512_1M",
    "v2_ssdlite512_5M",
    "v2_retinanet_5M",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_published(name: str) -> None:
    compare(name, golden.arrays(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_long(SHARED, "v1_ssdlite_1M"))
def test_published_in_the_reference_folder(name: str, shared_dir: Path) -> None:
    compare(name, golden.arrays(name, shared_dir / "golden" / "detection"))


def compare(name: str, arrays: dict[str, np.ndarray]) -> None:
    detector = golden.fill(golden.published_detector(name), name)
    x = golden.picture(name)
    height, width = x.shape[-2:]
    golden.take_normalised(detector, height, width)
    compare_network(detector, x, arrays)
    compare_losses(detector, x, arrays, name)
    if "pred0/boxes" in arrays:
        compare_predictions(detector, x, arrays)


def compare_network(detector: Detector, x: Tensor, arrays: dict[str, np.ndarray]) -> None:
    """Maps of backbone and neck, and head outputs, in float64."""
    seen: dict[str, Tensor] = {}
    detector.double()
    backbone = detector.backbone
    hooks = [
        part.register_forward_hook(lambda module, inputs, maps, name=name: seen.update(enumerate_maps(name, maps)))
        for name, part in (("backbone", backbone), ("neck", getattr(detector, "neck", None)))
        if part is not None
    ]
    with torch.no_grad():
        logits, codes = detector.network(x)
        maps = [value for name, value in seen.items() if name.startswith("backbone")]
        if len(hooks) == 2:
            # RetinaNet's golden files also hold the map at stride 4, which it does not use.
            seen = {f"backbone{i + 1}": x for i, x in enumerate(maps)} | {k: v for k, v in seen.items() if "neck" in k}
        else:
            levels = list(maps)
            for extra in detector.get_submodule("extras").children():
                levels.append(extra(levels[-1]))
            seen |= enumerate_maps("neck", levels)
    for hook in hooks:
        hook.remove()
    seen |= enumerate_maps("cls", logits) | enumerate_maps("reg", codes)
    for name, value in seen.items():
        golden.assert_like(value, arrays, name, 1e-6)
    detector.float()


def enumerate_maps(name: str, maps: list[Tensor]) -> dict[str, Tensor]:
    return {f"{name}{i}": x for i, x in enumerate(maps)}


def compare_losses(detector: Detector, x: Tensor, arrays: dict[str, np.ndarray], name: str) -> None:
    """Losses and gradients, in float32."""
    height, width = x.shape[-2:]
    losses = detector.losses(x.float(), golden.golden_targets(height, width, len(x)))
    for ours, theirs in (("cls", "loss_cls"), ("box", "loss_bbox")):
        assert losses[ours].item() == pytest.approx(float(arrays[f"loss/{theirs}"]), rel=2e-5), ours
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(float(arrays["loss/total"]), rel=2e-5)
    ours = {reference_name(key, generation=int(name[1])): value for key, value in detector.named_parameters()}
    wanted = [key.removeprefix("grad/").removesuffix("/shape") for key in arrays if key.endswith("/shape")]
    wanted = [key for key in wanted if f"grad/{key}/shape" in arrays]
    assert len(wanted) == 3
    for key, grad in zip(wanted, torch.autograd.grad(total, [ours[key] for key in wanted]), strict=True):
        # Sums of float32: 6e-4 without AVX-512, which adds in another order.
        golden.assert_like(grad, arrays, f"grad/{key}", 1e-3)


def compare_predictions(detector: Detector, x: Tensor, arrays: dict[str, np.ndarray]) -> None:
    """The first twenty boxes of each picture."""
    for i, found in enumerate(detector(x.float())):
        boxes, scores, labels = (arrays[f"pred{i}/{key}"] for key in ("boxes", "scores", "labels"))
        assert len(found["boxes"]) == int(arrays[f"pred{i}/count"])
        top = len(scores)
        np.testing.assert_allclose(found["scores"][:top].numpy(), scores, rtol=1e-4)
        # Where two scores agree to rounding, their order is arbitrary.
        order = np.lexsort((labels, -np.round(scores, 4)))
        mine = np.lexsort((found["labels"][:top].numpy(), -np.round(found["scores"][:top].numpy(), 4)))
        assert found["labels"][:top].numpy()[mine].tolist() == labels[order].tolist()
        np.testing.assert_allclose(found["boxes"][:top].numpy()[mine], boxes[order], atol=0.02)
