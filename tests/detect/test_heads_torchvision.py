"""Heads against torchvision's, where the two agree."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssdlite import SSDLiteHead, _extra_block

import phonecv
from detect.detectors import CLASSES, small
from phonecv.benchmarking.count import count_parameters
from phonecv.detect.base import flatten_level
from phonecv.detect.retinanet import RetinaNet
from phonecv.detect.ssdlite import SSDLite


def test_retinanet_head_gives_the_same_outputs() -> None:
    ours = small("retinanet_fpn")
    assert isinstance(ours, RetinaNet)
    theirs = RetinaNetHead(16, 9, CLASSES)
    names = {
        "class_tower.": "classification_head.conv.",
        "box_tower.": "regression_head.conv.",
        "class_head.": "classification_head.cls_logits.",
        "box_head.": "regression_head.bbox_reg.",
    }
    state = {
        key.replace(a, b).replace(".conv.weight", ".0.weight").replace(".conv.bias", ".0.bias"): value
        for key, value in ours.state_dict().items()
        for a, b in names.items()
        if key.startswith(a)
    }
    theirs.load_state_dict(state)
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, 16, *size, generator=generator) for size in ((8, 12), (4, 6), (2, 3))]
    wanted = theirs(levels)
    logits = torch.cat([flatten_level(ours.class_head(ours.class_tower(x)), CLASSES) for x in levels], 1)
    codes = torch.cat([flatten_level(ours.box_head(ours.box_tower(x)), 4) for x in levels], 1)
    torch.testing.assert_close(logits, wanted["cls_logits"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(codes, wanted["bbox_regression"], rtol=1e-6, atol=1e-6)


def test_ssdlite_has_as_many_parameters() -> None:
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
    channels = [160, 288, 512, 256, 256, 128]
    with torch.device("meta"):
        ours = phonecv.create_detector("ssdlite320", "emov2_5m")
        heads = SSDLiteHead(channels, [6] * 6, 81, norm)
        extras = [_extra_block(a, b, norm) for a, b in pairwise(channels[1:])]
    assert isinstance(ours, SSDLite)
    assert count_parameters(ours.class_heads) + count_parameters(ours.box_heads) == count_parameters(heads) == 854_260
    assert count_parameters(ours.extras) == sum(map(count_parameters, extras)) == 403_008
