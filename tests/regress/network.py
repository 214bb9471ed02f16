"""The mean of a backbone's last map, and a linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from phonecv.create import create_model
from phonecv.models.base import Form
from phonecv.models.fusing import fuse
from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import Preprocessing


class Regressor(HeadedModel[Preprocessing]):
    """Pictures ``B 3 H W`` -> numbers ``B 1``."""

    task: ClassVar[str] = "regress"

    def __init__(self, backbone: nn.Module, width: int, preprocessing: Preprocessing) -> None:
        super().__init__("mean", backbone, 1, preprocessing)
        self.head = nn.Linear(width, 1)

    def network(self, batch: Tensor) -> Tensor:
        return self.head(self.backbone(batch)[-1].mean((2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def create_regressor(
    architecture: str,
    backbone: str,
    *,
    num_classes: int = 1,
    form: Form | None = None,
    options: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> Regressor:
    del architecture, num_classes, options  # there is one architecture, without options
    net = create_model(backbone, out_indices=(4,), **overrides)
    made = Regressor(net, net.num_features, net.preprocessing)
    return fuse(made.eval()) if form == "deploy" else made
