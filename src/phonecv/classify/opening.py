"""One face for everything that can classify: networks of ours, checkpoints, exported files of any runtime."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phonecv.create import load_network
from phonecv.data.class_mapping import display_names
from phonecv.errors import UserError, did_you_mean
from phonecv.models import VisionModel
from phonecv.models.channels import check_takes_rgb
from phonecv.precision import AMP_TYPES, low_precision
from phonecv.preprocessing import Preprocessing

#: Pixels of the batch that a CPU takes at once: eight pictures of 224 px. The maps of larger batches do not stay in the
#: caches, and glibc gives their memory back to the system after every layer: MobileOne-S0 took twice as long per
#: picture with 64.
CPU_PIXELS = 8 * 224 * 224


@dataclass(frozen=True, slots=True)
class Runner:
    """A classifier ready to run, whatever runs it.

    Attributes:
        description: for people, such as "mobileone_s0, deploy form, PyTorch on cpu".
        run: float32 batch ``B 3 H W`` in main memory -> logits ``B C`` in main memory.
        preprocessing: how a picture becomes its input.
        num_classes: C.
        class_names: one per output, or None when the file knows none.
        batch: the only batch size it takes, or None for any.
        details: whatever else is known (name, form, format, path), for reports.
    """

    description: str
    run: Callable[[Tensor], Tensor]
    preprocessing: Preprocessing
    num_classes: int
    class_names: tuple[str, ...] | None = None
    batch: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of a batch of any size; a fixed batch size is served in parts, the last one padded."""
        if self.batch is None:
            return self.run(images)
        parts = []
        for part in images.split(self.batch):
            missing = self.batch - len(part)
            padded = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
            parts.append(self.run(padded)[: len(part)])
        return torch.cat(parts)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every output: the file's own, else ImageNet's for 1000 classes, else the index."""
        return display_names(self.class_names, self.num_classes)


def open_runner(
    model: VisionModel | Runner | Path | str,
    *,
    device: str | torch.device | None = None,
    amp: str = "none",
    **loading: Any,
) -> Runner:
    """Whatever names a classifier -> a `Runner`.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights are used, "name:tag"
            chooses among them), the path of an exported file, or a runner.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16", for PyTorch.
        **loading: arguments of `load_checkpoint`, such as ``ema=True``.

    Raises:
        UserError: nothing of that name, or a file that cannot be used.
    """
    check_opening(model, device=device, amp=amp, loading=loading)
    if isinstance(model, Runner):
        return model
    if not isinstance(model, VisionModel):
        from phonecv.exporting import exporter_for, open_exported

        if exporter_for(model) is not None:
            return open_exported(model)
    return torch_runner(load_network(model, **loading), device=device, amp=amp)


def check_opening(model: Any, *, device: str | torch.device | None, amp: str, loading: Mapping[str, Any]) -> None:
    """Refuse options that what is to be opened cannot take.

    Args:
        model: a network, a runner, or what names one.
        device: as given.
        amp: as given.
        loading: options of `load_checkpoint`, as given.

    Raises:
        UserError: naming the option and what it belongs to.
    """
    if amp not in AMP_TYPES:
        raise UserError(f"amp {amp!r} is not one of {', '.join(AMP_TYPES)}{did_you_mean(str(amp), AMP_TYPES)}")
    options = ", ".join(loading)
    if not isinstance(model, Path | str):
        if loading:
            raise UserError(f"{options}: for reading checkpoint files; this model is a {type(model).__name__} already")
        if not isinstance(model, nn.Module) and (device is not None or amp != "none"):
            raise UserError(f"device and amp are for networks; this {type(model).__name__} has its own already")
        return
    from phonecv.exporting import exporter_for

    if exporter_for(model) is not None:
        if loading:
            raise UserError(f"{model} is an exported file; {options}: only for checkpoints")
        if device is not None and str(device).partition(":")[0] != "cpu":
            raise UserError(f"{model} is an exported file, run on the CPU; device {str(device)!r} is for networks")
        if amp != "none":
            raise UserError(f"{model} is an exported file, run in its own precision; amp {amp!r} is for networks")
    elif loading and not Path(model).exists():
        raise UserError(
            f"{options}: for reading checkpoint files, and {str(model)!r} is no file (NAME:TAG chooses among public "
            "weights)"
        )


def torch_runner(model: VisionModel, *, device: str | torch.device | None = None, amp: str = "none") -> Runner:
    """A network as a runner, in float32 unless `amp` says otherwise; the network given stays as it was.

    Raises:
        UserError: the network has no classifier, or the device does not exist.
    """
    if model.num_classes == 0:
        raise UserError(f"{model.name or 'this network'} has no classifier, so there is nothing to evaluate or predict")
    check_takes_rgb(model, model.name or "this network")
    place = pick_device(device)
    low = low_precision(amp, place)
    # A copy: the person's network keeps its device, mode and precision.
    network = copy.deepcopy(model).to(device=place, dtype=torch.float32).eval()

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        with torch.autocast(place.type, dtype=low, enabled=low is not None):
            parts = images.split(cpu_part(images)) if place.type == "cpu" else (images,)
            return torch.cat([network(part.to(place)).float().cpu() for part in parts])

    return Runner(
        description=f"{model.name or type(model).__name__}, {model.form} form, PyTorch on {place}",
        run=run,
        preprocessing=model.preprocessing,
        num_classes=model.num_classes,
        class_names=model.class_names,
        details={"model": model.name, "form": model.form, "runtime": "pytorch", "device": str(place), "amp": amp},
    )


def cpu_part(images: Tensor) -> int:
    """How many pictures a CPU should take at once."""
    return max(1, CPU_PIXELS // (images.shape[-2] * images.shape[-1]))


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or a GPU if there is one.

    Raises:
        UserError: this machine has no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]})") from error
    return chosen
