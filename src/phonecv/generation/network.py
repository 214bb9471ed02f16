"""D-EMO: DiT's frame for diffusion with EMOv2's block (Zhang et al., arXiv 2412.06674, table XIV).

The frame (Peebles and Xie, arXiv 2212.09748, section 3): patches of the noisy picture become tokens with fixed
positions, blocks see the noise level and the class as a condition, a last linear layer gives noise and variance. Sizes
S, B, L and XL are DiT's. Against DiT, D-EMO's last norm has a scale and a shift of its own, which its logged parameter
counts ask for.
"""

from __future__ import annotations

import math
from typing import ClassVar, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.generation.blocks import DiffusionBackbone, LocalNorm
from phonecv.generation.catalog import Blocks, ConditionInit
from phonecv.models.blocks import LayerNorm2d
from phonecv.models.headed import HeadedModel
from phonecv.preprocessing import Preprocessing

#: The one that there is: the frame around the blocks.
ARCHITECTURE = "diffusion"

#: Sines and cosines of the time step.
TIME_CHANNELS = 256


class Generator(HeadedModel[Preprocessing]):
    """Noisy pictures or latents -> their noise and its variance.

    Attributes:
        channels: of what it denoises: 4 of latents, 3 of pixels, 1 of gray ones.
        size: its side.
        latent: whether that is an autoencoder's latent; `preprocessing` is of the picture, whose values are -1..1.
        num_classes: classes it knows; the number `num_classes` stands for none ("class dropout").

    Args:
        blocks: "emov2" for D-EMO, "dit" for DiT.
        width: channels of a token.
        depth: number of blocks.
        patch: side of a token.
        size: side of the picture or latent; `patch` divides it.
        channels: its channels.
        latent: see above.
        head_dim: channels of queries and keys per attention head.
        window: side of EMOv2's attention windows, in tokens.
        local_norm: see `phonecv.generation.blocks.ModulatedI2RMB`.
        condition_init: how large the condition is at first.
        num_classes: at least 1.
        preprocessing: of the picture.

    Raises:
        UserError: a value out of range.
    """

    task: ClassVar[str] = "generate"
    takes_pictures: ClassVar[bool] = False

    backbone: DiffusionBackbone  # type: ignore[mutable-override]

    def __init__(
        self,
        *,
        blocks: Blocks = "emov2",
        width: int,
        depth: int,
        patch: int = 2,
        size: int = 32,
        channels: int = 4,
        latent: bool = True,
        head_dim: int = 32,
        window: int = 8,
        local_norm: LocalNorm = "layer",
        condition_init: ConditionInit = "small",
        num_classes: int = 1000,
        preprocessing: Preprocessing,
    ) -> None:
        backbone = DiffusionBackbone(
            blocks, width=width, depth=depth, head_dim=head_dim, window=window, local_norm=local_norm
        )
        super().__init__(ARCHITECTURE, backbone, num_classes, preprocessing)
        if num_classes < 1:
            raise UserError(f"num_classes {num_classes} has to be at least 1; pictures of no kind are one class")
        if width % 4:
            raise UserError(f"width {width} does not divide by 4, which the positions need")
        if patch < 1 or size < 1 or size % patch:
            raise UserError(f"patch {patch} does not divide the size {size}")
        if channels < 1 or (not latent and channels not in (1, 3)):
            raise UserError(f"channels {channels} are not 3 (RGB) or 1 (gray)")
        if condition_init not in get_args(ConditionInit):
            raise UserError(f"condition_init {condition_init!r} is not one of {', '.join(get_args(ConditionInit))}")
        self.channels, self.size, self.latent, self.patch = channels, size, latent, patch
        self.embed = nn.Conv2d(channels, width, patch, patch)
        # Fixed, yet a parameter: the published counts include it.
        self.positions = nn.Parameter(positions(width, size // patch), requires_grad=False)
        self.time = nn.Sequential(nn.Linear(TIME_CHANNELS, width), nn.SiLU(), nn.Linear(width, width))
        self.classes = nn.Embedding(num_classes + 1, width)
        self.last_norm = LayerNorm2d(width, affine=blocks == "emov2")
        self.last_modulation = nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, patch * patch * 2 * channels)
        self._init_weights(condition_init)

    @property
    def name(self) -> str:
        """Catalog name."""
        return self.backbone_name or ARCHITECTURE

    def forward(self, noisy: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """The prediction for pictures at some noise levels.

        Args:
            noisy: ``B channels size size``.
            timesteps: ``B``, whole numbers, 0 (least noise) to 999.
            classes: ``B``, whole numbers; `num_classes` for none.

        Returns:
            ``B 2*channels size size``: the noise, and where between its two bounds the logarithm of the variance lies
            (-1..1), see `phonecv.generation.diffusion`.
        """
        condition = self.time(time_features(timesteps).to(self.last.weight.dtype)) + self.classes(classes)
        x = self.backbone(self.embed(noisy) + self.positions, condition)
        shift, scale = self.last_modulation(F.silu(condition))[:, :, None, None].chunk(2, 1)
        x = self.last_norm(x) * (1 + scale) + shift
        x = self.last(x.permute(0, 2, 3, 1))  # B H W patch*patch*2*channels
        B, H, W, _ = x.shape
        # One axis at a time: exported runtimes refuse tensors with more than five.
        x = x.reshape(B * H, W, self.patch, -1).transpose(1, 2)  # B*H patch W patch*2*channels
        return x.reshape(B, H * self.patch, W * self.patch, -1).permute(0, 3, 1, 2)

    def _init_weights(self, condition: ConditionInit) -> None:
        """Initial values of DiT (section 4 and its code): what a block adds starts at zero, and so does the output."""
        for module in self.modules():
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.classes.weight, std=0.02 if condition == "small" else 1.0)
        for name, module in self.named_modules():
            if name.startswith("time.") and isinstance(module, nn.Linear) and condition == "small":
                nn.init.normal_(module.weight, std=0.02)
            elif name.endswith("modulation") or name == "last":
                nn.init.zeros_(cast(nn.Linear, module).weight)


def time_features(timesteps: Tensor) -> Tensor:
    """Cosines, then sines of the time step at falling frequencies, ``B -> B 256``."""
    half = TIME_CHANNELS // 2
    frequencies = torch.exp(torch.arange(half, device=timesteps.device) * (-math.log(10000.0) / half))
    angles = timesteps[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


def positions(width: int, side: int) -> Tensor:
    """Fixed positions of a square map, ``1 width side side``: a quarter each of sines and cosines of column and row."""
    frequencies = torch.exp(torch.arange(width // 4, dtype=torch.float64) * (-math.log(10000.0) / (width // 4)))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies  # side width/4
    along = torch.cat([angles.sin(), angles.cos()], 1).T  # width/2 side
    rows = along[:, :, None].expand(-1, side, side)
    columns = along[:, None, :].expand(-1, side, side)
    return torch.cat([columns, rows])[None].float()
