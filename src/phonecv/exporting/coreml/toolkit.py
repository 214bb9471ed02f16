"""coremltools without what is not needed of it: its import takes seconds, tries other toolkits, and prints."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from phonecv.errors import UserError

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


@cache
def messages() -> ModuleType:
    """The modules `Model_pb2` and `MIL_pb2` that coremltools brings; reading a package needs nothing else of it.

    Raises:
        UserError: coremltools is not installed.
    """
    name = "phonecv.exporting.coreml._messages"
    found = importlib.util.find_spec("coremltools")
    if found is None or not found.submodule_search_locations:
        raise UserError('Core ML packages need coremltools; install it with: pip install "phonecv[coreml]"')
    folder = Path(found.submodule_search_locations[0]) / "proto"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not folder.is_dir():
        raise UserError(f"coremltools at {folder.parent} has no messages; install it anew: pip install coremltools")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its parts import one another by this name
    spec.loader.exec_module(module)
    return module
