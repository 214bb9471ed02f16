"""What stands in for the objects that people's programs keep beside their weights.

A checkpoint of somebody's training also holds parsed arguments, paths, dates, counters, enumerations, whole
configurations. None of it is needed and nothing of it is made: neither is a class imported nor anything called. What
the file says of such an object is kept as a plain mapping, in case that class names are in it.
"""

from __future__ import annotations

import re
import sys
from typing import Any

#: Modules of Python 2 that its pickles name; with those of today's library they hold everything dangerous.
_OF_PYTHON_2 = {"__builtin__", "commands", "copy_reg", "cPickle", "exceptions", "popen2", "StringIO", "urllib2"}
_LIBRARY = sys.stdlib_module_names | _OF_PYTHON_2

_BUILTINS = (
    "bool", "bytearray", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set", "slice",
    "str", "tuple", "type", "unicode", "long", "xrange", "Ellipsis", "NotImplemented",
)  # fmt: skip

#: What of Python's own library may be mentioned. Everything else of it is refused: no weight file needs it.
_HARMLESS = frozenset(
    [f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _BUILTINS]
    + [
        f"collections.{name}"
        for name in ("ChainMap", "Counter", "OrderedDict", "UserDict", "UserList", "UserString", "defaultdict", "deque")
    ]
    + [f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")]
    + [
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
    ]
    + [f"typing.{name}" for name in ("Any", "Dict", "List", "Optional", "Tuple", "Union")]
    + [f"enum.{name}" for name in ("Enum", "Flag", "IntEnum", "IntFlag", "StrEnum")]
    + ["argparse.Namespace", "types.SimpleNamespace", "types.MappingProxyType", "types.NoneType"]
    + [f"itertools.{name}" for name in ("chain", "count", "cycle", "repeat")]
    + ["decimal.Decimal", "fractions.Fraction", "functools.partial", "ipaddress.IPv4Address", "uuid.UUID"]
    + ["ipaddress.IPv6Address", "time.struct_time"]
    + ["copyreg._reconstructor", "copy_reg._reconstructor", "random.Random", "zoneinfo.ZoneInfo", "string.Template"]
    + ["logging.Logger", "logging.getLogger", "re._compile", "optparse.Values", "configparser.ConfigParser"]
    + ["builtins.getattr", "__builtin__.getattr", "_operator.or_"]  # of an enumeration, see `pickles`
)

#: Functions of numpy that only lead to the state of a random generator.
_RANDOM = re.compile(r"numpy\.random\.\w+\.(__(randomstate|generator|bit_generator)_ctor|__pyx_unpickle_\w+)")


class Inert(dict[Any, Any]):
    """Stands for an object of the file's: its items and attributes as far as the file tells them, and its class."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


def may_be_mentioned(module: str, name: str) -> bool:
    """Whether a file may name this class or function at all."""
    if module.partition(".")[0] in _LIBRARY:
        return f"{module}.{name}" in _HARMLESS
    if _RANDOM.fullmatch(f"{module}.{name}"):
        return True
    # A name with dots is a nested class; one with underscores on both sides would be the start of a climb.
    return bool(module) and all(part and not part.startswith("__") for part in name.split("."))


def is_class_like(module: str, name: str) -> bool:
    """Whether the name is one that a file may ask an object of, which is then an `Inert`.

    Functions of other people's are refused: a file that wants one called is not a file of weights.
    """
    if f"{module}.{name}" in _HARMLESS or _RANDOM.fullmatch(f"{module}.{name}"):
        return True
    return name.rpartition(".")[2].lstrip("_")[:1].isupper()
