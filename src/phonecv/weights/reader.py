"""Opening a weight file of any known container without running code from it.

What a file is, is told by its content, never by its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from phonecv.errors import UserError
from phonecv.text import brief
from phonecv.weights.pickles import MAX_DIMENSIONS
from phonecv.weights.stand_ins import Inert
from phonecv.weights.torch_files import (
    COMPLEX,
    LEGACY,
    NO_DATA,
    Unusable,
    is_network,
    read_legacy,
    read_pickle,
    read_zip,
    state_of_network,
)

#: Far above every published file (the largest is 60 MB), far below what would fill a machine.
MAX_BYTES = 2 * 2**30
#: A header of 5,000 tensors has 0.5 MB; as objects it takes twenty times its length.
MAX_HEADER_BYTES = 8 * 2**20
#: More tensors than any checkpoint has; each takes time.
_MOST_TENSORS = 20_000
#: All tensors together may have so many times the bytes of the file: some share their values.
_MOST_SHARED = 8
#: How deep within mappings a training program may put weights.
_DEPTH = 4

_SAFETENSORS_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8,
    "F16": 2, "BF16": 2, "F32": 4, "F64": 8, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RawFile:
    """What a file holds, before anyone asks what it means.

    Attributes:
        path: the file.
        kind: container: "torch-zip", "torch-legacy", "safetensors" or "pickle".
        content: the mapping as stored; tensors are on the CPU, numpy arrays have become tensors.
        metadata: texts of a safetensors header.
        bytes: size of the file.
    """

    path: Path
    kind: str
    content: Mapping[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)
    bytes: int = 0


def read_file(path: Path | str) -> RawFile:
    """Read a checkpoint of any known container.

    Raises:
        UserError: the file is missing, damaged, unsafe, or no checkpoint at all; the message says which.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the checkpoint file in it")
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the path of a checkpoint file")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path} is empty (0 bytes); get the file again")
    if size > MAX_BYTES:
        raise UserError(f"{path} has {size:,} bytes; checkpoints of more than {MAX_BYTES:,} are not read")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        if head.startswith(b"PK\x03\x04"):
            kind, content, metadata = "torch-zip", read_zip(path, size), {}
        elif head.startswith(LEGACY):
            kind, content, metadata = "torch-legacy", read_legacy(path.read_bytes()), {}
        elif len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
            kind, content, metadata = "pickle", read_pickle(path.read_bytes()), {}
        elif path.suffix == ".safetensors" or head[8:9] == b"{":
            kind = "safetensors"
            data = path.read_bytes()
            metadata = _safetensors_header(data)
            content = load_safetensors(data)
        else:
            raise UserError(_what_is_it(path, head))
    except UserError as error:
        raise type(error)(f"{path}: {error}") from error
    except SafetensorError as error:
        raise UserError(f"{path}: damaged safetensors file ({error}); get it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    content = as_mapping(content, str(path))
    if _bytes_of(content) > _MOST_SHARED * size + 2**20:
        raise UserError(f"{path}: its tensors claim far more values than the file holds; get it again")
    return RawFile(path, kind, content, metadata, size)


def as_mapping(content: Any, source: str) -> dict[str, Any]:
    """Check that `content` is a mapping with names as keys, and turn its arrays (some levels deep) into tensors.

    A whole network of torch's that was pickled becomes its state_dict.
    """
    if is_network(content):
        content = state_of_network(content)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{source} holds a {type(content).__name__}, not a mapping of names to tensors; "
            "save model.state_dict() instead"
        )
    if not content:
        raise UserError(f"{source} holds an empty mapping: there is no tensor in it")
    for key in content:
        if not isinstance(key, str):
            raise UserError(
                f"{source} has the key {brief(key)} ({type(key).__name__}); tensors need names, such as 'head.weight'"
            )
    made: dict[int, Any] = {}
    return {key: _tensors(value, (source, ": ", key), _DEPTH, made) for key, value in content.items()}


def _tensors(value: Any, where: tuple[str, ...], depth: int, made: dict[int, Any]) -> Any:
    """`value` with tensors for arrays; `where` it is is put together only for a message."""
    if isinstance(value, np.ndarray | Mapping) and id(value) in made:
        return made[id(value)]  # walked once, however often a small file refers to it
    if isinstance(value, np.ndarray):
        made[id(value)] = _from_numpy(value)
        return made[id(value)]
    if isinstance(value, Unusable):
        raise UserError(f"{_place(where)} {value.reason}")
    if isinstance(value, Tensor):
        check_tensor(value, where)
        return value.detach().cpu()
    if is_network(value):
        value = state_of_network(value)
    if depth > 1 and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        inner: dict[str, Any] = {}
        made[id(value)] = inner
        for key, item in value.items():
            inner[key] = _tensors(item, (*where, ".", key), depth - 1, made)
        return inner
    return value


def _place(where: tuple[str, ...]) -> str:
    return "".join(where[:1]) + "".join(part if len(part) < 200 else brief(part) for part in where[1:])


def _from_numpy(value: np.ndarray[Any, Any]) -> Any:
    """A tensor of numbers; a list of the texts in an array of them, such as class names; else a stand-in."""
    if value.dtype.kind in "biuf":
        value = value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
        return torch.from_numpy(np.array(value, order="C"))
    if value.dtype.kind in "US" and value.ndim == 1:
        try:
            return [text.decode() if isinstance(text, bytes) else str(text) for text in value.tolist()]
        except ValueError:  # bytes that are no text
            pass
    return Inert("numpy.ndarray")


def _bytes_of(content: Mapping[str, Any]) -> int:
    """Bytes that all tensors take once they are copied, as turning them into float32 does."""
    total, todo, seen = 0, [content], {id(content)}
    while todo:
        for value in todo.pop().values():
            if isinstance(value, Tensor):
                total += value.numel() * value.element_size()
            elif isinstance(value, Mapping) and id(value) not in seen:
                seen.add(id(value))
                todo.append(value)
    return total


#: Element types that become weights or counters.
_READ = frozenset(
    [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
    + [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    + [getattr(torch, name) for name in ("uint16", "uint32", "uint64") if hasattr(torch, name)]
    + [value for name, value in vars(torch).items() if name.startswith("float8_e") and name != "float8_e8m0fnu"]
)


def check_tensor(tensor: Tensor, where: tuple[str, ...]) -> None:
    """Refuse tensors that are not what they seem: sparse, without data, or larger than their storage."""
    reason = ""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        reason = f"is not an ordinary dense tensor ({tensor.layout}); save plain weights"
    elif tensor.is_meta:
        reason = NO_DATA
    elif tensor.is_complex():
        reason = COMPLEX
    elif tensor.dtype not in _READ:
        reason = f"has elements of type {tensor.dtype}, which are not read; save float32 weights"
    # Zero strides make a small storage look huge; a copy would then fill the memory.
    elif tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        reason = f"claims {tuple(tensor.shape)} values, more than are stored"
    if reason:
        raise UserError(f"{_place(where)} {reason}")


def _safetensors_header(data: bytes) -> dict[str, str]:
    """Check the header against the file before anything is allocated by it; returns the metadata texts."""
    if len(data) < 10:
        raise UserError(f"damaged safetensors file: only {len(data)} bytes; get it again")
    length = int.from_bytes(data[:8], "little")
    if length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise UserError(f"damaged safetensors file: its header claims {length:,} bytes, the file has {len(data):,}")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise UserError(f"damaged safetensors file: its header is not JSON ({str(error)[:100]})") from error
    if not isinstance(header, dict):
        raise UserError("damaged safetensors file: its header is not a mapping")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UserError("damaged safetensors file: its metadata are not texts")
    if len(header) > _MOST_TENSORS:
        raise UserError(
            f"its header lists {len(header):,} tensors; checkpoints of more than {_MOST_TENSORS:,} are not read"
        )
    end, available = 0, len(data) - 8 - length
    entries = []
    for name, entry in header.items():
        start, stop = _extent(name, entry, available)
        entries.append((start, stop, name))
    for start, stop, name in sorted(entries):
        if start != end:
            raise UserError(
                f"damaged safetensors file: the data of {brief(name, 200)} overlaps its neighbour or leaves a gap"
            )
        end = stop
    return metadata


def _extent(name: str, entry: Any, available: int) -> tuple[int, int]:
    """First byte and end of a tensor's data, after checking that its shape asks for exactly these."""
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"damaged safetensors file: the entry of {brief(name, 200)} is incomplete") from error
    if not isinstance(dtype, str) or dtype not in _SAFETENSORS_BYTES:
        raise UserError(f"{brief(name, 200)} has element type {brief(dtype)}; known: {', '.join(_SAFETENSORS_BYTES)}")
    damaged = f"damaged safetensors file: {brief(name, 200)}"
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise UserError(f"{damaged} has the shape {brief(shape)}; it has at most {MAX_DIMENSIONS} sides")
    if not all(type(n) is int and 0 <= n < 2**63 for n in (*shape, start, stop)):
        raise UserError(f"{damaged} has shape {brief(shape)} at {brief(start)}..{brief(stop)}")
    claimed = _SAFETENSORS_BYTES[dtype]
    for side in shape:
        claimed = min(claimed * side, 2**62)
    if claimed != stop - start or stop > available or (claimed == 0 and max(shape) > available):
        raise UserError(
            f"{damaged} claims shape {brief(shape)} of {dtype}, but its data has "
            f"{max(min(stop, available) - start, 0):,} bytes"
        )
    return start, stop


def _what_is_it(path: Path, head: bytes) -> str:
    """A short message on a file that is no checkpoint."""
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, not a checkpoint: the download failed (quota, login or a wrong link); get it again"
    if text.startswith(b"version https://git-lfs"):
        return "it is a git-lfs pointer, not the checkpoint itself; run `git lfs pull` or download the file directly"
    if head.startswith(b"\x93NUMPY"):
        return (
            "it is a numpy array file (.npy), which may hold a pickle and is not read; give a .pth or .safetensors file"
        )
    if head.startswith(b"\x1f\x8b"):
        return "it is gzip-compressed; unpack it first"
    if head[257:262] == b"ustar":
        return "it is a tar archive (the oldest torch format or a packed folder); unpack it and give the file inside"
    if path.suffix == ".onnx":
        return (
            "it is not a checkpoint (an ONNX file by its name); checkpoints are .pth, .safetensors or .pdparams files"
        )
    printable = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if printable == len(head):
        start = head[:40].decode("ascii").replace("\n", " ")
        return f"it is a text file ({start!r}...), not a checkpoint; text is not executed or evaluated"
    return "it is not a checkpoint of a known format (torch, safetensors, Paddle's .pdparams)"
