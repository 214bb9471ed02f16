"""The moving average of the weights: timm's, with the three starts that the published trainings differ in."""

from __future__ import annotations

from timm.utils.model_ema import ModelEmaV3
from torch import nn

from phonecv.training.config import EmaConfig


class Ema:
    """Average of a network's parameters and BatchNorm statistics.

    Make it only after every process holds the same parameters, and update it on every process: then it is the same
    everywhere without being sent.
    """

    def __init__(self, model: nn.Module, config: EmaConfig) -> None:
        self.constant = config.start == "reference"
        self.average = ModelEmaV3(
            model, decay=config.decay, use_warmup=config.start == "warmup", exclude_buffers=not config.buffers
        )
        self.average.module.requires_grad_(False)

    @property
    def module(self) -> nn.Module:
        """The averaged network."""
        return self.average.module

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after the step number `step`, counted from 1."""
        # timm's decay is 0 at step 1 (a copy) unless no step is given: then it is constant from the beginning.
        self.average.update(model, step=None if self.constant else step)
