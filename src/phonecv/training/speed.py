"""What makes a training fast without changing what it computes, chosen for the device at hand.

Every choice can be made by hand, and every choice made here is told with its reason. All of them round differently, so
a run keeps its choices when it is resumed. The figures behind them are in docs/performance.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from phonecv.devices import computes_bf16
from phonecv.errors import UserError
from phonecv.models.catalog import MODELS
from phonecv.settings import flatten
from phonecv.text import counted
from phonecv.training.config import TrainConfig

#: Optimizer steps per image size that a compilation has to be used for on a GPU; no GPU was at hand to measure it.
#: Compiling EMOv2-5M takes one to two minutes, and a step there a tenth of a second or less.
COMPILE_AFTER = 5000

#: Devices for which PyTorch has optimizers of a single kernel that were tried or are in wide use.
FUSED_ON = ("cpu", "cuda")


#: The choices, and the setting of each.
SETTINGS = {
    "amp": "run.amp",
    "channels_last": "run.channels_last",
    "compile": "run.compile",
    "fused": "optimizer.fused",
}


@dataclass(frozen=True, slots=True)
class Speed:
    """The choices.

    Attributes:
        amp: "none", "bf16" or "fp16".
        channels_last: memory layout of images and weights.
        compile: whether the network runs through torch.compile.
        fused: whether the optimizer is one kernel.
        reasons: by setting, for those that were "auto".
        notes: what the person should know besides.
    """

    amp: str = "none"
    channels_last: bool = False
    compile: bool = False
    fused: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """The choices alone, for the resume state."""
        return {name: getattr(self, name) for name in SETTINGS}

    def chosen(self) -> list[tuple[str, Any, str]]:
        """What was "auto": setting, value and reason."""
        values = {setting: getattr(self, name) for name, setting in SETTINGS.items()}
        return [(name, values[name], reason) for name, reason in self.reasons.items()]


def choose_speed(
    config: TrainConfig,
    device: torch.device,
    *,
    family: str,
    steps: int,
    before: Mapping[str, Any] | None = None,
) -> Speed:
    """Fill in what is "auto"; a run of so many `steps` that is resumed keeps its choices `before`.

    `family` is that of the network or its backbone, as the catalog has it; empty for foreign ones.

    Raises:
        UserError: something was asked for that cannot be had here.
    """
    rules = {
        "amp": lambda: _amp(device, family),
        "channels_last": lambda: _channels_last(device, family),
        "compile": lambda: (
            (False, "pictures vary from step to step")
            if config.sizes_vary
            else _compile(device, steps, set(config.sizes().values()))
        ),
        "fused": lambda: (device.type in FUSED_ON, f"PyTorch has it on {device.type}"),
    }
    wanted: dict[str, Any] = flatten(config)
    values, reasons, notes = {}, {}, []
    for name, setting in SETTINGS.items():
        value = wanted[setting]
        if value != "auto":
            values[name] = value
        elif before is not None:
            values[name], reasons[setting] = before[name], "as this run began"
        else:
            values[name], reasons[setting] = rules[name]()
    if values["fused"] and device.type not in FUSED_ON:
        raise UserError(f"optimizer.fused=true: it is offered on {' and '.join(FUSED_ON)}, not on {device.type}")
    if values["compile"] and (problem := compiler_problem(device)):
        if config.run.compile is True:
            raise UserError(f"run.compile=true, but {problem}; install what is missing, or set run.compile=false")
        values["compile"], reasons["run.compile"] = False, problem
        if before is not None:
            notes.append("this run was compiled before; its numbers will be close to, not equal to, those to come")
    if device.type == "cpu" and values["amp"] == "fp16":
        notes.append("CPUs compute fp16 slowly; run.amp=auto chooses what this one is fast at")
    return Speed(**values, reasons=reasons, notes=tuple(notes))


def keeps_memory(config: TrainConfig, device: torch.device) -> bool:
    """Whether freed memory is kept for the next step (`phonecv.training.threads`).

    Left to us, for MobileOne alone: its training step gains a sixth to a third, EMOv2-5M's loses a tenth.
    """
    if config.run.keep_memory != "auto":
        return config.run.keep_memory
    record = MODELS.get(config.model.name)
    return device.type == "cpu" and record is not None and record.family == "mobileone"


def _amp(device: torch.device, family: str) -> tuple[str, str]:
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= (8, 0):
            return "bf16", "this GPU computes in it"
        if capability >= (7, 0):
            return "fp16", "this GPU computes in it, not in bf16"
        return "none", "this GPU has no fast low precision"
    if device.type == "cpu" and family in BF16_PAYS:
        if computes_bf16():
            return "bf16", "this processor computes in it"
        return "none", "this processor does not compute in bf16"
    what = family or "this backbone"
    return "none", f"lower precision was not found to be faster for {what} on {device.type}"


#: Families whose training step is clearly faster in bfloat16 on a processor that computes in it, as backbones too (a
#: step of SSDLite on EMOv2-1M takes 0.6 of the time).
BF16_PAYS = ("emo", "emov2")


def _channels_last(device: torch.device, family: str) -> tuple[bool, str]:
    if device.type in ("cpu", "cuda"):
        return True, f"faster on {device.type}"
    return False, f"not tried on {device.type}"


def _compile(device: torch.device, steps: int, sizes: set[int | None]) -> tuple[bool, str]:
    if device.type != "cuda":
        return False, f"gains nothing in training on {device.type}"
    each = steps // len(sizes)
    if each < COMPILE_AFTER:
        return False, f"{counted(steps, 'steps are')} too few to earn it back"
    return True, f"{counted(steps, 'steps')} earn it back"


def compiler_problem(device: torch.device) -> str | None:
    """What keeps torch.compile from working for this device, or None; tries it on one line."""
    probe = torch.compile(_probe, dynamic=False, options={"fx_graph_cache": False})
    try:
        probe(torch.ones(8, device=device))
    except (RuntimeError, OSError, ImportError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "InvalidCxxCompiler" in str(error):
            import torch._inductor.config as inductor

            return f"no C++ compiler was found ({inductor.cpp.cxx[-1]}; the variable CXX names another)"
        return f"torch.compile does not work here ({first[:200]})"
    return None


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1


def compiled(net: nn.Module, *, sizes: int) -> nn.Module:
    """The network behind torch.compile; names, parameters and random numbers are those of `net` itself.

    `net` stays usable as it is, and as it is it is saved, averaged and evaluated. Each of the image `sizes` is compiled
    by itself, so that what is compiled does not depend on what came before, and a resumed run computes the same.
    """
    more: dict[str, Any] = {}
    if "recompile_limit" in inspect.signature(torch.compile).parameters:
        more["recompile_limit"] = sizes + 8
    # The compiler's own random numbers are others than PyTorch's; drop path shall not depend on it.
    result: Any = torch.compile(net, dynamic=False, options={"fallback_random": True}, **more)
    return result
