from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import Preprocessing

CLASSES, STEPS, SIZE, FRAMES = 5, 1000, 8, 4


class Mixer(HeadedModel[Preprocessing]):
    """``noisy B 4 S S``, ``timesteps B`` and ``classes B`` -> ``B 8 S S``: all three count."""

    task: ClassVar[str] = "mix"

    def __init__(self) -> None:
        super().__init__("mixer", nn.Identity(), CLASSES, Preprocessing(size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3))
        self.table = nn.Embedding(CLASSES + 1, 8)
        self.time = nn.Linear(2, 8)
        self.into, self.out = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

    def forward(self, noisy: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        angles = timesteps[:, None] / STEPS
        told = self.time(torch.cat([angles.sin(), angles.cos()], 1)) + self.table(classes)
        return self.out(nn.functional.silu(self.into(noisy) + told[:, :, None, None]))


class Clips(HeadedModel[Preprocessing]):
    """``clip B 3 T H W`` -> ``logits B classes``, in which the order of the frames counts."""

    task: ClassVar[str] = "mix"

    def __init__(self) -> None:
        super().__init__("clips", nn.Identity(), CLASSES, Preprocessing(size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3))
        self.mix = nn.Conv3d(3, 6, (2, 3, 3), stride=(2, 1, 1), padding=(0, 1, 1))
        self.head = nn.Linear(6 * FRAMES // 2, CLASSES)

    def forward(self, clip: Tensor) -> Tensor:
        return self.head(nn.functional.silu(self.mix(clip)).mean((3, 4)).flatten(1))
