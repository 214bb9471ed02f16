"""`create_detector`: names, options, weights, forms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import phonecv
from conftest import TINY, mostly_long
from detect.detectors import BACKBONES, ONE_STAGE, OPTIONS, pictures, scene, settled, small, total
from phonecv.detect.architectures import ARCHITECTURES
from phonecv.errors import UserError


def test_the_list_needs_no_torch() -> None:
    code = (
        "import sys, phonecv; from phonecv.detect import published; print(*phonecv.list_detectors());"
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert said == list(ARCHITECTURES)
    assert set(said) >= {
        "ssdlite320",
        "ssdlite300",
        "ssdlite512",
        "ssdlite512_corrected",
        "retinanet_fpn",
        "mask_rcnn_fpn",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"architecture": "ssdlite32"}, "did you mean 'ssdlite320'"),
        ({"architecture": "ssdlite320", "backbone": "emov2_5"}, "did you mean 'emov2_5m'"),
        ({"architecture": "ssdlite320", "num_classes": 0}, "num_classes 0"),
        ({"architecture": "ssdlite320", "form": "fused"}, "form 'fused'"),
        ({"architecture": "ssdlite320", "options": {"sise": 3}}, "did you mean 'size'"),
        ({"architecture": "ssdlite320", "options": {"size": 0}}, "size 0"),
        ({"architecture": "ssdlite320", "options": {"min_sizes": [1, 2]}}, "6 positive numbers"),
        ({"architecture": "ssdlite320", "options": {"nms_overlap": 2}}, "nms_overlap 2"),
        ({"architecture": "ssdlite320", "options": {"score_threshold": 1.0}}, "score_threshold 1.0"),
        ({"architecture": "retinanet_fpn", "options": {"max_detections": 0}}, "max_detections 0"),
        ({"architecture": "retinanet_fpn", "options": {"candidates": 1.5}}, "candidates 1.5"),
        ({"architecture": "retinanet_fpn", "options": {"channels": 0}}, "channels 0"),
        ({"architecture": "retinanet_fpn", "options": {"longest": 3}}, "longest 3"),
        ({"architecture": "ssdlite320", "backbone": "timm:mobilnetv3_small_050"}, "timm has no network"),
        ({"architecture": "ssdlite320", "wimdow": 10}, "did you mean 'window'"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        phonecv.create_detector(**({"backbone": "emov2_1m"} | arguments))  # pyrefly: ignore


@pytest.mark.parametrize("form", ["training", "deploy"])
@pytest.mark.parametrize(
    ("architecture", "backbone"),
    mostly_long(
        [(head, name) for head in ONE_STAGE for name in (*BACKBONES, "timm:mobilenetv3_small_050")],
        ("ssdlite320", "mobileone_s0"),
        ("ssdlite320", "emo_1m"),
        ("retinanet_fpn", "emov2_1m"),
        ("retinanet_fpn", "timm:mobilenetv3_small_050"),
    ),
)
def test_what_a_detector_says_of_itself_rebuilds_it(architecture: str, backbone: str, form: Any) -> None:
    overrides = TINY.get(backbone, {})
    detector = phonecv.create_detector(
        architecture, backbone, num_classes=4, form=form, options=OPTIONS[architecture], **overrides
    )
    assert detector.training
    assert detector.form == form
    assert detector.name == f"{architecture} on {backbone}"
    again = phonecv.create_detector(
        detector.architecture,
        detector.backbone_name,
        num_classes=detector.num_classes,
        form=detector.form,
        options=detector.options,
        **detector.backbone_overrides,
    )
    again.load_state_dict(detector.state_dict())
    assert again.preprocessing == detector.preprocessing
    found = settled(detector)(pictures((70, 50)))[0]
    again.load_state_dict(detector.state_dict())
    assert torch.equal(found["boxes"], again.eval()(pictures((70, 50)))[0]["boxes"])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_classification_weights_fill_the_backbone(backbone: str, tmp_path: Path) -> None:
    classifier = phonecv.create_model(backbone, num_classes=7, **TINY[backbone])
    phonecv.save_checkpoint(classifier, tmp_path / "classifier.safetensors")
    detector = small("ssdlite320", backbone, weights=tmp_path / "classifier.safetensors")
    wanted = classifier.state_dict()
    for name, value in detector.backbone.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_weights_in_deploy_form_make_a_backbone_or_a_detector_in_deploy_form(tmp_path: Path) -> None:
    classifier = phonecv.fuse(phonecv.create_model("mobileone_s0", num_classes=7, **TINY["mobileone_s0"]).eval())
    phonecv.save_checkpoint(classifier, tmp_path / "fused.safetensors")
    with pytest.raises(UserError, match="cannot be undone"):
        small("ssdlite320", "mobileone_s0", weights=tmp_path / "fused.safetensors", form="training")
    mixed = small("ssdlite320", "mobileone_s0", weights=tmp_path / "fused.safetensors")
    assert (mixed.form, mixed.backbone_form) == ("training", "deploy")
    detector = small("ssdlite320", "mobileone_s0", weights=tmp_path / "fused.safetensors", form="deploy")
    assert detector.form == "deploy"
    assert not [m for m in detector.modules() if isinstance(m, _BatchNorm)]
    images, targets = scene()
    assert detector(images, targets)["cls"].isfinite()  # a detector without norms can still be trained further


class Pyramid(nn.Module):
    """A backbone of somebody's own."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = [{"num_chs": 8 * 2**i, "reduction": 8 * 2**i} for i in range(3)]
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.deeper = nn.ModuleList([nn.Conv2d(8, 16, 2, 2), nn.Conv2d(16, 32, 2, 2)])

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.stem(x)]
        for conv in self.deeper:
            maps.append(conv(maps[-1]))
        return maps


def test_a_backbone_of_ones_own() -> None:
    detector = phonecv.create_detector("retinanet_fpn", Pyramid(), num_classes=2, options=OPTIONS["retinanet_fpn"])
    assert detector.backbone_name == ""
    assert detector.name == "retinanet_fpn on Pyramid"
    images, targets = scene()
    targets[0]["labels"][:] = 1
    assert detector(images, targets)["cls"].isfinite()
    with pytest.raises(UserError, match="strides"):
        phonecv.create_detector("ssdlite320", Pyramid())
    with pytest.raises(UserError, match="used as it is"):
        phonecv.create_detector("retinanet_fpn", Pyramid(), window=3)


def test_sizes_and_anchors_can_be_chosen() -> None:
    detector = phonecv.create_detector("ssdlite320", "mobileone_s0", num_classes=2, options={"size": 160})
    levels = detector.anchors([(10, 10), (5, 5), (3, 3), (2, 2), (1, 1), (1, 1)], torch.device("cpu"))
    sides = levels[0][:2, 2] - levels[0][:2, 0]
    assert sides.tolist() == pytest.approx([24, (24 * 50) ** 0.5])
    assert ((levels[2][-1, :2] + levels[2][-1, 2:]) / 2).tolist() == pytest.approx([132.5, 132.5])
    chosen = phonecv.create_detector(
        "ssdlite512", "mobileone_s0", options={"min_sizes": (10, 20, 30, 40, 50, 60), "anchor_strides": [16] * 6}
    )
    assert chosen.options == {"min_sizes": [10, 20, 30, 40, 50, 60], "anchor_strides": [16] * 6}
    assert chosen.make_anchors([(1, 1)] * 6)[3][0].tolist() == pytest.approx([-12, -12, 28, 28])


def test_frozen_stages_and_norms() -> None:
    detector = small("retinanet_fpn", frozen_stages=1, norm_eval=True)
    images, targets = scene()
    before = {name: value.clone() for name, value in detector.backbone.state_dict().items() if "running" in name}
    total(detector(images, targets)).backward()
    after = detector.backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    frozen = [p.requires_grad for name, p in detector.backbone.named_parameters() if name[:6] in ("stage0", "stage1")]
    assert not any(frozen)
    assert all(p.grad is not None for p in detector.parameters() if p.requires_grad)
