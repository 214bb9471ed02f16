"""The published detectors of EMO and EMOv2: what each row is, what it reached, what it costs. Data; needs no torch.

Average precision is that of COCO val2017 in percent, each from the last evaluation of its public training log, with one
exception that its row names. Parameters are exact. The cost columns of the two papers cannot be compared: EMO's tool
counted modules (convolutions with bias, LayerNorm, ReLU, BatchNorm of necks and heads, but neither attention products
nor SiLU, GELU or the backbone's synchronised BatchNorm), EMOv2's traced operators (attention products too). Published
figures are cut to a decimal or an integer, not rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from phonecv.detect.architectures import ARCHITECTURES
from phonecv.tables import Table, figure


@dataclass(frozen=True, slots=True)
class BoxPrecision:
    """Average precision in percent: over IoU .5 to .95, at .5, at .75, and of small, medium and large objects."""

    all: float
    at50: float
    at75: float
    small: float
    medium: float
    large: float


@dataclass(frozen=True, slots=True)
class PublishedDetector:
    """A row of the papers' tables.

    Attributes:
        architecture: for `phonecv.create_detector`.
        backbone: likewise.
        box: of boxes.
        parameters: all of them, frozen ones too.
        giga_flops: as published.
        cost: recomputed in the published way, at `input_size`: `operators`, or billions by modules.
        mask: average precision of masks in percent (from the training log only).
        note: what a person should know.
    """

    architecture: str
    backbone: str
    box: BoxPrecision
    parameters: int
    giga_flops: float
    cost: float
    mask: float | None = None
    note: str = field(default="", kw_only=True)

    @property
    def paper(self) -> Literal["EMO", "EMOv2"]:
        """Whose table it stands in."""
        return "EMOv2" if self.backbone.startswith("emov2") else "EMO"

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that `cost` belongs to."""
        side = {"ssdlite320": 320, "ssdlite300": 320, "ssdlite512": 512}.get(self.architecture)
        return (800, 1344) if side is None else (side, side)

    @property
    def counted(self) -> Literal["modules", "operators", "operators, mean over 100 pictures"]:
        """How `giga_flops` are counted."""
        if self.paper == "EMO":
            return "modules"
        return "operators" if self.architecture.startswith("ssdlite") else "operators, mean over 100 pictures"

    @property
    def operators(self) -> int | None:
        """By tracing operators, exactly; None where modules were counted."""
        return None if self.paper == "EMO" else int(self.cost)

    @property
    def giga_exact(self) -> float:
        """`cost` in billions."""
        return self.cost if self.paper == "EMO" else self.cost / 1e9

    @property
    def overrides(self) -> dict[str, Any]:
        """Arguments of the backbone, in training and test."""
        return _BACKBONES[self.backbone] | ({} if self.architecture.startswith("ssdlite") else _FROZEN)


#: EMO's windows are 7 cells in the two smaller networks; all others have 10. Drop path grows with size.
_BACKBONES: dict[str, dict[str, Any]] = {
    "emo_1m": {"window": 7, "drop_path": 0.04036},
    "emo_2m": {"window": 7, "drop_path": 0.05},
    "emo_5m": {"window": 10, "drop_path": 0.05},
    "emov2_1m": {"window": 10, "drop_path": 0.04036},
    "emov2_2m": {"window": 10, "drop_path": 0.05},
    "emov2_5m": {"window": 10, "drop_path": 0.05},
    "emov2_20m": {"window": 10, "drop_path": 0.1},
}
#: Stem and first stage stay as they are, and BatchNorm keeps its statistics.
_FROZEN = {"frozen_stages": 1, "norm_eval": True}


def _row(architecture: str, backbone: str, box: Sequence[float], *costs: Any, note: str = "") -> PublishedDetector:
    return PublishedDetector(architecture, backbone, BoxPrecision(*box), *costs, note=note)


PUBLISHED: tuple[PublishedDetector, ...] = (
    _row("ssdlite320", "emo_1m", (22.0, 37.3, 22.0, 2.1, 20.6, 43.2), 2_311_980, 0.6, 0.5873),
    _row("ssdlite320", "emo_2m", (25.2, 42.0, 25.3, 3.3, 25.9, 47.6), 3_342_716, 0.9, 0.9714),
    _row("ssdlite320", "emo_5m", (27.9, 45.2, 28.1, 5.2, 30.2, 50.6), 6_076_540, 1.8, 1.8495,
         note="the best evaluation, epoch 105; the last one, epoch 120, has 27.8 45.2 28.2 5.2 30.5 50.0"),
    _row("retinanet_fpn", "emo_1m", (34.4, 54.2, 36.2, 20.2, 37.1, 46.0), 10_479_244, 163, 163.76),
    _row("retinanet_fpn", "emo_2m", (36.2, 56.6, 38.1, 21.7, 38.8, 48.1), 11_555_644, 167, 167.66),
    _row("retinanet_fpn", "emo_5m", (38.9, 59.8, 41.0, 23.8, 42.2, 51.7), 14_440_508, 178, 178.11),
    _row("ssdlite300", "emov2_1m", (22.3, 37.5, 22.4, 2.0, 21.3, 43.4), 2_409_088, 0.7, 734_343_152),
    _row("ssdlite300", "emov2_2m", (26.0, 43.0, 26.5, 3.6, 26.6, 50.2), 3_349_556, 1.2, 1_225_165_952),
    _row("ssdlite300", "emov2_5m", (29.6, 47.6, 30.1, 5.5, 32.2, 54.8), 6_094_132, 2.4, 2_474_258_752),
    _row("ssdlite300", "emov2_20m", (33.1, 51.9, 33.9, 8.9, 36.8, 57.3), 21_213_780, 9.1, 9_144_153_152),
    _row("ssdlite512", "emov2_1m", (26.6, 44.4, 27.5, 7.3, 31.4, 43.0), 2_409_088, 2.3, 2_362_242_752),
    _row("ssdlite512", "emov2_2m", (30.7, 49.8, 31.7, 9.9, 37.1, 47.3), 3_349_556, 4.0, 4_023_043_520),
    _row("ssdlite512", "emov2_5m", (34.8, 54.7, 36.4, 13.7, 42.0, 52.0), 6_094_132, 8.0, 8_002_717_120),
    _row("ssdlite512", "emov2_20m", (38.3, 58.4, 40.7, 17.9, 45.2, 54.6), 21_213_780, 30.3, 30_340_720_064),
    _row("retinanet_fpn", "emov2_1m", (36.9, 57.1, 39.0, 22.1, 39.8, 49.5), 10_597_616, 142, 165_961_812_408),
    _row("retinanet_fpn", "emov2_2m", (39.3, 60.0, 41.4, 23.9, 43.1, 51.6), 11_562_484, 146, 171_325_911_648),
    _row("retinanet_fpn", "emov2_5m", (41.5, 62.7, 44.1, 25.7, 45.5, 55.5), 14_458_100, 158, 185_200_969_344),
    _row("retinanet_fpn", "emov2_20m", (43.8, 65.0, 47.1, 28.0, 47.4, 59.0), 29_831_444, 220, 258_692_600_064),
    _row("mask_rcnn_fpn", "emov2_1m", (37.1, 59.2, 39.6, 21.8, 39.9, 49.5), 21_271_788, 165, 181_730_431_672, 35.0),
    _row("mask_rcnn_fpn", "emov2_2m", (39.5, 61.8, 42.4, 22.9, 43.0, 52.6), 22_190_576, 170, 187_081_951_072, 36.9),
    _row("mask_rcnn_fpn", "emov2_5m", (42.3, 64.3, 46.3, 25.8, 45.6, 56.3), 24_887_536, 181, 201_176_908_672, 39.0),
    _row("mask_rcnn_fpn", "emov2_20m", (44.2, 66.2, 48.7, 27.4, 47.6, 58.7), 39_896_336, 244, 274_843_151_872, 40.6),
)  # fmt: skip


def heads_rows() -> Table:
    """One row per published detector, then those without published figures."""
    rows: list[tuple[Any, ...]] = [
        (
            row.architecture,
            row.backbone,
            f"{row.parameters / 1e6:.2f}",
            f"{row.giga_exact:.2f}",
            f"{row.input_size[0]} x {row.input_size[1]}",
            f"{row.box.all:.1f}",
            f"{row.box.at50:.1f}",
            figure(row.mask, 1),
        )
        for row in PUBLISHED
    ]
    there = {row[0] for row in rows}
    rows += [(name, "any", *[""] * 6) for name in ARCHITECTURES if name not in there]
    return ("heads", "backbone", "params M", "GFLOPs", "at", "AP", "AP50", "mask AP"), rows, range(2, 8)


def recipe_for(name: str) -> str:
    """See `phonecv.models.names.PublishedRoom`."""
    return f"detect_small detect.architecture={name}"
