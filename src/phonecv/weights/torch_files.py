"""Torch's files, of today's and of the oldest format, read without torch's own reader.

Both hold a pickle (see `pickles`) that refers to storages: runs of bytes which are records of a zip archive, or follow
the pickle. Only storages that a tensor is made from are read, and a tensor is made only when its shape lies within.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from phonecv.errors import UserError
from phonecv.text import brief
from phonecv.weights import pickles
from phonecv.weights.pickles import Refused, Symbol, shape_of
from phonecv.weights.stand_ins import Inert

#: First bytes of the old format: a pickle (protocol 2) of its magic number.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

#: Longest list of records of a zip archive that is read; one of 5,000 tensors has 0.4 MB.
_MAX_DIRECTORY = 16 * 2**20

#: What a storage's class says of its elements; complex and quantized ones are no weights.
_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}  # fmt: skip
#: Elements of tensors that are made of a storage without a class. Those of eight bits are read as what they say.
_DTYPES = {
    f"torch.{name}": getattr(torch, name)
    for name in (
        "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint16",
        "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
    )
    if hasattr(torch, name)
}  # fmt: skip


#: Why a tensor cannot be used.
NO_DATA = "has a shape but no data; save the state of a network that has its weights"
COMPLEX = "holds complex numbers; weights are real"


class Unusable:
    """A tensor that is no plain array of numbers; harmless where nobody wants it."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Storage:
    """A run of elements that tensors are views of (`base`, one-dimensional), or the reason why there can be none."""

    __slots__ = ("base", "reason")

    def __init__(self, base: Tensor, reason: str = "") -> None:
        self.base, self.reason = base, reason


def _dtype_of(kind: Any, place: str) -> tuple[torch.dtype | None, str]:
    """Element type that a storage's class stands for, or why there is none to read."""
    if not isinstance(kind, Symbol):
        raise Refused("it holds a storage of no type")
    name = kind.name.rpartition(".")[2]
    if place == "meta":
        return None, NO_DATA
    if name in _STORAGES:
        return _STORAGES[name], ""
    if name.startswith("Complex"):
        return None, COMPLEX
    if name.startswith("Q"):
        return None, "is not an ordinary dense tensor (quantized); save plain weights"
    raise Refused(f"it holds a storage of the unknown type {brief(kind.path)}")


def _view(storage: Any, base: Tensor, offset: Any, size: Any, stride: Any) -> Tensor | Unusable:
    if storage.reason:
        return Unusable(storage.reason)
    size, stride = shape_of(size), shape_of(stride)
    (offset,) = shape_of((offset,))
    if len(size) != len(stride):
        raise Refused("it holds a tensor whose shape and strides disagree")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= base.numel():
        raise Refused(f"it holds a tensor of shape {brief(size)}, more than is stored")
    values = 1
    for n in size:
        values *= n
        if values > base.numel() and 0 not in size:
            # Zero strides make a small storage look huge; a copy would then fill the memory.
            return Unusable(f"claims {brief(size)} values, more than are stored")
    return base.as_strided(size, stride, offset if 0 not in size else 0)


def _tensor(storage: Any = None, offset: Any = None, size: Any = None, stride: Any = None, *_: Any) -> Any:
    """Tensor, and tensor of a version long ago: a view of a storage."""
    if not isinstance(storage, Storage):
        raise Refused("it holds a tensor without a storage")
    return _view(storage, storage.base, offset, size, stride)


def _tensor_of_type(
    storage: Any = None,
    offset: Any = None,
    size: Any = None,
    stride: Any = None,
    _grad: Any = None,
    _hooks: Any = None,
    kind: Any = None,
    *_: Any,
) -> Any:
    """Tensor of a type that has no storage class, such as float8."""
    if not isinstance(storage, Storage) or not isinstance(kind, Symbol):
        raise Refused("it holds a tensor without a storage")
    dtype = _DTYPES.get(kind.path)
    if dtype is None:
        return Unusable(f"has elements of type {brief(kind.name)}, which are not read")
    whole = storage.base.numel() // dtype.itemsize * dtype.itemsize
    return _view(storage, storage.base[:whole].view(dtype), offset, size, stride)


def _first(value: Any = None, *_: Any) -> Any:
    """A parameter is its tensor here."""
    return value


def _subclass(function: Any = None, _kind: Any = None, arguments: Any = (), *_: Any) -> Any:
    """Tensors of other classes say how their plain tensor is made."""
    call = _NAMES.get(function.path) if isinstance(function, Symbol) else None
    if (
        call is None
        or call not in (_tensor, _tensor_of_type, _first)
        or type(arguments) is not tuple
        or len(arguments) > 16
    ):
        return Unusable("is a tensor of another program's class; save plain weights")
    return call(*arguments)


def _sizes(value: Any = (), *_: Any) -> tuple[int, ...]:
    return shape_of(value)


def _device(kind: Any = "cpu", *_: Any) -> Any:
    return kind if type(kind) is str else "cpu"


def _without(reason: str) -> Callable[..., Unusable]:
    return lambda *_: Unusable(reason)


_NOT_DENSE = "is not an ordinary dense tensor ({}); save plain weights"
_NAMES: dict[str, Callable[..., Any]] = {
    **pickles.CONSTRUCTORS,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type": _subclass,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._utils._rebuild_sparse_tensor": _without(_NOT_DENSE.format("sparse")),
    "torch._utils._rebuild_sparse_csr_tensor": _without(_NOT_DENSE.format("sparse")),
    "torch._utils._rebuild_nested_tensor": _without(_NOT_DENSE.format("nested")),
    "torch._utils._rebuild_qtensor": _without(_NOT_DENSE.format("quantized")),
    "torch._utils._rebuild_wrapper_subclass": _without(_NOT_DENSE.format("of a wrapper")),
    "torch._utils._rebuild_meta_tensor_no_storage": _without(NO_DATA),
    "torch._utils._rebuild_device_tensor_from_numpy": _without(_NOT_DENSE.format("of another device")),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch.Size": _sizes,
    "torch.device": _device,
    "torch.serialization._get_layout": lambda *_: Inert("torch.layout"),
}


def _parts(identifier: Any) -> tuple[Any, str, str, int]:
    """Class, key, place and number of elements of a storage that a pickle refers to."""
    if type(identifier) is not tuple or not 5 <= len(identifier) <= 6:
        raise Refused("it refers to something that is not a storage")
    word, kind, key, place, count = identifier[:5]
    if len(identifier) == 6 and identifier[5] is not None:
        raise Refused("it was written by torch before 0.4; save it again with a later one")
    if type(word) is not str or word != "storage" or type(key) is not str or len(key) > 100:
        raise Refused("it refers to something that is not a storage")
    (count,) = shape_of((count,))
    return kind, key, place if type(place) is str and len(place) < 100 else "", count


def _network_class(identifier: Any) -> Symbol | None:
    """The class of a whole network, which older files refer to together with its source text."""
    if type(identifier) is tuple and len(identifier) == 4 and isinstance(identifier[1], Symbol):
        return identifier[1]
    return None


def read_zip(path: Path, size: int) -> Any:
    """What a torch file of today's format holds."""
    with path.open("rb") as file:
        members = _members(file, size)
        programs = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
        folder = programs[0].removesuffix("data.pkl")
        order = members.get(f"{folder}byteorder")
        if order is not None and _record(file, order) != b"little":
            raise UserError("it was written on a machine of another byte order; save it again on an ordinary one")
        made: dict[str, Storage] = {}

        def storage(identifier: Any) -> Storage | Symbol:
            if (kind := _network_class(identifier)) is not None:
                return kind
            kind, key, place, count = _parts(identifier)
            if key not in made:
                made[key] = _zip_storage(file, members.get(f"{folder}data/{key}"), kind, key, place, count)
            return made[key]

        program = io.BytesIO(_record(file, members[programs[0]]))
        return pickles.finish(pickles.run(program, size, _NAMES, storage))


def _zip_storage(
    file: BinaryIO, member: zipfile.ZipInfo | None, kind: Any, key: str, place: str, count: int
) -> Storage:
    dtype, reason = _dtype_of(kind, place)
    if dtype is None:
        return Storage(torch.empty(0), reason)
    if member is None:
        raise UserError(f"damaged torch file: its record {brief(key)} is missing; get it again")
    data = bytearray(_record(file, member))
    if count * dtype.itemsize > len(data):
        raise UserError(
            f"damaged torch file: its record {brief(key)} has {len(data):,} bytes of {count * dtype.itemsize:,};"
            " get it again"
        )
    return Storage(torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype))


def _members(file: BinaryIO, size: int) -> dict[str, zipfile.ZipInfo]:
    """The records of the archive: uncompressed, so they cannot unpack to more than the file."""
    try:
        _check_directory(file, size)
        with zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise UserError(f"damaged torch file: its end is missing ({str(error)[:100]}); get it again") from error
    if any(name.endswith("constants.pkl") for name in members):
        raise UserError("it is a TorchScript program, not weights; save model.state_dict() instead")
    if not any(name == "data.pkl" or name.endswith("/data.pkl") for name in members):
        numpy = members and all(name.endswith(".npy") for name in members)
        what = "a numpy archive (.npz)" if numpy else "a zip archive"
        raise UserError(f"it is {what}, not a checkpoint; give a .pth, .safetensors or .pdparams file")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
        raise UserError("it is a compressed zip archive; torch writes its files uncompressed. Unpack it and save again")
    if sum(member.file_size for member in members.values()) > size:
        raise UserError("its records claim more bytes than the file has; get it again")
    return members


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuse an archive whose list of records alone would fill the memory."""
    file.seek(max(0, size - 66_000))
    tail = file.read(66_000)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        raise zipfile.BadZipFile("no list of records")
    length = struct.unpack_from("<L", tail, end + 12)[0]
    if length == 0xFFFFFFFF:
        wide = tail.rfind(b"PK\x06\x06")
        length = struct.unpack_from("<Q", tail, wide + 40)[0] if wide >= 0 else 0
    if length > _MAX_DIRECTORY:
        raise zipfile.BadZipFile(f"a list of records of {length:,} bytes")
    file.seek(0)


def _record(file: BinaryIO, member: zipfile.ZipInfo) -> bytes:
    """Bytes of a record. Read by hand: torch can be told to write false checksums, which `zipfile` refuses."""
    try:
        file.seek(member.header_offset)
    except ValueError:  # beyond what a file can have
        header = b""
    else:
        header = file.read(30)
    if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
        raise UserError("damaged torch file: a record is not where it should be; get it again")
    name, extra = struct.unpack_from("<HH", header, 26)
    file.seek(name + extra, io.SEEK_CUR)
    data = file.read(member.file_size)
    if len(data) < member.file_size:
        raise UserError("damaged torch file: a record is cut off; get it again")
    return data


def read_legacy(data: bytes) -> Any:
    """What a torch file of the oldest format holds."""
    return pickles.finish(_read_legacy(data, _NAMES))


def read_pickle(data: bytes) -> Any:
    """What a bare pickle holds: Paddle's, or tensors that somebody pickled without torch's help."""
    budget = [2 * len(data)]

    def from_bytes(inner: Any = b"", *_: Any) -> Any:
        # A storage pickled by itself is a whole file of the oldest format; none of them holds another.
        if type(inner) is not bytes or not inner.startswith(LEGACY):
            raise Refused("it holds a storage in a form that torch does not write")
        budget[0] -= len(inner)
        if budget[0] < 0:
            raise Refused("it unpacks to far more than it has")
        return _read_legacy(inner, _NAMES)

    names = _NAMES | {"torch.storage._load_from_bytes": from_bytes}
    return pickles.finish(pickles.run(io.BytesIO(data), len(data), names))


def _read_legacy(data: bytes, names: pickles.Names) -> Any:
    stream, size = io.BytesIO(data), len(data)
    made: dict[str, tuple[Storage, torch.dtype, int]] = {}
    left = [size]

    def storage(identifier: Any) -> Storage | Symbol:
        if (kind := _network_class(identifier)) is not None:
            return kind
        kind, key, place, count = _parts(identifier)
        if key not in made:
            dtype, reason = _dtype_of(kind, place)
            width = dtype.itemsize if dtype is not None else 1
            left[0] -= count * width
            if left[0] < 0:
                raise Refused("its storages claim more bytes than the file has")
            base = torch.empty(0 if reason else count, dtype=dtype or torch.uint8)
            made[key] = Storage(base, reason), base.dtype, count
        return made[key][0]

    for _ in range(3):  # magic number, version of the format, facts about the machine
        pickles.run(stream, size)
    content = pickles.run(stream, size, names, storage)
    keys = pickles.run(stream, size)
    if type(keys) is not list or len(keys) > len(made):
        raise UserError("damaged torch file: its list of storages is missing; get it again")
    for key in keys:
        if type(key) is not str or key not in made:
            raise UserError("damaged torch file: its list of storages is wrong; get it again")
        _fill(stream, *made[key])
    if len(set(keys)) < len(made):
        raise UserError("damaged torch file: storages are missing; get it again")
    return content


def _fill(stream: io.BytesIO, storage: Storage, dtype: torch.dtype, count: int) -> None:
    head = stream.read(8)
    data = stream.read(count * dtype.itemsize) if head == struct.pack("<q", count) else b""
    if storage.reason:
        raise UserError(f"a tensor in it {storage.reason}")
    if len(data) < count * dtype.itemsize:
        raise UserError("damaged torch file: its end is missing; get it again")
    if count:
        storage.base.copy_(torch.frombuffer(bytearray(data), dtype=dtype))


def state_of_network(network: Inert) -> dict[str, Any]:
    """The state_dict of a whole network that somebody pickled, from its stand-in.

    Only attributes of ``torch.nn.Module`` are looked at; the network's own code has no part in it.
    """
    state: dict[str, Any] = {}
    seen: set[int] = set()
    for name, module in _modules(network, seen):
        for kind in ("_parameters", "_buffers"):
            tensors = module.get(kind)
            hidden = module.get("_non_persistent_buffers_set")
            for key, value in tensors.items() if isinstance(tensors, dict) else ():
                if type(key) is str and isinstance(value, Tensor | Unusable) and key not in (hidden or ()):
                    state[f"{name}{key}"] = value
    return state


def _modules(network: Inert, seen: set[int]) -> Iterator[tuple[str, Inert]]:
    """Names with a dot at the end, and stand-ins of modules, in the order of state_dict."""
    todo: list[tuple[str, Inert]] = [("", network)]
    while todo:
        name, module = todo.pop()
        if id(module) in seen or len(name) > 1000:
            continue
        seen.add(id(module))
        yield name, module
        inner = module.get("_modules")
        if isinstance(inner, dict):
            children = [(f"{name}{key}.", child) for key, child in inner.items() if type(key) is str]
            todo += [(key, child) for key, child in reversed(children) if isinstance(child, Inert)]


def is_network(value: Any) -> bool:
    """Whether this stands for a ``torch.nn.Module``."""
    return isinstance(value, Inert) and isinstance(value.get("_modules"), dict) and "_parameters" in value
