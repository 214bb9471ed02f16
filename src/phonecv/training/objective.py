"""What a batch means: named losses for training, counted figures for evaluation. The engine knows no more of a task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from phonecv.models.headed import Network
from phonecv.training.world import World


class Meter(Protocol):
    """Collects figures of one network over an evaluation."""

    def update(self, output: Any, batch: Any, /) -> None:
        """Take in one batch and what `Objective.predict` made of it."""

    def result(self, world: World) -> dict[str, float]:
        """Figures over all processes, each image counted once."""


@runtime_checkable
class Settles(Protocol):
    """A meter by which something of the network is chosen beside its weights, such as thresholds."""

    def settle(self, net: Any) -> None:
        """Set it, after `result`."""


class Objective(Protocol):
    """What is learned and how it is judged.

    Attributes:
        score: name of the meter's figure that picks the best checkpoint; higher is better.
        loss_names: what `losses` gives.
        figures: what the meter gives.
    """

    score: str
    loss_names: tuple[str, ...]
    figures: tuple[str, ...]

    def losses(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Named scalar losses, weights included, the same names each time; their sum is what is minimised."""

    def predict(self, net: nn.Module, batch: Any) -> Any:
        """What the meter takes in; the network is in evaluation mode."""

    def meter(self, device: torch.device) -> Meter:
        """A fresh meter."""

    def error(self, figures: Mapping[str, float]) -> float | None:
        """Standard error of the score among a meter's figures, in its unit; None where only the pictures would tell."""
        return None

    def illustrate(self, nets: Mapping[str, nn.Module], folder: Path, epoch: int) -> None:
        """Draw into the run folder what there is to show of the networks beside figures.

        Args:
            nets: "net" and, where there is one, "ema"; in evaluation mode.
            folder: the run folder.
            epoch: counted from 1.
        """
        return  # nothing, unless a task has something

    def kept(self, net: Any) -> Network:
        """What a checkpoint holds of a network, which stays as it is: all of it, unless more than that is trained."""
        return net
