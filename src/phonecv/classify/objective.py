"""What a classifier learns: cross entropy, perhaps with a teacher's opinion; top-1 and top-5 by counts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from timm.data.mixup import Mixup
from torch import Tensor, nn

from phonecv.classify.config import DistillConfig, LossConfig
from phonecv.classify.metrics import FIVE, TopK, standard_error
from phonecv.classify.teacher import Teacher
from phonecv.data.loading.loader import Batch
from phonecv.errors import UserError
from phonecv.training.objective import Meter
from phonecv.training.world import World


class ClassifyObjective:
    """Cross entropy with smoothed, and where asked mixed, labels; top-1 and top-5 by counts.

    mixup and cutmix draw from NumPy's global generator, which the engine seeds before every step.
    """

    score = "top1"
    loss_names: tuple[str, ...] = ("ce",)
    figures: tuple[str, ...] = ("top1", "top5", "loss", "correct1", "correct5", "images")

    def __init__(self, num_classes: int, loss: LossConfig) -> None:
        self.num_classes, self.smoothing = num_classes, loss.smoothing
        if num_classes <= FIVE:
            self.figures = tuple(name for name in self.figures if not name.endswith("5"))
        self.mix = (
            Mixup(
                mixup_alpha=loss.mixup,
                cutmix_alpha=loss.cutmix,
                prob=loss.mix_prob,
                switch_prob=loss.mix_switch,
                mode=loss.mix_mode,
                label_smoothing=loss.smoothing,
                num_classes=num_classes,
            )
            if loss.mixup or loss.cutmix
            else None
        )

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """{"ce": cross entropy}."""
        images, target = self.mixed(batch)
        return {"ce": self.cross_entropy(model(images), target)}

    def predict(self, net: nn.Module, batch: Batch) -> Tensor:
        """Logits."""
        return net(batch.images)

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images and targets of the step: class indices, or shares per class where images are mixed."""
        if self.mix is None:
            return batch.images, batch.labels
        images, target = self.mix(batch.images, batch.labels)
        return images, target

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the batch, in float32; mixed targets are smoothed already."""
        smoothing = self.smoothing if self.mix is None else 0.0
        return F.cross_entropy(logits.float(), target, label_smoothing=smoothing)

    def meter(self, device: torch.device) -> Meter:
        """Counts of right answers and the plain cross entropy."""
        return ClassifyMeter(self.num_classes, device)

    def error(self, figures: Mapping[str, float]) -> float | None:
        """That of a share of right answers."""
        return standard_error(figures["correct1"], figures["images"]) if "images" in figures else None


class ClassifyMeter:
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


class DistillObjective(ClassifyObjective):
    """`ClassifyObjective` plus the teacher's opinion on the same, possibly mixed, images."""

    loss_names = ("ce", "kd")

    def __init__(self, num_classes: int, loss: LossConfig, distill: DistillConfig, teacher: Teacher) -> None:
        super().__init__(num_classes, loss)
        if teacher.num_classes != num_classes:
            raise UserError(
                f"the teacher {teacher.name} knows {teacher.num_classes} classes, the student {num_classes};"
                " distillation needs the same classes, so train a teacher on this data first"
            )
        self.distill, self.teacher = distill, teacher

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """{"ce": cross entropy with the labels, "kd": weighted loss against the teacher}."""
        images, target = self.mixed(batch)
        opinion = self.teacher(images)
        logits = model(images)
        kd = distillation_loss(logits, opinion, kind=self.distill.kind, temperature=self.distill.temperature)
        return {"ce": self.cross_entropy(logits, target), "kd": self.distill.weight * kd}


def distillation_loss(student: Tensor, teacher: Tensor, *, kind: str = "soft", temperature: float = 1.0) -> Tensor:
    """Distance of the student's logits from the teacher's, both ``B C``.

    Args:
        student: logits, with gradient.
        teacher: logits.
        kind: "soft": KL(teacher || student), summed over classes, divided by the batch, times temperature squared so
            that gradients keep their size; "hard": cross entropy against the teacher's first guess.
        temperature: divides both logits (soft only).
    """
    student, teacher = student.float(), teacher.detach().float()
    if kind == "hard":
        return F.cross_entropy(student, teacher.argmax(1))
    own = F.log_softmax(student / temperature, 1)
    wanted = F.log_softmax(teacher / temperature, 1)
    return F.kl_div(own, wanted, reduction="batchmean", log_target=True) * temperature**2
