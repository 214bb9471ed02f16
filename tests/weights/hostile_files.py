"""Small files that describe something huge, endless or impossible; and the process that opens them under limits.

Run as a program with a folder: writes every file into it, opens each in turn, and prints one line of JSON for each.
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import signal
import struct
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

#: Limits of the task: what a message may take.
SECONDS, MEGABYTES = 5, 500


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def nested(times: int = 60) -> bytes:
    """A tuple of twice the tuple before it, and so on: 2**times when unfolded, in some 400 bytes."""
    return b")q\x63" + b"0h\x63h\x63\x86q\x63" * times


def p2(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def called(module: str, attribute: str, arguments: bytes) -> bytes:
    return name(module, attribute) + arguments + b"R"


def wide(length: int) -> bytes:
    """A whole number of so many bytes."""
    return b"\x8b" + struct.pack("<I", length) + b"\x7f" * length


FLOAT = called("numpy", "dtype", text("f4") + b"\x85")


def pickles() -> dict[str, bytes]:
    return {
        "key": p2(b"}", nested(), b"K\x01s"),
        "keys of a mapping": p2(b"(", nested(), b"K\x01d"),
        "key of an ordered mapping": p2(called("collections", "OrderedDict", b"](" + nested() + b"K\x01\x86e\x85")),
        "whole": p2(nested()),
        "value": p2(b"}", text("w"), nested(), b"s"),
        "element type": p2(called("numpy", "dtype", nested() + b"\x85")),
        "element type in element type": p2(b"}", text("w"), name("numpy", "dtype"), nested(), b"\x85Rs"),
        "byte order": p2(called("numpy", "dtype", text("f4") + b"\x85"), b"K\x03", nested(), b"\x86b"),
        "shape": p2(called("numpy.core.numeric", "_frombuffer", b"(C\x04abcd" + FLOAT + nested() + b"t")),
        "encoding": p2(called("_codecs", "encode", text("a") + nested() + b"\x86")),
        "text to encode": p2(called("_codecs", "encode", nested() + text("latin1") + b"\x86")),
        "module name": b"\x80\x04" + nested() + b"\x8c\x01a\x93.",
        "name": b"\x80\x04\x8c\x05numpy" + nested() + b"\x93.",
        "storage": p2(b"}", text("w"), nested(), b"Qs"),
        "state of a stand-in": p2(called("argparse", "Namespace", b")"), nested(), b"b"),
        "argument of a stand-in": p2(b"}", text("w"), called("pathlib", "PosixPath", nested() + b"\x85"), b"s"),
        "class names": p2(b"}", text("classes"), b"](", nested(), b"es", text("w"), b"Ns"),
        "itself": p2(b"}q\x01", text("state_dict"), b"h\x01s"),
        "list in itself": p2(b"}", text("w"), b"]q\x01h\x01as"),
        "tuple in itself": p2(b"}", text("classes"), b"]q\x01h\x01\x85as"),
        "deep mappings": p2(b"}" + (text("state_dict") + b"}") * 20_000 + b"s" * 20_000),
        "deep lists": p2(b"}", text("w"), b"]" * 100_000 + b"a" * 99_999, b"s"),
        "ordered mappings": p2(
            b"](" + b"K\x01K\x02\x86q\x02" + b"h\x02" * 100_000 + b"eq\x01",
            (name("collections", "OrderedDict") + b"h\x01\x85R0") * 50_000,
            b"}",
        ),
        "bytes over and over": p2(
            text("a" * 500_000) + b"q\x010](",
            (name("_codecs", "encode") + b"h\x01" + text("latin1") + b"\x86R") * 5_000,
            b"e",
        ),
        "arrays over and over": p2(
            text("a" * 400_000) + b"q\x010",
            FLOAT + b"q\x020](",
            (called("numpy._core.multiarray", "_reconstruct", b")") + b"(K\x01J\xa0\x86\x01\x00\x85h\x02\x89h\x01tb")
            * 5_000,
            b"e",
        ),
        "wide key": p2(b"}", wide(1_000_000) + b"q\x010", (b"h\x01Ns") * 200_000),
        "wide number": p2(b"}", wide(2_000_000), b"Ns"),
        "wide shape": p2(called("numpy.core.numeric", "_frombuffer", b"(C\x04abcd" + FLOAT + wide(900_000) + b"\x85t")),
        "long key": p2(b"}", text("k" * 1_000_000) + b"q\x010", b"h\x01Ns" * 200_000),
        "many arguments": p2(
            b"(" + b"N" * 100_000 + b"tq\x010", (name("numpy.core.multiarray", "scalar") + b"h\x01R0") * 50_000, b"}"
        ),
        "many instructions": p2(b"](" + b"N" * 1_100_000 + b"e"),
        "many mappings": p2(b"](" + b"}" * 1_100_000 + b"e"),
        "long number": b"\x80\x02I" + b"9" * 1_000_000 + b"\n.",
        "mark": p2(b"(" * 400_000),
    }  # fmt: skip


def safetensors(header: Any, data: bytes = b"") -> bytes:
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}


def headers() -> dict[str, bytes]:
    return {
        "dimensions": safetensors(entry(shape=[1] * 500_000), bytes(4)),
        "wide dimensions": safetensors(entry(shape=[2**62] * 60), bytes(4)),
        "wider than a word": safetensors(entry(shape=[2**64, 0], data_offsets=[0, 0])),
        "empty but wide": safetensors(entry(shape=[2**60, 0], data_offsets=[0, 0])),
        "digits": safetensors(
            b'{"w":{"dtype":"F32","shape":[' + b"9" * 1_000_000 + b'],"data_offsets":[0,4]}}', bytes(4)
        ),
        "type a list": safetensors(entry(dtype=["F32"]), bytes(4)),
        "type a mapping": safetensors(entry(dtype={}), bytes(4)),
        "shape a text": safetensors(entry(shape="12"), bytes(4)),
        "shape of lists": safetensors(entry(shape=[[1]]), bytes(4)),
        "offsets a text": safetensors(entry(data_offsets="04"), bytes(4)),
        "three offsets": safetensors(entry(data_offsets=[0, 4, 4]), bytes(4)),
        "negative": safetensors(entry(shape=[-1], data_offsets=[4, 0]), bytes(4)),
        "real numbers": safetensors(entry(shape=[1.0]), bytes(4)),
        "not a number": safetensors(b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', bytes(4)),
        "deep": safetensors(b"[" * 1_000_000),
        "deep entries": safetensors(b'{"w":' * 500_000),
        "many entries": safetensors(
            {f"w{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}
        ),
        "long header": safetensors(b" " * 9_000_000),
        "of a long name": safetensors(
            {"n" * 1_000_000: {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)
        ),
        "record": safetensors({"__metadata__": {"phonecv": "[" * 100_000}, **entry()}, bytes(4)),
        "in the record": safetensors({"__metadata__": {"phonecv": f'{{"format":{"9" * 9_999}}}'}, **entry()}, bytes(4)),
        "classes": safetensors({"__metadata__": {"classes": "[" * 100_000}, **entry()}, bytes(4)),
    }  # fmt: skip


def in_zip(program: bytes, records: dict[str, bytes] | None = None, compress: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program)
        for record, data in (records or {}).items():
            archive.writestr(f"archive/{record}", data)
    return out.getvalue()


def tensor(size: bytes, stride: bytes, storage: bytes = b"", count: bytes = b"K\x04") -> bytes:
    """One tensor over the float32 values in the record "0"."""
    reference = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + count + b"tQ"
    return called(
        "torch._utils", "_rebuild_tensor_v2", b"(" + (storage or reference) + b"K\x00" + size + stride + b"\x89Nt"
    )


def tensor_of(size: bytes, stride: bytes, storage: bytes = b"", count: bytes = b"K\x04") -> bytes:
    """A pickle with that tensor in it."""
    return p2(b"}", text("w"), tensor(size, stride, storage, count), b"s")


MEGABYTE = tensor(b"J\x00\x00\x10\x00\x85", b"K\x01\x85", count=b"J\x00\x00\x10\x00")
FOUR = {"data/0": bytes(16)}


def zips() -> dict[str, bytes]:
    return {
        "zip bomb": in_zip(p2(b"}"), {"data/0": bytes(50_000_000)}, compress=True),
        "stretched": in_zip(tensor_of(b"J\x00\x00\x00\x40\x85", b"K\x00\x85"), FOUR),
        "strides beyond": in_zip(tensor_of(b"K\x02K\x02\x86", b"M\xff\xffK\x01\x86"), FOUR),
        "dimensions": in_zip(tensor_of(b"(" + b"K\x01" * 100_000 + b"t", b"(" + b"K\x01" * 100_000 + b"t"), FOUR),
        "nested size": in_zip(tensor_of(nested(), b"K\x01\x85"), FOUR),
        "negative": in_zip(tensor_of(b"J\xff\xff\xff\xff\x85", b"K\x01\x85"), FOUR),
        "wide side": in_zip(tensor_of(b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85", b"K\x01\x85"), FOUR),
        "count": in_zip(tensor_of(b"K\x04\x85", b"K\x01\x85", count=b"\x8a\x06" + b"\xff" * 5 + b"\x00"), FOUR),
        "no record": in_zip(tensor_of(b"K\x04\x85", b"K\x01\x85")),
        "nested storage": in_zip(tensor_of(b"K\x04\x85", b"K\x01\x85", storage=nested())),
        "nested reference": in_zip(tensor_of(b"K\x04\x85", b"K\x01\x85", storage=nested() + b"Q")),
        "records": in_zip(p2(b"}"), {f"data/{n}": b"" for n in range(20_000)}),
        "a tensor under many names": in_zip(
            p2(b"}", MEGABYTE, b"q\x630", *(text(f"w{n}") + b"h\x63s" for n in range(1000))),
            {"data/0": bytes(4 * 2**20)},
        ),
    }  # fmt: skip


def odd_tensors() -> dict[str, Any]:
    """Contents of torch files: layouts' own names with tensors of shapes and types that no layout expects."""
    shapes: dict[str, Any] = {}
    for label, tensor in {
        "scalars": torch.tensor(1.0),
        "empty": torch.zeros(0),
        "three sides": torch.zeros(2, 2, 2),
        "one side": torch.zeros(3),
        "texts": "a",
        "booleans": torch.zeros(2, 2, 1, 1, dtype=torch.bool),
        "eight bits": torch.zeros(2, 2, 1, 1).to(torch.float8_e5m2),
        "complex": torch.zeros(2, 2, 1, 1, dtype=torch.complex64),
        "sparse": torch.eye(3).to_sparse(),
        "on no device": torch.zeros(3, device="meta"),
        "itself": None,
    }.items():
        for layout, names in {
            "apple": ("stage0.rbr_conv.0.conv.weight", "stage1.0.rbr_conv.0.conv.weight", "linear.bias"),
            "paddle": ("stages.0.0.dw_3x3.conv.weight", "fc.weight", "fc.bias"),
            "emov2": (
                "stage1.0.eops.0.net.conv.weight",
                "stage1.0.proj.conv.weight",
                "stage1.0.conv_local.conv.weight",
            ),
            "timm": ("stages.0.downsample.conv_local.0.weight", "stages.0.downsample.layer_scale.gamma", "head.weight"),
            "emo": ("stage0.0.convs.0.0.weight", "stage1.0.v.conv.weight", "stage1.0.proj.conv.weight", "head.bias"),
        }.items():
            content: dict[str, Any] = dict.fromkeys(names, tensor)
            if tensor is None:
                content = {"state_dict": None, "model": None, **dict.fromkeys(names, torch.zeros(1))}
                content["state_dict"] = content["model"] = content
            shapes[f"{label} of {layout}"] = content
    shapes["counters only"] = {"total_ops": torch.zeros(1), "n_averaged": torch.tensor(1)}
    shapes["ordered"] = OrderedDict(w=OrderedDict(w=OrderedDict(w=np.zeros(3))))
    return shapes


def write_all(folder: Path) -> list[Path]:
    """Every file, in a folder."""
    written, programs = [], pickles()
    kinds: dict[str, tuple[str, dict[str, bytes]]] = {
        "pickle": ("pkl", programs),
        "header": ("safetensors", headers()),
        "zip": ("pth", zips()),
        "in zip": ("pth", {key: in_zip(data) for key, data in list(programs.items())[::4]}),
    }
    legacy = folder / "legacy.pth"
    torch.save({}, legacy, _use_new_zipfile_serialization=False)
    start = legacy.read_bytes()
    cut = start.index(pickle.dumps({}, 2))
    brief = [(key, data) for key, data in list(programs.items())[1::4] if key not in ("deep lists", "mark")]
    kinds["legacy"] = ("pth", {key: start[:cut] + data + start[cut:] for key, data in brief})
    legacy.unlink()
    for kind, (suffix, cases) in kinds.items():
        for case, data in cases.items():
            written.append(folder / f"{kind}, {case}.{suffix}")
            written[-1].write_bytes(data)
    for case, content in odd_tensors().items():
        written.append(folder / f"tensors, {case}.pth")
        torch.save(content, written[-1])
    return written


def attempt(action: Callable[[Path], object], path: Path) -> str:
    """The message that an action ends with, "" without any; what is no message for people begins with two marks."""
    from phonecv.errors import UserError

    try:
        action(path)
    except UserError as error:
        return str(error)
    except BaseException as error:  # the test tells
        return f"!! {type(error).__name__}: {str(error)[:300]}"
    return ""


def main(folder: Path) -> None:
    """Open every file under limits, and say what came of it."""
    import phonecv

    paths = write_all(folder)
    status = Path("/proc/self/status").read_text()
    used = int(status.partition("VmData:")[2].split()[0]) * 1024 if "VmData:" in status else 0
    if used:
        resource.setrlimit(resource.RLIMIT_DATA, (used + MEGABYTES * 2**20,) * 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process: no exception that could be caught
    for path in paths:
        print(json.dumps([path.name]), flush=True)
        signal.alarm(3 * SECONDS)
        start = time.process_time()
        said = [attempt(action, path) for action in (phonecv.read_checkpoint, _load)]
        print(json.dumps([path.name, time.process_time() - start, said]), flush=True)
        signal.alarm(0)


def _load(path: Path) -> object:
    import phonecv

    return phonecv.load_checkpoint("mobileone_s0", path, depths=(1, 1, 1, 1), widths=(8, 8, 8, 8), strict=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
