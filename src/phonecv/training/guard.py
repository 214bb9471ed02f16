"""Stops a run at the first loss that is not a finite number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from phonecv.errors import UserError


class NonFiniteLoss(UserError):
    """The loss is NaN or infinite; the checkpoints of the run are from before."""


@dataclass(slots=True)
class _Seen:
    step: int
    lr: float
    names: tuple[str, ...]
    values: Tensor  # the losses; of stacked pictures also the smallest and largest value
    images: Sequence[Tensor]  # pictures of different sizes, still to be looked through if it comes to that
    ready: Any  # an event of the accelerator, or None


class FiniteGuard:
    """Looks at every step's losses without making the accelerator wait.

    On an accelerator the values of a step are read one step later, when their copy has long arrived; on the CPU at
    once. Nothing may be saved before `flush` and `check_weights` have passed.
    """

    def __init__(self) -> None:
        self.pending: _Seen | None = None

    def watch(self, step: int, lr: float, losses: dict[str, Tensor], images: Tensor | Sequence[Tensor]) -> None:
        """Look at the losses of the step under way (number `step`, from 1).

        Raises:
            NonFiniteLoss: a loss of this step, or on an accelerator of the one before, is not finite.
        """
        looked = [loss.detach().float() for loss in losses.values()]
        kept: Sequence[Tensor] = ()
        if isinstance(images, Tensor):
            looked += [bound.float() for bound in images.detach().aminmax()]
        else:  # two operations for each picture would be many
            kept = images
        values = torch.stack(looked)
        ready = None
        if values.device.type == "cuda":
            values = values.to("cpu", non_blocking=True)
            ready = torch.cuda.Event()
            ready.record()
        seen = _Seen(step, lr, tuple(losses), values, kept, ready)
        if ready is None:
            self._judge(seen)
        else:
            self.flush()
            self.pending = seen

    def flush(self) -> None:
        """Judge what has not been judged yet."""
        seen, self.pending = self.pending, None
        if seen is not None:
            seen.ready.synchronize()
            self._judge(seen)

    def check_weights(self, model: nn.Module, step: int) -> None:
        """Refuse to go on with weights that are not finite (a finite loss may have an infinite gradient)."""
        parameters = [parameter.detach() for parameter in model.parameters()]
        sizes = torch.stack(torch._foreach_norm(parameters, float("inf")))
        if not bool(sizes.isfinite().all()):
            name = next(name for name, parameter in model.named_parameters() if not bool(parameter.isfinite().all()))
            raise NonFiniteLoss(f"the weights of {name} are no longer finite after step {step}. {_ADVICE}")

    def _judge(self, seen: _Seen) -> None:
        values = seen.values.tolist()
        losses = values[: len(seen.names)]
        if all(abs(value) < float("inf") for value in losses):  # NaN fails the comparison
            return
        bounds = values[len(seen.names) :] or [bound.item() for image in seen.images for bound in image.aminmax()]
        low, high = min(bounds), max(bounds)
        shown = ", ".join(f"{name}={value:g}" for name, value in zip(seen.names, losses, strict=True))
        inputs = (
            f"the inputs hold values from {low:.3g} to {high:.3g}"
            if all(abs(bound) < float("inf") for bound in bounds)
            else "the inputs themselves hold values that are not finite"
        )
        raise NonFiniteLoss(
            f"the loss is not finite at step {seen.step}: {shown}; learning rate {seen.lr:.3g}; {inputs}. {_ADVICE}"
        )


_ADVICE = (
    "The checkpoints in the run folder are from before. Try a lower optimizer.lr, a longer schedule.warmup_epochs, a"
    " smaller optimizer.clip, or run.amp=bf16 or none in the place of fp16 (with another run.out)"
)
