"""Result files with a part for each kind of processor, side by side: figures of one say little of another."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phonecv.benchmarking.machine import describe_machine, processor_flags, processor_name
from phonecv.files import write_json

#: Variables that hold torch or its libraries to a part of what the processor can do.
LIMITING = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


def processor_kind(cpu: str, flags: Sequence[str]) -> str:
    """By the widest instructions, which decide most; of AMD's with AVX-512 there are two kinds.

    Zen 4 computes 512 bits in two halves, so that it has the speed of AVX2; Zen 5 has them whole, and AVX-VNNI. Both
    may call themselves "AMD EPYC".
    """
    kind = next((kind for flag, kind in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "other")
    if kind == "AVX-512" and cpu.startswith("AMD"):
        kind += ", Zen 5" if "avx_vnni" in flags else ", Zen 4"
    return kind


def kind_here() -> str:
    """Of this machine's processor.

    Raises:
        SystemExit: torch or oneDNN is held to fewer instructions than the processor has: that is no kind of processor.
    """
    held = [name for name in LIMITING if name in os.environ]
    if held:
        sys.exit(f"{', '.join(held)} limits this processor; results of trials of that kind go into no file")
    return processor_kind(processor_name(), processor_flags())


def kinds_of(path: Path) -> dict[str, Any]:
    """The parts of a result file by kind of processor; none where there is no file yet."""
    return json.loads(path.read_text(encoding="utf-8"))["kinds"] if path.is_file() else {}


def write_kind(path: Path, common: Mapping[str, Any], part: Mapping[str, Any]) -> None:
    """Replace the part of this kind of processor; those of others stay."""
    kinds = kinds_of(path)
    kinds[kind_here()] = {"date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), **part}
    write_json(path, {**common, "kinds": kinds})
    print(f"written: {path}")
