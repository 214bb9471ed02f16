"""A teacher: a frozen network that sees the student's batch through its own preprocessing."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.preprocessing import DensePreprocessing, Preprocessing
from phonecv.text import some_names

_log = logging.getLogger("phonecv")


class Teacher(nn.Module):
    """A frozen network behind an adapter from the student's normalised input to its own.

    Args:
        net: the network.
        name: for messages.
        num_classes: of its logits.
        own: how it wants pictures.
        student: how the student's batches come.
        interpolation: resize to its own side.
        antialias: of that.
        resizes: False: it takes any size, and pictures stay as large as they are.

    Raises:
        UserError: it takes gray pictures alone, and the student sees colours.
    """

    mean: Tensor
    std: Tensor
    own_mean: Tensor
    own_std: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        name: str,
        num_classes: int,
        own: Preprocessing | DensePreprocessing,
        student: Preprocessing | DensePreprocessing,
        interpolation: str = "bicubic",
        antialias: bool = True,
        resizes: bool = True,
    ) -> None:
        if own.channels < student.channels:
            raise UserError(
                f"distill.teacher={name!r} takes gray pictures, the student RGB; set model.in_chans=1 for it too"
            )
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.name, self.num_classes, self.size = name, num_classes, own.size
        self.interpolation, self.antialias, self.resizes = interpolation, antialias, resizes
        for key, values in (
            ("mean", student.mean),
            ("std", student.std),
            ("own_mean", own.mean),
            ("own_std", own.std),
        ):
            self.register_buffer(key, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Teacher:
        """A teacher stays in evaluation mode."""
        return super().train(False)

    def adapt(self, images: Tensor) -> Tensor:
        """The student's batch as the teacher wants it: normalisation undone, resized where sides differ, normalised."""
        images = images.float() * self.std + self.mean
        if self.resizes and images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(
                images, (self.size, self.size), mode=self.interpolation, align_corners=False, antialias=self.antialias
            )
        return (images - self.own_mean) / self.own_std

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits ``B num_classes`` for the student's batch ``B 3 H W``."""
        return self.net(self.adapt(images))

    def check_classes(self, classes: int, names: tuple[str, ...] | None = None) -> None:
        """Refuse a teacher of another number of classes, or of the same in another order; tell where names differ.

        Raises:
            UserError: it cannot teach these.
        """
        if self.num_classes != classes:
            raise UserError(
                f"the teacher {self.name} knows {self.num_classes} classes, the student {classes};"
                " distillation needs the same classes, so train a teacher on this data first"
            )
        known = getattr(self.net, "class_names", None)
        if not known or not names or tuple(known) == tuple(names):
            return
        theirs, ours = some_names(list(known), 3), some_names(list(names), 3)
        if set(known) == set(names):
            raise UserError(
                f"the teacher {self.name} has the classes in another order ({theirs}) than the data ({ours});"
                " train a teacher on this data first"
            )
        _log.warning("the teacher's classes are called %s, the data's %s: they are taken to be the same", theirs, ours)
