"""coremltools without what is not needed of it, as its import takes seconds, and with operators that it lacks."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

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


_aten = torch.ops.aten

#: Another name under which coremltools knows the same operator.
KNOWN_AS: dict[Any, OpOverload] = {
    _aten.__and__.Tensor: _aten.logical_and.default,
    _aten.alias.default: _aten.clone.default,
}


def _where_number(condition: Tensor, value: Tensor, other: float) -> Tensor:
    return torch.where(condition, value, torch.full_like(value, other))


#: The same from operators that it knows.
DECOMPOSED: dict[Any, Any] = {_aten.where.ScalarOther: _where_number}


def teach() -> None:
    """Let coremltools divide whole numbers into whole numbers.

    Its own rule ends in float32, although PyTorch's quotient is whole: nothing can be gathered by it afterwards, and in
    half precision places beyond 2048 would be rounded.
    """
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs, promote_input_dtypes
    from coremltools.converters.mil.mil import types

    def floor_divide(context: Any, node: Any) -> None:
        x, y = promote_input_dtypes(_get_inputs(context, node, expected=2))
        if types.is_int(x.dtype):
            context.add(Builder.floor_div(x=x, y=y, name=node.name))
        else:
            context.add(Builder.cast(x=Builder.floor_div(x=x, y=y), dtype="fp32", name=node.name))

    register_torch_op(floor_divide, torch_alias=["floordiv"], override=True)
