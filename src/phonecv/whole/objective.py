"""What a network learns that gives each picture or clip one class: cross entropy; top-1 and top-5 by counts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.data.loading.loader import Batch
from phonecv.training.objective import Meter, Objective
from phonecv.training.world import World
from phonecv.whole.metrics import FIVE, TopK, standard_error


class WholeObjective(Objective):
    """Cross entropy with smoothed labels; top-1 and top-5 by counts.

    Args:
        num_classes: outputs of the network.
        smoothing: of labels.
        weights: factors on the loss, one for each output; None for none.
    """

    score = "top1"
    loss_names: tuple[str, ...] = ("ce",)
    figures: tuple[str, ...] = ("top1", "top5", "loss", "correct1", "correct5", "images")

    def __init__(self, num_classes: int, smoothing: float, weights: Tensor | None = None) -> None:
        self.num_classes, self.smoothing, self.weights = num_classes, smoothing, weights
        if num_classes <= FIVE:
            self.figures = tuple(name for name in self.figures if not name.endswith("5"))

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """{"ce": cross entropy}."""
        return {"ce": self.cross_entropy(model(batch.images), batch.labels)}

    def predict(self, net: nn.Module, batch: Batch) -> Tensor:
        """Logits."""
        return net(batch.images)

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the batch, in float32.

        PyTorch's mean with weights divides by those in the batch, so that parts of one would count differently.
        """
        if self.weights is None:
            return F.cross_entropy(logits.float(), target, label_smoothing=self.smoothing)
        total = F.cross_entropy(logits.float(), target, self.weights, label_smoothing=self.smoothing, reduction="sum")
        return total / len(target)

    def meter(self, device: torch.device) -> Meter:
        """Counts of right answers and the plain cross entropy."""
        return WholeMeter(self.num_classes, device)

    def error(self, figures: Mapping[str, float]) -> float | None:
        """That of a share of right answers."""
        return standard_error(figures["correct1"], figures["images"]) if "images" in figures else None


class WholeMeter:
    """Top-1 and top-5 in percent, the counts behind them, and the mean cross entropy without smoothing."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.top = TopK(num_classes, device)
        self.loss = torch.zeros((), device=device)

    @torch.no_grad()
    def update(self, output: Tensor, batch: Batch) -> None:
        """Count the images that could be read."""
        labels, output = batch.labels, output.float()
        if any(batch.errors):
            good = batch.good.to(labels.device)
            labels, output = labels[good], output[good]
        self.top.update(output, labels)
        self.loss += F.cross_entropy(output, labels, reduction="sum")

    def result(self, world: World) -> dict[str, float]:
        """top1 (percent), loss, the counts correct1 and images; of more than five classes top5 and correct5, too."""
        self.top.counts = world.sum(self.top.counts)
        counted = self.top.result()
        figures = {
            "top1": counted.top1_percent,
            "loss": float(world.sum(self.loss)) / max(1, counted.count),
            "correct1": counted.top1,
            "images": counted.count,
        }
        if self.top.num_classes > FIVE:
            figures |= {"top5": counted.top5_percent, "correct5": counted.top5}
        return figures
