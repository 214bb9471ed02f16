"""Reading a pickle as data: no object of the file's choosing is ever made, so none of its code can run.

A pickle is a small program for a stack machine. Python's own reader calls whatever the program names; this one
knows only the instructions that build plain containers and numpy arrays, and treats a handful of names
(numpy's array, dtype and scalar constructors) as symbols that it works out itself. Everything else is refused.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from phonecv.errors import UserError

#: More instructions than any weight file needs (about 30 per array), few enough to run in a second.
MAX_INSTRUCTIONS = 500_000

#: numpy moved these modules in version 2; files of both ages exist.
_NUMPY_CORES = ("numpy.core", "numpy._core")

#: Codes of the array elements that a weight file may hold: booleans, integers and floating point.
_DTYPES = frozenset(["?", "b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])


class Refused(UserError):
    """The file asks for something other than plain data."""


class Dtype:
    """Stands for ``numpy.dtype``; an object of this class is all that a file gets to configure."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        code = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if code not in _DTYPES:
            raise Refused(f"it holds an array of element type {code!r}; weights are numbers (such as 'f4')")
        self.code: str = "?" if code == "b1" else code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        order = order.decode("ascii", "replace") if isinstance(order, bytes) else order
        if order not in ("<", ">", "=", "|"):
            raise Refused(f"it holds an array with byte order {order!r}")
        self.order = "=" if order == "|" else order

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type."""
        return np.dtype(self.order + self.code)


class Array:
    """Stands for a ``numpy.ndarray`` that is filled in a second step, as numpy pickles it."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise Refused("it holds an array in a form that numpy does not write")
        _, shape, dtype, fortran, data = state
        if isinstance(data, str):  # how Python 2 spelled bytes
            data = encode(data)
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    """An array over `data`, after checking that the shape asks for exactly these bytes."""
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes | bytearray):
        raise Refused("it holds an array of objects; weights are numbers")
    shape = (shape,) if isinstance(shape, int) else shape
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
        raise Refused(f"it holds an array of shape {shape!r}")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise Refused(f"it holds an array of shape {shape} with {len(data)} bytes of {dtype.code} values")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> np.ndarray[Any, Any]:
    """What protocol 5 calls for an array whose bytes are at hand."""
    return _array(data, dtype, shape, str(order))


def scalar(dtype: Any, data: Any) -> Any:
    """A numpy scalar as an ordinary Python number."""
    return _array(data, dtype, (), "C").item()


def encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How protocols 0 to 2 spell bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused(f"it holds bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    """How protocols 0 to 2 spell bytes when there are none."""
    if arguments:
        raise Refused("it makes bytes in an unusual form")
    return b""


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    if not isinstance(items, list | tuple):
        raise Refused("it holds an ordered mapping in an unusual form")
    made: dict[Any, Any] = {}
    for pair in items:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Refused("it holds an ordered mapping in an unusual form")
        made[_key(pair[0])] = pair[1]
    return made


class _NdarrayClass:
    """The symbol ``numpy.ndarray``: an argument of numpy's constructors, never called."""

    __slots__ = ()

    def __call__(self, *_: Any) -> Any:
        raise Refused("it calls numpy.ndarray, which numpy's own files do not")


#: The names a file may use, and what they mean here.
CONSTRUCTORS: Mapping[str, Callable[..., Any]] = {
    "numpy.dtype": Dtype,
    "numpy.ndarray": _NdarrayClass(),
    "_codecs.encode": encode,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": _ordered_dict,
    **{f"{core}.multiarray._reconstruct": Array for core in _NUMPY_CORES},
    **{f"{core}.multiarray.scalar": scalar for core in _NUMPY_CORES},
    **{f"{core}.numeric._frombuffer": array_from_buffer for core in _NUMPY_CORES},
}


def load_pickle(data: bytes) -> Any:
    """The plain data in a pickle of protocol 2 to 5: containers, strings, numbers, numpy arrays.

    Raises:
        Refused: it asks for anything else, or is not a well-formed pickle.
    """
    try:
        return _Machine().run(data)
    except Refused:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        # Damaged bytes show as any of these: a missing memo entry, an empty stack, a short read.
        raise Refused(f"its pickle is damaged ({error or type(error).__name__})") from error


class _Global:
    """A name that the file mentions."""

    __slots__ = ("call", "name")

    def __init__(self, name: str) -> None:
        if name not in CONSTRUCTORS:
            raise Refused(
                f"unsafe content: it asks to run {name!r}, which a weight file has no use for; nothing was run. "
                "Do not open it with another program; get it anew from a source you trust"
            )
        self.name, self.call = name, CONSTRUCTORS[name]


class _Machine:
    """Interprets the instructions one by one."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.spent = self.budget = 0

    def run(self, data: bytes) -> Any:
        """Execute the program; whatever is on top of the stack at its end is the result."""
        self.budget = 2 * len(data) + 1_000_000
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MAX_INSTRUCTIONS:
                raise Refused("it is far more complicated than a weight file")
            name = opcode.name
            if name == "STOP":
                return finish(self.stack.pop())
            if name in _PUSH_ARGUMENT:
                self.stack.append(argument)
            elif name in _PUSH_NEW:
                self.stack.append(_PUSH_NEW[name]())
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise Refused(
                    f"unsafe content: it uses the pickle instruction {name}, which a weight file has no use for"
                )
        raise Refused("its pickle ends too early")

    def since_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("stack is empty")
        items = tuple(self.stack[-count:])
        self.stack[-count:] = [items]

    def set_items(self, items: Sequence[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise Refused("unsafe content: it assigns into something that is not a mapping")
        for i in range(0, len(items), 2):
            target[_key(items[i])] = items[i + 1]

    def append(self, items: Sequence[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Refused("unsafe content: it appends to something that is not a list")
        self.stack[-1].extend(items)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or type(arguments) is not tuple:
            raise Refused("unsafe content: it calls something that is not one of numpy's constructors")
        made = function.call(*arguments)
        if isinstance(made, bytes):
            # A text that is referred to over and over would otherwise multiply in memory.
            self.spent += len(made)
            if self.spent > self.budget:
                raise Refused("it unpacks to far more bytes than it has")
        self.stack.append(made)

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Array | Dtype):
            raise Refused("unsafe content: it changes the inside of an object that is not an array")
        target.__setstate__(state)

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_Global(f"{module}.{name}"))


def _key(value: Any) -> Any:
    # Anything nested as a key would be hashed by recursion without a limit.
    if not isinstance(value, str | int | float | bytes | None):
        raise Refused(f"a mapping has a key of type {type(value).__name__}; names are strings")
    return value


def finish(value: Any) -> Any:
    """Replace the stand-ins in mappings and lists by their numpy arrays, in place.

    Each container is visited once: a small file can refer to the same one a million times.
    """
    if isinstance(value, Array):
        return value.value
    todo, seen = [value], {id(value)}
    while todo:
        container = todo.pop()
        items = (
            container.items() if type(container) is dict else enumerate(container) if type(container) is list else ()
        )
        for key, item in list(items):
            if isinstance(item, Array):
                container[key] = item.value
            elif type(item) in (dict, list) and id(item) not in seen:
                seen.add(id(item))
                todo.append(item)
    return value


_PUSH_ARGUMENT = frozenset(
    (
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4",
        "FLOAT", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE",
        "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
        "STRING", "BINSTRING", "SHORT_BINSTRING",
    )
)  # fmt: skip
_PUSH_NEW: Mapping[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}


def _put(machine: _Machine, index: Any) -> None:
    machine.memo[int(index)] = machine.stack[-1]


def _get(machine: _Machine, index: Any) -> None:
    machine.stack.append(machine.memo[int(index)])


def _make_dict(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    machine.stack.append({})
    machine.set_items(items)


_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "MEMOIZE": lambda m, _: _put(m, len(m.memo)),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "TUPLE": lambda m, _: m.stack.append(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "LIST": lambda m, _: m.stack.append(m.since_mark()),
    "DICT": _make_dict,
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "APPEND": lambda m, _: m.append([m.stack.pop()]),
    "APPENDS": lambda m, _: m.append(m.since_mark()),
    "GLOBAL": lambda m, name: m.stack.append(_Global(".".join(name.split(" ", 1)))),
    "STACK_GLOBAL": lambda m, _: m.stack_global(),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
}
