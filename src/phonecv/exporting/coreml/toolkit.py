"""coremltools, imported without what it would import for conversions that are not done here."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

#: It looks whether each of these is installed, by importing it; none takes part in the conversion of a PyTorch graph.
UNUSED = ("executorch", "sklearn", "tensorflow", "torchao", "torchaudio", "transformers", "xgboost")


def toolkit() -> ModuleType:
    """The module `coremltools`; where all of `UNUSED` are installed, its import takes a tenth of the time.

    Raises:
        ImportError: it is not installed.
    """
    if "coremltools" not in sys.modules:
        hidden = [name for name in UNUSED if name not in sys.modules]
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None makes their import fail
        try:
            import_module("coremltools")
        finally:
            for name in hidden:
                del sys.modules[name]
    return sys.modules["coremltools"]
