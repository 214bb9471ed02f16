"""The published segmentation rows, each with what rebuilds its network. Data, not code.

EMO's table counts the auxiliary head's parameters, EMOv2's does not. Their FLOPs columns cannot be compared: EMO's
counts modules by hooks (convolutions with bias, LayerNorm, ReLU, pooling; neither attention products nor BatchNorm),
EMOv2's traces operators (convolutions without bias, attention products, both norms, pooling and resizing, up to the
logits at the head's resolution). Tables cut numbers to one decimal. Input 512 x 512, ADE20K; the UNet has HRF, and its
228 G are those of windows of 8 tokens, not of the 10 of its configuration. Tests recompute them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phonecv.segment.architectures import SEGMENTERS
from phonecv.tables import Table, figure


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        architecture: see `phonecv.create_segmenter`.
        backbone: catalog name.
        miou: mean intersection over union, percent, single scale.
        pixel_accuracy: percent of pixels (aAcc).
        class_accuracy: mean over classes, percent (mAcc).
        parameters: without the auxiliary head.
        auxiliary_parameters: of the auxiliary head.
        table_parameters: millions as printed.
        table_gflops: as printed.
        cost: recomputed by the method of the table: `flops` of EMOv2's, `hook_gflops` of EMO's.
        window: of the backbone; None for its own.
        num_classes: of the data set.
        dice: mean Dice, percent, where that is published.
        note: what a person should know.
    """

    architecture: str
    backbone: str
    miou: float | None
    pixel_accuracy: float
    class_accuracy: float
    parameters: int
    auxiliary_parameters: int
    table_parameters: float
    table_gflops: float
    cost: float
    window: int | None = 10
    num_classes: int = 150
    dice: float | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """Key in `PUBLISHED`."""
        return f"{self.architecture}_{self.backbone}"

    @property
    def overrides(self) -> Mapping[str, Any]:
        """Of the backbone."""
        return {} if self.window is None else {"window": self.window}

    @property
    def flops(self) -> int | None:
        """By tracing, EMOv2's method; None where only `hook_gflops` was published."""
        return int(self.cost) if self.backbone.startswith("emov2") else None

    @property
    def hook_gflops(self) -> float | None:
        """By hooks, EMO's method."""
        return None if self.backbone.startswith("emov2") else self.cost


_ROWS = (
    PublishedRow("deeplabv3", "emo_1m", 33.5, 75.0, 44.2, 5_429_806, 223_382, 5.6, 2.4, 2.4639, window=7),
    PublishedRow("deeplabv3", "emo_2m", 35.3, 75.6, 46.0, 6_651_614, 315_542, 6.9, 3.5, 3.5038, window=7),
    PublishedRow("deeplabv3", "emo_5m", 37.8, 77.6, 48.2, 9_948_126, 407_702, 10.3, 5.8, 5.8446, window=16),
    PublishedRow("pspnet", "emo_1m", 33.2, 74.8, 43.4, 4_151_342, 223_382, 4.3, 2.1, 2.1057, window=7),
    PublishedRow("pspnet", "emo_2m", 34.5, 75.5, 44.9, 5_242_078, 315_542, 5.5, 3.1, 3.1062, window=7),
    PublishedRow("pspnet", "emo_5m", 38.2, 77.6, 49.0, 8_178_142, 407_702, 8.5, 5.3, 5.3385, window=16),
    PublishedRow("deeplabv3", "emov2_1m", 34.6, 75.9, 45.5, 5_606_546, 223_382, 5.6, 3.3, 3_343_969_024),
    PublishedRow("deeplabv3", "emov2_2m", 36.8, 77.1, 48.6, 6_658_454, 315_542, 6.6, 5.0, 5_015_654_912),
    PublishedRow("deeplabv3", "emov2_5m", 39.8, 78.3, 51.5, 9_965_718, 407_702, 9.9, 9.1, 9_117_311_488),
    PublishedRow("deeplabv3", "emov2_20m", 43.3, 79.6, 56.0, 26_062_006, 776_342, 26.0, 31.6, 31_629_558_272),
    PublishedRow("semantic_fpn", "emov2_1m", 37.1, 78.2, 47.6, 5_371_026, 0, 5.3, 23.4, 23_459_037_440),
    PublishedRow("semantic_fpn", "emov2_2m", 39.9, 79.3, 51.1, 6_289_814, 0, 6.2, 25.1, 25_105_809_408),
    PublishedRow("semantic_fpn", "emov2_5m", 42.4, 80.8, 53.4, 8_986_774, 0, 8.9, 29.1, 29_154_467_840,
                 note="the log ends at 42.26, its best and last; the table says 42.4"),
    PublishedRow("semantic_fpn", "emov2_20m", 46.8, 82.2, 58.3, 23_995_574, 0, 23.9, 51.5, 51_551_289_344),
    PublishedRow("segformer", "emov2_1m", 37.0, 77.7, 47.5, 1_499_234, 0, 1.4, 5.0, 5_027_305_728),
    PublishedRow("segformer", "emov2_2m", 40.2, 79.0, 51.1, 2_676_118, 0, 2.6, 10.3, 10_381_656_064),
    PublishedRow("segformer", "emov2_5m", 43.0, 80.5, 53.9, 5_378_454, 0, 5.3, 14.4, 14_443_880_448),
    PublishedRow("segformer", "emov2_20m", 47.3, 82.1, 58.7, 20_399_798, 0, 20.4, 36.8, 36_862_984_192,
                 note="the parameters are rounded in the table, not cut"),
    PublishedRow("pspnet", "emov2_1m", 33.6, 75.8, 44.8, 4_278_930, 223_382, 4.2, 2.9, 2_971_524_352),
    PublishedRow("pspnet", "emov2_2m", 35.7, 76.7, 47.0, 5_248_918, 315_542, 5.2, 4.6, 4_618_572_800),
    PublishedRow("pspnet", "emov2_5m", 39.1, 78.2, 51.0, 8_195_734, 407_702, 8.1, 8.6, 8_611_824_640),
    PublishedRow("pspnet", "emov2_20m", 43.4, 79.6, 55.7, 23_636_662, 776_342, 23.6, 30.9, 30_926_971_904),
    PublishedRow("unet_hrf", "emov2_unet", None, 97.1, 88.3, 21_323_170, 73_986, 21.3, 228.0, 268_503_249_952,
                 window=None, num_classes=2, dice=89.5, note="HRF vessels, sliding windows; paper, table XII. Its"
                 " training log ends at a Dice of 89.19, best 89.28"),
)  # fmt: skip

#: Every published row by architecture and backbone, such as "segformer_emov2_5m".
PUBLISHED: dict[str, PublishedRow] = {row.name: row for row in _ROWS}


def heads_rows() -> Table:
    """One row per published segmenter, then those without published figures."""
    rows: list[tuple[Any, ...]] = [
        (
            row.architecture,
            row.backbone,
            f"{row.parameters / 1e6:.2f}",
            figure(row.hook_gflops if row.flops is None else row.flops / 1e9, 2),
            figure(row.miou, 1),
            figure(row.pixel_accuracy, 1),
        )
        for row in PUBLISHED.values()
    ]
    there = {row[0] for row in rows}
    rows += [(name, "any", *[""] * 4) for name in SEGMENTERS if name not in there]
    return ("heads", "backbone", "params M", "GFLOPs", "mIoU %", "pixel accuracy %"), rows, range(2, 6)


def recipe_for(name: str) -> str:
    """See `phonecv.models.names.PublishedRoom`."""
    return "emov2_unet_hrf" if name == "unet_hrf" else f"segment_small segment.architecture={name}"
