"""What a classifier of pictures with several labels or none learns: each label by itself, by binary cross entropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from phonecv.classify.config import LossConfig
from phonecv.classify.objective import ClassifyObjective
from phonecv.classify.ranking import average_precision, best_thresholds, counted, mean_defined
from phonecv.data.loading.loader import Batch
from phonecv.models import VisionModel
from phonecv.training.objective import Meter
from phonecv.training.world import World


class ManyObjective(ClassifyObjective):
    """Binary cross entropy, its mean over pictures and labels; mean average precision, thresholds and F1.

    Labels y are smoothed as in cross entropy, to y (1 - s) + s / classes. Mixed pictures have their labels by the same
    shares.
    """

    score = "map"
    loss_names: tuple[str, ...] = ("bce",)
    figures: tuple[str, ...] = ("map", "f1", "loss", "images")

    def __init__(self, num_classes: int, loss: LossConfig, *more: Any) -> None:
        super().__init__(num_classes, loss, *more)
        self.smoothing = loss.smoothing
        if self.mix is not None:
            self.mix.label_smoothing = 0.0

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images, and for every label its share, ``B C``."""
        labels = batch.labels.float()
        if self.mix is None:
            return batch.images, labels
        # Mixed as if each picture were a class of its own, targets say which pictures by which shares are in it.
        self.mix.num_classes = len(batch)
        images, shares = self.mix(batch.images, torch.arange(len(batch), device=labels.device))
        return images, shares.to(labels) @ labels

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the batch and the labels, in float32; class weights count labels that are there."""
        smoothed = target * (1 - self.smoothing) + self.smoothing / self.num_classes
        return F.binary_cross_entropy_with_logits(logits.float(), smoothed, pos_weight=self.weights)

    def meter(self, device: torch.device) -> Meter:
        """Mean average precision and the plain loss."""
        return ManyMeter(self.num_classes)

    def error(self, figures: Mapping[str, float]) -> float | None:
        """Only the pictures would tell."""
        return None

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See `labelwise_loss`."""
        return labelwise_loss(student, teacher, kind=self.distill.kind, temperature=self.distill.temperature)


def labelwise_loss(student: Tensor, teacher: Tensor, *, kind: str = "soft", temperature: float = 1.0) -> Tensor:
    """Distance of the student's logits from the teacher's, ``B C`` both, of labels that do not exclude each other.

    Args:
        student: logits, with gradient.
        teacher: logits.
        kind: "soft": the mean over pictures and labels of KL(teacher || student), each label a coin, times temperature
            squared; "hard": binary cross entropy against what the teacher holds for likelier than not.
        temperature: divides both logits (soft only).
    """
    student, teacher = student.float(), teacher.detach().float()
    if kind == "hard":
        return F.binary_cross_entropy_with_logits(student, (teacher > 0).float())
    wanted = (teacher / temperature).sigmoid()
    entropy = F.binary_cross_entropy_with_logits(teacher / temperature, wanted)
    return (F.binary_cross_entropy_with_logits(student / temperature, wanted) - entropy) * temperature**2


class ManyMeter:
    """Mean average precision and macro F1 in percent, the mean loss without smoothing, and the images.

    F1 is at the thresholds that are best on these very images, which is a little more than on others.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.logits: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.thresholds: tuple[float, ...] = ()

    @torch.no_grad()
    def update(self, output: Tensor, batch: Batch) -> None:
        """Keep what the images that could be read gave."""
        good = batch.good
        self.logits.append(output.float().cpu()[good])
        self.labels.append(batch.labels.cpu()[good])

    def result(self, world: World) -> dict[str, float]:
        """map, f1 (percent), loss, images."""
        own = [torch.cat(parts) if parts else torch.zeros(0, self.num_classes) for parts in (self.logits, self.labels)]
        logits, labels = (torch.cat([part[place] for part in world.gather(own)]) for place in range(2))
        probabilities, truth = logits.sigmoid(), labels.bool()
        best = best_thresholds(probabilities, truth)
        self.thresholds = tuple(round(value, 6) for value in best.tolist())
        return {
            "map": 100 * mean_defined(average_precision(logits, truth)),
            "f1": 100 * mean_defined(counted(probabilities.double() >= best, truth).f1),
            "loss": float(F.binary_cross_entropy_with_logits(logits, labels.float())) if len(logits) else float("nan"),
            "images": len(logits),
        }

    def settle(self, net: VisionModel) -> None:
        """Give the network its thresholds."""
        net.thresholds = self.thresholds
