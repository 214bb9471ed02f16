"""The rules that fill networks for golden numbers, kept beside those as they came with them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

GOLDEN = Path(__file__).parent / "golden"


def load_rule(name: str) -> ModuleType:
    """The module `name` of `tests/golden`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"golden_{name}", GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
