"""Reading a pickle as data: no object of the file's choosing is ever made, so none of its code can run.

A pickle is a small program for a stack machine. Python's own reader calls whatever the program names; this one
knows only the instructions that build plain containers, and treats a handful of names (constructors of arrays and
tensors) as symbols that it works out itself. Objects of other classes become inert stand-ins, see `stand_ins`; whoever
wants anything else called is refused.

A file of 200 bytes can describe a tuple that unfolds to more than any memory: here nothing is hashed, compared,
copied or printed before its type and length are known, and whatever takes time or room is charged to an account.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from phonecv.errors import UserError
from phonecv.text import brief
from phonecv.weights.stand_ins import Inert, is_class_like, may_be_mentioned

#: More instructions than any checkpoint needs (about 40 per tensor), few enough to run in seconds.
MAX_INSTRUCTIONS = 1_000_000

#: Longest key of a mapping, and widest whole number as one: both are hashed, and compared, each time they are used.
_LONGEST_KEY, _WIDEST_KEY = 20_000, 64

#: No array or tensor has more dimensions; more than any side is long.
MAX_DIMENSIONS, _MAX_SIDE = 64, 2**48

#: What making an array or tensor and copying an item cost, in bytes of a file that has its own; and most of all.
_CALL, _ITEM, _MOST = 50, 16, 2**28

#: numpy moved these modules in version 2; files of both ages exist.
_NUMPY_CORES = ("numpy.core", "numpy._core")

#: Codes of the array elements that a weight file may hold: booleans, integers and floating point.
_NUMBERS = frozenset(["?", "b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
_TEXTS = re.compile(r"[US][0-9]{1,6}")


class Refused(UserError):
    """The file asks for something other than plain data."""


def unsafe(name: str) -> Refused:
    """The refusal of a file that wants something called."""
    return Refused(
        f"unsafe content: it asks to run {brief(name, 100)}, which a weight file has no use for; nothing was run. "
        "Do not open it with another program; get it anew from a source you trust"
    )


class Symbol:
    """A name that the file mentions: of a constructor that is known here, of a class, or of something never called."""

    __slots__ = ("call", "module", "name")

    def __init__(self, module: str, name: str, call: Callable[..., Any] | None) -> None:
        self.module, self.name, self.call = module, name, call

    @property
    def path(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.name}"


class Dtype:
    """Stands for ``numpy.dtype``; an object of this class is all that a file gets to configure."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any = None, *_: Any) -> None:
        text = _text(code)
        if text is None:
            raise Refused(f"it holds an array whose element type is {brief(code)}; weights are numbers (such as 'f4')")
        self.code: str = "?" if text == "b1" else text
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1]) if type(state) is tuple and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise Refused("it holds an array with an unknown byte order")
        self.order = "=" if order == "|" else order

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The numpy type; None for objects, dates and records, which are no weights and are left out."""
        if self.code in _NUMBERS or _TEXTS.fullmatch(self.code):
            return np.dtype(self.order + self.code)
        return None


def _text(value: Any) -> str | None:
    """A short text; Python 2 spelled it as bytes."""
    if type(value) is bytes and len(value) <= 40:
        return value.decode("ascii", "replace")
    return value if type(value) is str and len(value) <= 40 else None


class Array:
    """Stands for a ``numpy.ndarray`` that is filled in a second step, as numpy pickles it."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value: Any = None

    def __setstate__(self, state: Any) -> None:
        if not (type(state) is tuple and len(state) == 5):
            raise Refused("it holds an array in a form that numpy does not write")
        _, shape, dtype, fortran, data = state
        if type(data) is str:  # how Python 2 spelled bytes
            data = encode(data)
        self.value = _array(data, dtype, shape, "F" if fortran is True else "C")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> Any:
    """An array over `data`, after checking that the shape asks for exactly these bytes."""
    if not isinstance(dtype, Dtype):
        raise Refused("it holds an array of objects; weights are numbers")
    kind = dtype.dtype
    if kind is None:
        return Inert("numpy.ndarray")
    if not isinstance(data, bytes | bytearray):
        raise Refused("it holds an array of objects; weights are numbers")
    shape = shape_of((shape,) if type(shape) is int else shape)
    if math.prod(shape) * kind.itemsize != len(data):
        raise Refused(f"it holds an array of shape {shape} with {len(data)} bytes of {dtype.code} values")
    if kind.itemsize == 0:
        return Inert("numpy.ndarray")
    return np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")


def shape_of(value: Any) -> tuple[int, ...]:
    """Sides of an array, or offset and strides."""
    if type(value) not in (tuple, list) or len(value) > MAX_DIMENSIONS:
        raise Refused(f"it holds an array of shape {brief(value)}")
    if not all(type(n) is int and 0 <= n <= _MAX_SIDE for n in value):
        raise Refused(f"it holds an array of shape {brief(value)}")
    return tuple(value)


def array_from_buffer(data: Any = None, dtype: Any = None, shape: Any = (), order: Any = "C", *_: Any) -> Any:
    """What protocol 5 calls for an array whose bytes are at hand."""
    return _array(data, dtype, shape, "F" if _text(order) == "F" else "C")


def scalar(dtype: Any = None, data: Any = None) -> Any:
    """A numpy scalar as an ordinary Python number."""
    value = _array(data.encode("latin1") if type(data) is str and len(data) <= 40 else data, dtype, (), "C")
    return value.item() if isinstance(value, np.ndarray) else value


def encode(text: Any = None, encoding: Any = "latin1", *_: Any) -> bytes:
    """How protocols 0 to 2 spell bytes."""
    if type(text) is not str or _text(encoding) not in ("latin1", "latin-1"):
        raise Refused(f"it holds bytes in the encoding {brief(encoding)}")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    """How protocols 0 to 2 spell bytes when there are none."""
    if arguments:
        raise Refused("it makes bytes in an unusual form")
    return b""


def _ordered_dict(items: Any = (), *_: Any) -> dict[Any, Any]:
    if type(items) not in (list, tuple):
        raise Refused("it holds an ordered mapping in an unusual form")
    made: dict[Any, Any] = {}
    for pair in items:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise Refused("it holds an ordered mapping in an unusual form")
        _put_item(made, *pair)
    return made


def _refuse_ndarray(*_: Any) -> Any:
    raise Refused("it calls numpy.ndarray, which numpy's own files do not")


Names: TypeAlias = Mapping[str, Callable[..., Any]]

#: The names that every file may use, and what they mean here. Arguments are the file's: each checks what it is given.
CONSTRUCTORS: Names = {
    "numpy.dtype": Dtype,
    "numpy.ndarray": _refuse_ndarray,
    "_codecs.encode": encode,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": _ordered_dict,
    **{f"{core}.multiarray._reconstruct": Array for core in _NUMPY_CORES},
    **{f"{core}.multiarray.scalar": scalar for core in _NUMPY_CORES},
    **{f"{core}.numeric._frombuffer": array_from_buffer for core in _NUMPY_CORES},
}


def run(
    stream: BinaryIO, size: int, names: Names = CONSTRUCTORS, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Run one pickle of a stream, which is left behind its end; `size` of the file bounds what it may unpack to.

    `names` are constructors that it may use, `persistent` says what an identifier outside the pickle stands for.

    Raises:
        Refused: it asks for anything else, or is not a well-formed pickle.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools decodes names, and Python warns of odd escapes in them
            return Machine(size, names, persistent).run(stream)
    except Refused:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        # Damaged bytes show as any of these: a missing memo entry, an empty stack, a short read.
        raise Refused(f"its pickle is damaged ({str(error)[:200] or type(error).__name__})") from error


class Machine:
    """Interprets the instructions one by one."""

    def __init__(self, size: int, names: Names, persistent: Callable[[Any], Any] | None = None) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.names, self.persistent = names, persistent
        self.left = min(2 * size + 1_000_000, _MOST)

    def run(self, stream: BinaryIO) -> Any:
        """Execute the program; whatever is on top of the stack at its end is the result."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_INSTRUCTIONS:
                raise Refused("it is far more complicated than a weight file")
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
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

    def charge(self, cost: int) -> None:
        """Pay for what a single instruction copies; a container that is referred to over and over would cost hours."""
        self.left -= cost
        if self.left < 0:
            raise Refused("it unpacks to far more than it has")

    def since_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop(self) -> None:
        """Throw away what is on top: a value, or the mark."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def tuple_of(self, count: int) -> None:
        """Put the last values into a tuple."""
        if len(self.stack) < count:
            raise IndexError("stack is empty")
        items = tuple(self.stack[-count:])
        self.stack[-count:] = [items]

    def set_items(self, items: Sequence[Any]) -> None:
        """Keys and values by turns, into the mapping below them."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise Refused("unsafe content: it assigns into something that is not a mapping")
        for i in range(0, len(items), 2):
            _put_item(target, items[i], items[i + 1])

    def append(self, items: Iterable[Any]) -> None:
        """Values, onto the list below them; those of a set are not needed."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, Inert):
            raise Refused("unsafe content: it appends to something that is not a list")

    def make(self) -> None:
        """Both instructions that make an object: by calling a function, and by ``__new__`` of a class."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Symbol) or type(arguments) is not tuple:
            raise Refused("unsafe content: it calls something that is not a name it has mentioned")
        if function.call is None:
            self.stack.append(self._stand_in(function, arguments))
            return
        if len(arguments) > 16:
            raise Refused(f"it calls {function.path} with {len(arguments):,} arguments")
        self.charge(_CALL + sum(_cost(argument) for argument in arguments))
        made = function.call(*arguments)
        if isinstance(made, bytes):
            self.charge(len(made))
        self.stack.append(made)

    def _stand_in(self, symbol: Symbol, arguments: tuple[Any, ...]) -> Inert:
        # How early releases of Python 3.11 spell a member of an enumeration, and several of a flag's.
        if symbol.path in ("builtins.getattr", "__builtin__.getattr"):
            owner, member = (*arguments, None, None)[:2]
            if not isinstance(owner, Symbol) or not is_class_like(owner.module, owner.name) or type(member) is not str:
                raise unsafe(symbol.path)
        elif symbol.path == "_operator.or_":
            if not (arguments and all(isinstance(argument, Inert) for argument in arguments)):
                raise unsafe(symbol.path)
        elif not is_class_like(symbol.module, symbol.name):
            raise unsafe(symbol.path)
        made = Inert(symbol.path)
        if arguments and type(arguments[0]) is dict:  # what a mapping of another class is made from
            self.charge(_cost(arguments[0]))
            made.update(arguments[0])
        return made

    def build(self) -> None:
        """Set the state of an object: of an array, of its type, or of a stand-in."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Array | Dtype):
            if type(state) is tuple and len(state) == 5 and type(state[4]) is str:
                self.charge(_cost(state[4]))
            target.__setstate__(state)
        elif isinstance(target, Inert):
            for part in state[:2] if type(state) is tuple else (state,):  # the second is that of __slots__
                if isinstance(part, dict):
                    self.charge(_cost(part))
                    target.update(part)
        elif type(target) is not dict:
            # An ordered mapping's attributes, such as the versions in a state_dict, are not needed.
            raise Refused("unsafe content: it changes the inside of an object that is not an array")

    def symbol(self, module: Any, name: Any) -> None:
        """Mention a class or function."""
        if type(module) is not str or type(name) is not str or len(module) + len(name) > 500:
            raise Refused("it mentions something that is not a name")
        call = self.names.get(f"{module}.{name}")
        if call is None and not may_be_mentioned(module, name):
            raise unsafe(f"{module}.{name}")
        self.stack.append(Symbol(module, name, call))

    def outside(self, identifier: Any) -> None:
        """Refer to something outside of the pickle."""
        if self.persistent is None:
            raise Refused("unsafe content: it refers to something outside of it, which a weight file has no use for")
        self.stack.append(self.persistent(identifier))


def _cost(value: Any) -> int:
    """What going through a value once costs."""
    if type(value) in (str, bytes, bytearray):
        return len(value)
    return _ITEM * len(value) if isinstance(value, list | tuple | dict) else 0


def _put_item(target: dict[Any, Any], key: Any, value: Any) -> None:
    """One item of a mapping, left out if its key is an object or nested: such mappings hold no weights."""
    if (type(key) in (str, bytes) and len(key) > _LONGEST_KEY) or (type(key) is int and key.bit_length() > _WIDEST_KEY):
        raise Refused(f"a mapping has the key {brief(key)}; names are short strings")
    if key is None or type(key) in (str, bytes, int, float, bool):
        target[key] = value


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
            container.items()
            if isinstance(container, dict)
            else enumerate(container)
            if type(container) is list
            else ()
        )
        for key, item in list(items):
            if isinstance(item, Array):
                container[key] = item.value
            elif isinstance(item, dict | list) and id(item) not in seen:
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
    "EMPTY_SET": lambda: Inert("builtins.set"),
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}


def _put(machine: Machine, index: Any) -> None:
    machine.memo[int(index)] = machine.stack[-1]


def _get(machine: Machine, index: Any) -> None:
    machine.stack.append(machine.memo[int(index)])


def _make_dict(machine: Machine, _: Any) -> None:
    items = machine.since_mark()
    machine.stack.append({})
    machine.set_items(items)


def _make_set(machine: Machine, _: Any) -> None:
    machine.since_mark()
    machine.stack.append(Inert("builtins.frozenset"))


def _named(machine: Machine, text: str) -> None:
    module, _, name = text.partition(" ")
    machine.symbol(module, name)


def _named_on_stack(machine: Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.symbol(module, name)


def _make_with_keywords(machine: Machine, _: Any) -> None:
    machine.stack.pop()
    machine.make()


_ACTIONS: Mapping[str, Callable[[Machine, Any], None]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.since_mark().clear(),
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
    "FROZENSET": _make_set,
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "APPEND": lambda m, _: m.append([m.stack.pop()]),
    "APPENDS": lambda m, _: m.append(m.since_mark()),
    "ADDITEMS": lambda m, _: m.append(m.since_mark()),
    "GLOBAL": _named,
    "STACK_GLOBAL": _named_on_stack,
    "REDUCE": lambda m, _: m.make(),
    "NEWOBJ": lambda m, _: m.make(),
    "NEWOBJ_EX": _make_with_keywords,
    "BUILD": lambda m, _: m.build(),
    "PERSID": lambda m, text: m.outside(text),
    "BINPERSID": lambda m, _: m.outside(m.stack.pop()),
}
