"""Result files with a part for each kind of processor, side by side: figures of one say little of another."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phonecv.benchmarking.machine import describe_machine, processor_flags
from phonecv.files import write_json


def processor_kind() -> str:
    """By the widest instructions, which decide most."""
    flags = processor_flags()
    return next((kind for flag, kind in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "other")


def write_kind(path: Path, common: Mapping[str, Any], part: Mapping[str, Any]) -> None:
    """Replace the part of this kind of processor; those of others stay."""
    kinds = json.loads(path.read_text(encoding="utf-8"))["kinds"] if path.is_file() else {}
    kinds[processor_kind()] = {"date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), **part}
    write_json(path, {**common, "kinds": kinds})
    print(f"written: {path}")
