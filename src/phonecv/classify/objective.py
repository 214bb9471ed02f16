"""What a classifier learns: cross entropy, perhaps of mixed pictures, perhaps with a teacher's opinion."""

from __future__ import annotations

import torch.nn.functional as F
from timm.data.mixup import Mixup
from torch import Tensor, nn

from phonecv.classify.config import LossConfig
from phonecv.data.loading.loader import Batch
from phonecv.training.groups import DistillConfig
from phonecv.training.teacher import Teacher
from phonecv.whole.objective import WholeObjective


class ClassifyObjective(WholeObjective):
    """Cross entropy with smoothed, and where asked mixed, labels; top-1 and top-5 by counts.

    mixup and cutmix draw from NumPy's global generator, which the engine seeds before every step.
    """

    def __init__(self, num_classes: int, loss: LossConfig, weights: Tensor | None = None) -> None:
        mixes = bool(loss.mixup or loss.cutmix)
        # Mixed targets are smoothed already.
        super().__init__(num_classes, 0.0 if mixes else loss.smoothing, weights)
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
            if mixes
            else None
        )

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """{"ce": cross entropy}."""
        images, target = self.mixed(batch)
        return {self.loss_names[0]: self.cross_entropy(model(images), target)}

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images and targets of the step: class indices, or shares per class where images are mixed."""
        if self.mix is None:
            return batch.images, batch.labels
        images, target = self.mix(batch.images, batch.labels)
        return images, target


class DistillObjective(ClassifyObjective):
    """`ClassifyObjective` plus the teacher's opinion on the same, possibly mixed, images."""

    loss_names: tuple[str, ...] = ("ce", "kd")

    def __init__(
        self,
        num_classes: int,
        loss: LossConfig,
        distill: DistillConfig,
        teacher: Teacher,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__(num_classes, loss, weights)
        teacher.check_classes(num_classes)
        self.distill, self.teacher = distill, teacher

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """{"ce": cross entropy with the labels, "kd": weighted loss against the teacher}."""
        images, target = self.mixed(batch)
        opinion = self.teacher(images)
        logits = model(images)
        kd = self.distill.weight * self.distance(logits, opinion)
        return dict(zip(self.loss_names, (self.cross_entropy(logits, target), kd), strict=True))

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See `distillation_loss`."""
        return distillation_loss(student, teacher, kind=self.distill.kind, temperature=self.distill.temperature)


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
