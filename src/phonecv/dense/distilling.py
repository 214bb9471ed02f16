"""A detector or segmenter learns from a larger one beside the labels: where in the picture its maps are high.

Channel-wise distillation (Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021, arXiv
2011.13256): each channel of a map becomes a distribution over the places of the picture, and the student's should be
the teacher's. The map is the first of what `network` gives: a segmenter's logits, the class maps of a detector of one
stage, the pyramid of Mask R-CNN.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from phonecv.create import load_network
from phonecv.dense.model import DenseModel
from phonecv.errors import UserError
from phonecv.training.groups import DistillConfig
from phonecv.training.teacher import Teacher
from phonecv.training.world import World


class Taught:
    """What a teacher adds to the losses of a detector or segmenter in training.

    Args:
        config: names the teacher, a checkpoint of the same kind as `student`.
        student: what is trained.
        same_heads: whether its maps mean the same only if architecture and options are the same.

    Raises:
        UserError: the teacher cannot be read, or does not fit.
    """

    def __init__(self, config: DistillConfig, student: DenseModel, *, same_heads: bool) -> None:
        name = str(config.teacher)
        net: Any = load_network(Path(name), task=student.task)
        if same_heads:
            for what in ("architecture", "options"):
                theirs, ours = (_without(getattr(one, what), student.choosing) for one in (net, student))
                if theirs != ours:
                    raise UserError(
                        f"the teacher {name} has {what} {theirs}, the student {ours}; a detector learns from one with"
                        " the same heads, on any backbone"
                    )
        self.config = config
        self.teacher = Teacher(
            net,
            name=name,
            num_classes=net.num_classes,
            own=net.preprocessing,
            student=student.preprocessing,
            resizes=False,
        )
        self.teacher.check_classes(student.num_classes, student.class_names)

    def losses(self, maps: Tensor | Sequence[Tensor], batch: Tensor) -> dict[str, Tensor]:
        """{"kd": ...}, weight included.

        Args:
            maps: the first of what the student's `network` gave, ``B C h w`` each.
            batch: what it was given, ``B 3 H W``.
        """
        net: Any = self.teacher.net
        with torch.no_grad():
            theirs = net.network(self.teacher.adapt(batch))[0]
        pairs = zip(*(([one] if isinstance(one, Tensor) else one) for one in (maps, theirs)), strict=True)
        distances = [channelwise(own, wanted, self.config.temperature) for own, wanted in pairs]
        return {"kd": self.config.weight * torch.stack(distances).mean()}


def _without(value: Any, left_out: Collection[str]) -> Any:
    """Options without some of them; what are no options as it is."""
    return {key: one for key, one in value.items() if key not in left_out} if isinstance(value, dict) else value


def make_taught(config: DistillConfig, student: DenseModel, world: World, *, same_heads: bool) -> Taught | None:
    """The teacher that a training names, where the student is; None without any."""
    if config.teacher is None:
        return None
    taught = Taught(config, student, same_heads=same_heads)
    taught.teacher.to(world.device)
    return taught


def channelwise(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """How far the student's channels are from the teacher's as distributions over places.

    The teacher's map is resized to the student's where heads differ in resolution.

    Args:
        student: ``B C h w``, with gradient.
        teacher: ``B C h' w'``.
        temperature: divides both; the divergence is multiplied by its square.

    Returns:
        KL(teacher || student), summed over places, averaged over channels and pictures.
    """
    student, teacher = student.float(), teacher.detach().float()
    if teacher.shape[-2:] != student.shape[-2:]:
        teacher = F.interpolate(teacher, student.shape[-2:], mode="bilinear", align_corners=False)
    own, wanted = (F.log_softmax(x.flatten(2) / temperature, -1) for x in (student, teacher))
    return F.kl_div(own, wanted, reduction="sum", log_target=True) * temperature**2 / own[..., 0].numel()
