"""Quantization-aware fine-tuning: a fused network learns to give, in 8 bits, what it gave in floating point.

A short training without labels, minutes on one core: weights and activations are rounded on the way forward and passed
through on the way back (straight-through, Bengio et al. 2013), the teacher is the floating-point network itself. The
unit in which a bias moves is the standard deviation of its channel's output, and that of weights is what moves the
output as far when they all move together. So one learning rate suits layers whose channels differ a thousandfold, as
those of re-parameterised networks do.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phonecv.errors import UserError
from phonecv.exporting.ranges import Int8Settings
from phonecv.models.quantized import give_biases, mark, state_of
from phonecv.quantization.layers import chosen_layers
from phonecv.quantization.simulation import USUAL
from phonecv.quantization.student import Student, outputs_of
from phonecv.text import counted, lasting

M = TypeVar("M", bound=nn.Module)

#: A batch: pictures, or pictures with their class numbers.
Batch = Tensor | tuple[Tensor, Tensor]

#: Pictures that ranges and the loss before and after are computed on.
_LOOKED_AT = 128


@dataclass(frozen=True, slots=True)
class FineTuning:
    """How the network learns.

    Attributes:
        steps: batches.
        batch: pictures of each, where they come as one tensor.
        lr: the first learning rate, the most by which a batch moves any output, in its standard deviations; it falls to
            zero along half a cosine.
        seed: of the order of pictures and of which are mirrored.
        mirror: turn half of the pictures left to right; not for writing and traffic signs.
        label_weight: of the cross-entropy with labels, where there are any, beside the teacher.

    Raises:
        UserError: a value out of range.
    """

    steps: int = 150
    batch: int = 16
    lr: float = 0.005
    seed: int = 0
    mirror: bool = True
    label_weight: float = 0.5

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1:
            raise UserError(f"steps {self.steps!r} and batch {self.batch!r} are whole numbers >= 1")
        if not 0 < self.lr <= 1:
            raise UserError(f"lr {self.lr!r} is not in 0..1 standard deviations; the usual value is 0.005")
        if not 0 <= self.label_weight <= 1:
            raise UserError(f"label_weight {self.label_weight!r} is not in 0..1")


def fine_tune(
    network: M,
    pictures: Tensor | Iterable[Batch],
    *,
    teacher: nn.Module | None = None,
    labels: Tensor | None = None,
    tuning: FineTuning | None = None,
    settings: Int8Settings = USUAL,
    left_out: Sequence[str] = (),
    device: str | torch.device = "cpu",
    say: Callable[[str], None] | None = None,
) -> M:
    """A copy whose weights and biases suit int8; the network given and the teacher stay as they were.

    The same seed, pictures and number of threads give the same weights. If the loss is no smaller afterwards, the
    copy has the old weights, and its state says so.

    Args:
        network: in deploy form, so without BatchNorm; it may have been prepared by other remedies.
        pictures: ``N 3 H W`` as the network takes them, or batches that can be gone through again and again.
        teacher: the floating-point network, if `network` is no longer that.
        labels: class numbers of `pictures` where these are a tensor; batches bring their own.
        tuning: how it learns.
        settings: of the ranges that the file will have.
        left_out: layers that stay in floating point.
        device: to learn on; the result is on the CPU.
        say: called with a line before it starts, which says about how long it will take, and about progress every ten
            steps.

    Returns:
        A network of the same class with ``quantization["qat"]``: the loss before and after.

    Raises:
        UserError: not in deploy form, no pictures, or the loss is no longer finite.
    """
    if getattr(network, "form", "deploy") != "deploy":
        raise UserError("quantization-aware fine-tuning works on the deploy form; call phonecv.fuse first")
    tuning = tuning or FineTuning()
    source = _Source(pictures, labels, tuning)
    teacher = copy.deepcopy(network if teacher is None else teacher).cpu().eval().requires_grad_(False)
    result = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    without = give_biases(result, list(chosen_layers(result, left_out)))
    start = time.perf_counter()
    student = Student(result, source.look(), settings, left_out, device)
    settling = time.perf_counter() - start
    teacher.to(device)

    before = student.loss(teacher, source.look())
    if say is not None:
        say(_forecast(student, teacher, source, settling))
    optimizer = torch.optim.Adam(student.moves, lr=tuning.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, tuning.steps)
    step = 0
    while step < tuning.steps:
        for images, classes in source.epoch():
            if step == tuning.steps:
                break
            images = images.to(device)
            with torch.no_grad():
                wanted = outputs_of(teacher, images)
            loss = student.distance(student(images), wanted)
            if classes is not None:
                logits = student.last[-1]
                loss = loss + tuning.label_weight * F.cross_entropy(logits, classes.to(device))
            if not torch.isfinite(loss):
                raise UserError(f"fine-tuning: the loss is {loss.item()} at step {step}; try lr={tuning.lr / 3:.2g}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            if say is not None and (step % 10 == 0 or step == tuning.steps):
                say(f"fine-tuning: step {step} of {tuning.steps}, loss {loss.item():.4f}")
        student.settle(source.look())
    after = student.loss(teacher, source.look())
    kept = after < before
    result = student.network() if kept else copy.deepcopy(network).cpu().eval()
    trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    for name, parameter in result.named_parameters():
        parameter.requires_grad_(name in trainable or name.removesuffix("bias") + "weight" in trainable)
    if kept:
        mark(result, "qat", float=False, biases=without)
    noted: Any = result
    figures = {"steps": step, "loss_before": before, "loss_after": after, "kept": kept}
    noted.quantization = {**state_of(result), "qat": figures}
    return result


def _forecast(student: Student, teacher: nn.Module, source: _Source, settling: float) -> str:
    """How long it will take, from one step whose result is thrown away and from what finding the ranges took."""
    images = source.look()[: source.tuning.batch]
    start = time.perf_counter()
    with torch.no_grad():
        wanted = outputs_of(teacher, images.to(student.device))
    student.distance(student(images.to(student.device)), wanted).backward()
    step = time.perf_counter() - start
    for move in student.moves:
        move.grad = None
    # Ranges are found anew after every pass through the pictures; of a loader nobody knows how long that is.
    passes = math.ceil(source.tuning.steps / source.steps) if source.steps else 1
    about = lasting(source.tuning.steps * step + (passes + 1) * settling)
    steps = f"{counted(source.tuning.steps, 'steps')} of {counted(len(images), 'pictures')}"
    return f"fine-tuning: {steps} will take about {about}"


class _Source:
    """Pictures in batches: shuffled and mirrored ones of a tensor, or those of a loader as they come."""

    def __init__(self, pictures: Tensor | Iterable[Batch], labels: Tensor | None, tuning: FineTuning) -> None:
        self.pictures, self.labels, self.tuning = pictures, labels, tuning
        self.generator = torch.Generator().manual_seed(tuning.seed)
        self._look: Tensor | None = None
        if isinstance(pictures, Tensor) and (pictures.ndim != 4 or not len(pictures)):
            raise UserError(f"fine-tuning needs pictures, N x 3 x H x W, not {tuple(pictures.shape)}")
        if labels is not None and not (isinstance(pictures, Tensor) and len(labels) == len(pictures)):
            raise UserError(f"{len(labels)} labels do not belong to these pictures, one each")

    @property
    def steps(self) -> int:
        """Batches of one pass through all pictures; 0 where nobody knows."""
        return math.ceil(len(self.pictures) / self.tuning.batch) if isinstance(self.pictures, Tensor) else 0

    def look(self) -> Tensor:
        """The same pictures every time, as they are."""
        if self._look is None:
            held, count = [], 0
            for images, _ in self._plain():
                held.append(images)
                count += len(images)
                if count >= _LOOKED_AT:
                    break
            if not held:
                raise UserError("fine-tuning needs pictures; the batches given are none")
            self._look = torch.cat(held)[:_LOOKED_AT]
        return self._look

    def _plain(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        if isinstance(self.pictures, Tensor):
            # Evenly picked: pictures often lie class by class.
            step = max(1, len(self.pictures) // _LOOKED_AT)
            yield self.pictures[::step], None
            return
        for item in self.pictures:
            yield (item, None) if isinstance(item, Tensor) else (item[0], item[1])

    def epoch(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """All pictures once."""
        if not isinstance(self.pictures, Tensor):
            yield from self._plain()
            return
        order = torch.randperm(len(self.pictures), generator=self.generator)
        for part in order.split(self.tuning.batch):
            images = self.pictures[part]
            if self.tuning.mirror:
                turned = torch.rand(len(part), generator=self.generator) < 0.5
                images = torch.where(turned[:, None, None, None], images.flip(3), images)
            yield images, None if self.labels is None else self.labels[part]
