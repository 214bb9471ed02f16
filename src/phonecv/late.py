"""Names that a package gives without importing their modules before somebody uses them."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from phonecv.migration import replacement


@functools.cache
def late_modules(package: str) -> Mapping[str, str]:
    """Name -> module, of all that the source of a package imports ``if TYPE_CHECKING``."""
    loader: Any = sys.modules[package].__loader__
    parts = [node for node in ast.parse(loader.get_source(package)).body if isinstance(node, ast.If)]
    listed = [part for part in parts if isinstance(part.test, ast.Name) and part.test.id == "TYPE_CHECKING"]
    imports = [node for part in listed for node in part.body if isinstance(node, ast.ImportFrom)]
    return {name.asname or name.name: str(node.module) for node in imports for name in node.names}


def late_names(package: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package, for the names that it imports for type checkers alone.

    Where it is defined type checkers must not see it (``if not TYPE_CHECKING``), or they take every name for one that
    is there.
    """

    def find(name: str) -> Any:
        if name not in late_modules(package):
            instead = replacement(name)
            told = f"; {instead}" if instead else ""
            raise AttributeError(f"module {package!r} has no attribute {name!r}{told}")
        return getattr(import_module(late_modules(package)[name]), name)

    return find
