"""What a phone would send."""

from __future__ import annotations

from typing import Any


def row(**changes: Any) -> dict[str, Any]:
    values = {
        "file": "signs.onnx", "runtime": "onnxruntime-web", "backend": "wasm", "threads": 4, "batch": 1, "height": 32,
        "width": 32, "rounds": 3, "median_ms": 12.5, "p10_ms": 12.0, "p90_ms": 14.0, "load_ms": 80.0,
        "difference": 2e-6, "times_ms": [12.0, 12.5, 14.0],
    }  # fmt: skip
    return values | changes


def device(**changes: Any) -> dict[str, Any]:
    values = {
        "model": "Pixel 9", "platform": "Android 16", "browser": "Chrome 156", "user_agent": "Mozilla/5.0", "cores": 8,
        "memory_gb": 8, "screen": [412, 915, 2.625], "isolated": True, "secure": True,
        "gpu": {"vendor": "arm", "architecture": "valhall", "description": "", "kind": "hardware", "fp16": True},
    }  # fmt: skip
    return values | changes


def report(**changes: Any) -> dict[str, Any]:
    failed = [{"file": "signs.onnx", "backend": "webgpu", "threads": 1, "reason": "no operator for it"}]
    return {"version": 1, "name": "Anna's phone", "device": device(), "rows": [row()], "failed": failed} | changes
