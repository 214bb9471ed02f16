"""Low precision: its types, and whether a device computes in it."""

from __future__ import annotations

import logging

import torch

#: Arithmetic of evaluation; "none" is float32.
AMP_TYPES = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}

_log = logging.getLogger("phonecv")


def computes_bf16() -> bool:
    """Whether the processor has instructions for products in bfloat16 (x86: AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())


def low_precision(amp: str, device: torch.device) -> torch.dtype | None:
    """The type to autocast to, or None; says so where the device only imitates it.

    Args:
        amp: one of `AMP_TYPES`.
        device: where it computes.
    """
    if device.type == "cpu" and (amp == "fp16" or (amp == "bf16" and not computes_bf16())):
        _log.warning(
            "this processor does not compute in %s: it is imitated, slower than float32, and another machine may round"
            " otherwise; leave amp out for figures to keep",
            amp,
        )
    return AMP_TYPES[amp]
