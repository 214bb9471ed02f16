"""The detectors by name. Data, not code: importing this needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phonecv.errors import UserError, did_you_mean


@dataclass(frozen=True, slots=True)
class Architecture:
    """Necks and heads under one name.

    Attributes:
        builder: "module:class", called as ``builder(name, backbone, num_classes, **options)``.
        strides: of the backbone's maps it needs.
        options: arguments of the builder that make this architecture.
        masks: whether it finds masks too.
        summary: what it is, in one line.
    """

    builder: str
    strides: tuple[int, ...]
    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)
    masks: bool = False


_SSDLITE = "phonecv.detect.ssdlite:SSDLite"

#: SSDLite's published anchors, made for pictures of 320 pixels and used at 512 all the same.
_ANCHORS_320 = {
    "min_sizes": (48, 100, 150, 202, 253, 304),
    "max_sizes": (100, 150, 202, 253, 304, 320),
    "anchor_strides": (16, 32, 64, 107, 160, 320),
}

ARCHITECTURES: dict[str, Architecture] = {
    "ssdlite320": Architecture(_SSDLITE, (16, 32), "SSDLite at 320 x 320, the smallest and fastest", {"size": 320}),
    "ssdlite300": Architecture(
        _SSDLITE, (16, 32), "the same under its published name; it runs at 320 x 320 too", {"size": 320}
    ),
    "ssdlite512": Architecture(
        _SSDLITE,
        (16, 32),
        "SSDLite at 512 x 512 as published, with the anchors of 320: those of the three coarsest maps miss a part"
        " of the picture",
        {"size": 512} | _ANCHORS_320,
    ),
    "ssdlite512_corrected": Architecture(
        _SSDLITE, (16, 32), "SSDLite at 512 x 512 with anchors that grow with the picture (no published figures)",
        {"size": 512},
    ),
    "retinanet_fpn": Architecture(
        "phonecv.detect.retinanet:RetinaNet", (8, 16, 32), "RetinaNet: more accurate, far costlier, any picture shape"
    ),
    "mask_rcnn_fpn": Architecture(
        "phonecv.detect.mask_rcnn:MaskRCNN",
        (4, 8, 16, 32),
        "Mask R-CNN: boxes and a mask of every object, any picture shape",
        masks=True,
    ),
}  # fmt: skip


def list_detectors() -> list[str]:
    """Names that `phonecv.create_detector` takes."""
    return list(ARCHITECTURES)


def get_architecture(name: str) -> Architecture:
    """The entry of a name."""
    if name not in ARCHITECTURES:
        raise UserError(
            f"unknown detector {name!r}{did_you_mean(name, ARCHITECTURES)}; there are {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]
