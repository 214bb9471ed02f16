"""The restricted pickle reader: plain data comes through, nothing else does."""

from __future__ import annotations

import collections
import datetime
import pickle
import random
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonecv.errors import UserError
from phonecv.weights.pickles import Refused, load_pickle
from weights.helpers import Payload

ARRAYS = {
    "fc.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "half": np.ones(3, np.float16),
    "count": np.array(5, np.int64),
    "empty": np.zeros((0, 4), np.float32),
    "big-endian": np.arange(3, dtype=">f4"),
    "flags": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_plain_containers_come_through(protocol: int) -> None:
    names = {"fc.weight": "linear_0.w_0"}
    content = {
        **ARRAYS,
        "StructuredToParameterName@@": names,
        "history": [1, 2.5, None, True, b"x", ("a", -7), 2**70],
        "best": np.float64(0.75),
        "nested": collections.OrderedDict(inner=[np.arange(3)]),
    }
    loaded = load_pickle(pickle.dumps(content, protocol=protocol))
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == array.dtype, name
        np.testing.assert_array_equal(loaded[name], array)
    assert loaded["StructuredToParameterName@@"] == names
    assert loaded["history"] == content["history"]
    assert loaded["best"] == 0.75
    np.testing.assert_array_equal(loaded["nested"]["inner"][0], np.arange(3))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_payload_is_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for content in ({"w": Payload(marker)}, [Payload(marker)], {"a": {"b": [1, (Payload(marker),)]}}):
        with pytest.raises(UserError, match="exec"):
            load_pickle(pickle.dumps(content, protocol=protocol))
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"w": np.array([{"a": 1}, None], dtype=object)},
        {"w": np.array(["text"])},
        {"w": np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])},
        {"w": np.array(["2024-01-01"], dtype="datetime64[D]")},
        {"w": datetime.date(2024, 1, 1)},
        {"w": Path("x")},
        {"w": {1, 2}},
        {"w": 3 + 4j},
        {"w": pytest.raises},
        {("a", "b"): 1},
    ],
    ids=lambda content: str(type(next(iter(content.values()))).__name__),
)
def test_other_objects_are_refused(content: Any) -> None:
    with pytest.raises(Refused):
        load_pickle(pickle.dumps(content, protocol=4))


def with_reduce(module: str, name: str, argument: bytes = b"X\x01\x00\x00\x00a") -> bytes:
    """Protocol 2: call module.name(argument)."""
    return b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n" + argument + b"\x85R."


@pytest.mark.parametrize(
    "data",
    [
        with_reduce("os", "system"),
        with_reduce("builtins", "eval"),
        with_reduce("numpy", "load"),
        with_reduce("numpy", "ndarray"),
        with_reduce("numpy.core.multiarray", "fromfile"),
        with_reduce("_codecs", "decode"),
        with_reduce("torch", "load"),
        # A name with dots would walk from an allowed module to anything.
        b"\x80\x04\x8c\x05numpy\x8c\x0cdtype.__init__\x93.",
        # Call the result of a call, and change the inside of a constructor.
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R)R.",
        b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02c_codecs\nencode\n)\x81.",  # NEWOBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02Pid\n.",  # PERSID
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x02(ios\nsystem\n.",  # INST
    ],
)
def test_instructions_that_could_reach_code_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        load_pickle(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02.",
        b"\x80\x02}",
        b"\x80\x02h\x05.",
        b"\x80\x02t.",
        b"\x80\x02s.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",  # bytes that are not there
        b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.",
        b"\x80\x02]" + b"r" + struct.pack("<I", 2**32 - 2) + b"h\x01.",  # a huge memo index
        b"\x80\x02" + b"I" + b"9" * 5000 + b"\n.",
    ],
)
def test_damage_is_a_short_message_in_no_time(data: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(Refused):
        load_pickle(data)
    assert time.perf_counter() - start < 1.0


def test_a_shape_that_contradicts_the_bytes_is_refused() -> None:
    data = pickle.dumps({"w": np.zeros((2, 3), np.float32)}, protocol=2)
    assert data.count(b"K\x02K\x03\x86") == 1
    with pytest.raises(Refused, match="24 bytes"):
        load_pickle(data.replace(b"K\x02K\x03\x86", b"K\x02K\xff\x86"))


def test_deep_and_wide_structures_neither_crash_nor_hang() -> None:
    nested = b"\x80\x02}X\x01\x00\x00\x00a)" + b"\x85" * 100_000 + b"s."
    assert set(load_pickle(nested)) == {"a"}
    # A list of many references to a list of many references.
    inner = b"](" + b"N" * 150_000 + b"eq\x01"
    outer = b"\x80\x02](" + inner + b"](" + b"h\x01" * 150_000 + b"ee."
    start = time.perf_counter()
    load_pickle(outer)
    assert time.perf_counter() - start < 5.0
    with pytest.raises(Refused, match="complicated"):
        load_pickle(b"\x80\x02](" + b"N" * 600_000 + b"e.")


def test_references_do_not_multiply_bytes() -> None:
    text = b"X" + struct.pack("<I", 1_000_000) + b"a" * 1_000_000 + b"q\x01"
    call = b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R"
    with pytest.raises(Refused, match="unpacks"):
        load_pickle(b"\x80\x02" + text + b"](" + call * 100 + b"e.")


def test_flipped_bytes_give_data_or_a_message() -> None:
    good = pickle.dumps({**ARRAYS, "history": [1, "a"]}, protocol=4)
    rng = random.Random(0)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            load_pickle(bytes(damaged))
        except UserError:
            refused += 1
    assert refused > 500
