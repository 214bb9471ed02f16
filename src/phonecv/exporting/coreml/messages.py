"""Core ML's protobuf messages, without the rest of coremltools."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from phonecv.errors import UserError


@cache
def messages() -> ModuleType:
    """The modules `Model_pb2` and `MIL_pb2` that coremltools brings.

    Importing coremltools itself takes seconds, imports every other toolkit that it finds, and writes to the screen;
    reading a package needs none of it.

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
