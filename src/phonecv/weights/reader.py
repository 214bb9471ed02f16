"""Opening a weight file of any known container without running code from it.

What a file is, is told by its content, never by its name.
"""

from __future__ import annotations

import json
import math
import pickle
import warnings
import zipfile
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
from phonecv.weights import pickles

#: Far above every published file (the largest is 60 MB), far below what would fill a machine.
MAX_BYTES = 2 * 2**30
MAX_HEADER_BYTES = 64 * 2**20

#: First bytes of the old torch format: a pickle (protocol 2) of its magic number.
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

_SAFETENSORS_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8,
    "F16": 2, "BF16": 2, "F32": 4, "F64": 8,
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
            _check_zip(path, size)
            kind, content, metadata = "torch-zip", _torch_load(path), {}
        elif head.startswith(_TORCH_LEGACY):
            kind, content, metadata = "torch-legacy", _torch_load(path), {}
        elif len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
            kind, content, metadata = "pickle", pickles.load_pickle(path.read_bytes()), {}
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
    return RawFile(path, kind, as_mapping(content, str(path)), metadata, size)


def as_mapping(content: Any, source: str) -> dict[str, Any]:
    """Check that `content` is a mapping with names as keys, and turn its arrays (two levels deep) into tensors.

    Raises:
        UserError: it is something else, or holds a tensor that is not an ordinary one.
    """
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
                f"{source} has the key {key!r} ({type(key).__name__}); tensors need names, such as 'head.weight'"
            )
    made: dict[int, Any] = {}
    return {key: _tensors(value, f"{source}: {key}", 2, made) for key, value in content.items()}


def _tensors(value: Any, where: str, depth: int, made: dict[int, Any]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise UserError(f"{where} is an array of {value.dtype}; weights are numbers")
        value = value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
        return torch.from_numpy(np.array(value, order="C"))
    if isinstance(value, Tensor):
        check_tensor(value, where)
        return value.detach().cpu()
    if depth and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        # Each mapping is walked once, however often a small file refers to it.
        if id(value) not in made:
            made[id(value)] = {key: _tensors(inner, f"{where}.{key}", depth - 1, made) for key, inner in value.items()}
        return made[id(value)]
    return value


def check_tensor(tensor: Tensor, where: str) -> None:
    """Refuse tensors that are not what they seem: sparse, without data, or larger than their storage.

    Raises:
        UserError: naming the tensor.
    """
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        raise UserError(f"{where} is not an ordinary dense tensor ({tensor.layout}); save plain weights")
    if tensor.is_meta:
        raise UserError(f"{where} has a shape but no data; save the state of a network that has its weights")
    if tensor.is_complex():
        raise UserError(f"{where} holds complex numbers; weights are real")
    # Zero strides make a small storage look huge; a copy would then fill the memory.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError(f"{where} claims {tuple(tensor.shape)} values, more than are stored")


class _Inert:
    """Stands for an object of which only its harmless presence is wanted, such as saved command-line arguments."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Forget the state."""


#: What training programs keep beside the weights that is neither plain data nor of use here.
_IGNORED = ("argparse.Namespace", "mmengine.logging.history_buffer.HistoryBuffer")


def _torch_load(path: Path) -> Any:
    """``torch.load`` in its restricted mode, with our own checked stand-ins for numpy scalars and the like.

    EMO's trainer saves scores as numpy scalars, timm's its parsed arguments, mmengine's the history of its losses.
    """
    allowed: list[Any] = [
        (call, name) for name, call in pickles.CONSTRUCTORS.items() if name != "collections.OrderedDict"
    ]
    allowed += [(_Inert, name) for name in _IGNORED]
    allowed += [(pickles.Dtype, "phonecv.weights.pickles.Dtype")]
    allowed += [(pickles.Array, "phonecv.weights.pickles.Array")]
    try:
        with warnings.catch_warnings():
            # The restricted reader warns about pickle protocols it has not been tried with; it still refuses what it
            # does not know.
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(allowed):
                return pickles.finish(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())
        if "GLOBAL" in reason or "reduce" in reason or "Can only" in reason:
            name = reason.partition("GLOBAL ")[2].split(" ")[0] or "an unknown function"
            raise pickles.Refused(
                f"unsafe content: it asks to run {name!r}, which a weight file has no use for; nothing was run. "
                "If you made it yourself, save only model.state_dict(); otherwise get it from a source you trust"
            ) from error
        raise UserError(f"damaged or unsupported torch file ({reason[-200:]}); get it again") from error
    except UserError:
        raise
    except Exception as error:  # torch reports damage by many types: EOFError, RuntimeError, KeyError, OSError, ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"damaged torch file ({reason}); get it again") from error


def _check_zip(path: Path, size: int) -> None:
    """A torch file stores its records uncompressed, so they cannot unpack to more than the file.

    Raises:
        UserError: it is a zip of another program, cut off, or compressed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise UserError(f"damaged torch file: its end is missing ({error}); get it again") from error
    names = [member.filename for member in members]
    if any(name.endswith("constants.pkl") for name in names):
        raise UserError("it is a TorchScript program, not weights; save model.state_dict() instead")
    if not any(name.endswith("data.pkl") for name in names):
        what = "a numpy archive (.npz)" if names and all(name.endswith(".npy") for name in names) else "a zip archive"
        raise UserError(f"it is {what}, not a checkpoint; give a .pth, .safetensors or .pdparams file")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UserError("it is a compressed zip archive; torch writes its files uncompressed. Unpack it and save again")
    if sum(member.file_size for member in members) > size:
        raise UserError("its records claim more bytes than the file has; get it again")


def _safetensors_header(data: bytes) -> dict[str, str]:
    """Check the header against the file before anything is allocated by it; returns the metadata texts.

    Raises:
        UserError: the header is too long, no JSON, or contradicts the data.
    """
    if len(data) < 10:
        raise UserError(f"damaged safetensors file: only {len(data)} bytes; get it again")
    length = int.from_bytes(data[:8], "little")
    if length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise UserError(f"damaged safetensors file: its header claims {length:,} bytes, the file has {len(data):,}")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise UserError(f"damaged safetensors file: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise UserError("damaged safetensors file: its header is not a mapping")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UserError("damaged safetensors file: its metadata are not texts")
    end, available = 0, len(data) - 8 - length
    entries = []
    for name, entry in header.items():
        try:
            dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        except (TypeError, KeyError, ValueError) as error:
            raise UserError(f"damaged safetensors file: the entry of {name!r} is incomplete") from error
        if dtype not in _SAFETENSORS_BYTES:
            raise UserError(f"{name!r} has element type {dtype!r}; known: {', '.join(_SAFETENSORS_BYTES)}")
        numbers = [*shape, start, stop] if isinstance(shape, list) else [None]
        if not all(type(n) is int and n >= 0 for n in numbers):
            raise UserError(f"damaged safetensors file: {name!r} has shape {shape!r} at {start!r}..{stop!r}")
        if math.prod(shape) * _SAFETENSORS_BYTES[dtype] != stop - start or stop > available:
            raise UserError(
                f"damaged safetensors file: {name!r} claims shape {shape} of {dtype}, but its data has "
                f"{min(stop, available) - start:,} bytes"
            )
        entries.append((start, stop, name))
    for start, stop, name in sorted(entries):
        if start != end:
            raise UserError(f"damaged safetensors file: the data of {name!r} overlaps its neighbour or leaves a gap")
        end = stop
    return metadata


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
