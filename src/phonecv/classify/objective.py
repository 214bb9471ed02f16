"""What a classifier learns: cross entropy, perhaps of mixed pictures, perhaps with a teacher's opinion."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from timm.data.mixup import Mixup
from torch import Tensor, nn

from phonecv.classify.config import LossConfig
from phonecv.data.loading.loader import Batch
from phonecv.models import VisionModel
from phonecv.training.groups import DistillConfig
from phonecv.training.teacher import Teacher
from phonecv.whole.objective import WholeObjective


class ClassifyObjective(WholeObjective):
    """Cross entropy with smoothed, and where asked mixed, labels, perhaps beside a teacher; top-1 and top-5 by counts.

    mixup and cutmix draw from NumPy's global generator, which the engine seeds before every step.

    Args:
        num_classes: outputs of the network.
        loss: its settings.
        weights: factors on the loss, one for each output; None for none.
        teacher: whose opinion on the same, possibly mixed, images counts too; None for none.
        distill: how much, and how it is compared.

    Attributes:
        on_features: batches hold kept features, which the head alone is run on.
    """

    on_features: bool = False

    def __init__(
        self,
        num_classes: int,
        loss: LossConfig,
        weights: Tensor | None = None,
        teacher: Teacher | None = None,
        distill: DistillConfig = DistillConfig(),  # noqa: B008  (frozen)
    ) -> None:
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
        self.teacher, self.distill = teacher, distill
        if teacher is not None:
            teacher.check_classes(num_classes)
            self.loss_names = (*self.loss_names, "kd")

    def predict(self, net: nn.Module, batch: Batch) -> Tensor:
        """Logits."""
        return (cast(VisionModel, net).get_classifier() if self.on_features else net)(batch.images)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """{"ce": cross entropy with the labels}, and with a teacher "kd", the weighted loss against it."""
        images, target = self.mixed(batch)
        opinion = None if self.teacher is None else self.teacher(images)
        logits = model(images)
        named = {self.loss_names[0]: self.cross_entropy(logits, target)}
        if opinion is not None:
            named["kd"] = self.distill.weight * self.distance(logits, opinion)
        return named

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images and targets of the step: class indices, or shares per class where images are mixed."""
        if self.mix is None:
            return batch.images, batch.labels
        images, target = self.mix(batch.images, batch.labels)
        return images, target

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
