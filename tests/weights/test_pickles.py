"""The restricted pickle reader: plain data comes through, nothing else does."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import functools
import io
import itertools
import pickle
import random
import struct
import time
import types
import uuid
from pathlib import Path, PosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest

from phonecv.errors import UserError
from phonecv.weights.pickles import Refused, Symbol, finish, run
from phonecv.weights.stand_ins import Inert
from weights.helpers import Payload


def load_pickle(data: bytes) -> Any:
    return finish(run(io.BytesIO(data), len(data)))


class Phase(enum.Enum):
    WARM = "warm"


class Mask(enum.Flag):
    A = 1
    B = 2


class Settings:
    made = 0

    def __new__(cls, *_: Any) -> Settings:
        cls.made += 1
        return super().__new__(cls)

    def __init__(self, size: int) -> None:
        self.size = size


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
    "value",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        np.array(["2024-01-01"], dtype="datetime64[D]"),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        Path("x"),
        PureWindowsPath("c:/x"),
        {1, 2},
        frozenset([1]),
        3 + 4j,
        slice(1, 2),
        range(3),
        bytearray(b"x"),
        pytest.raises,
        Phase.WARM,
        Mask.A | Mask.B,
        Settings(3),
        argparse.Namespace(data=PosixPath("/data"), inner=types.SimpleNamespace(a=1)),
        collections.defaultdict(list, {"a": [1]}),
        collections.Counter("abca"),
        collections.deque([1]),
        functools.partial(Settings, 3),
        np.random.default_rng(0),
        np.random.RandomState(1),
        {("a", "b"): 1, Phase.WARM: 2},
        uuid.UUID(int=3),
        decimal.Decimal(3),
        ...,
        NotImplemented,
        itertools.count(3),
        time.localtime(0),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_harmless_objects_beside_the_weights_are_inert(value: Any, protocol: int) -> None:
    data = pickle.dumps({"x": value, "w": np.ones(2)}, protocol=protocol)
    made = Settings.made
    loaded = load_pickle(data)
    assert type(loaded["x"]) in (Inert, Symbol, bytearray, dict)
    assert list(loaded["w"]) == [1, 1]
    assert Settings.made == made


def test_a_stand_in_keeps_what_the_file_says_of_an_object() -> None:
    settings = Settings(3)
    settings.names = ["a", "b"]  # pyrefly: ignore
    value = collections.defaultdict(list, {"k": [Settings(4)]})
    loaded = load_pickle(pickle.dumps([settings, value], protocol=4))
    assert loaded[0].kind == f"{__name__}.Settings"
    assert dict(loaded[0]) == {"size": 3, "names": ["a", "b"]}
    assert dict(loaded[1]["k"][0]) == {"size": 4}


def with_reduce(module: str, name: str, argument: bytes = b"X\x01\x00\x00\x00a") -> bytes:
    """Protocol 2: call module.name(argument)."""
    return b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n" + argument + b"\x85R."


#: A member of an enumeration, as Python 3.11.2 writes it; one and several of a flag.
MEMBER = b"c%b\ngetattr\ncsomebody\nPhase\nX\x04\x00\x00\x00WARM\x86R"
SEVERAL = b"c_operator\nor_\n" + 2 * (MEMBER % b"__builtin__") + b"\x86R"


@pytest.mark.parametrize("value", [MEMBER % b"builtins", MEMBER % b"__builtin__", SEVERAL])
def test_members_of_enumerations_are_inert_however_they_are_spelt(value: bytes) -> None:
    loaded = load_pickle(b"\x80\x02}X\x01\x00\x00\x00x" + value + b"s.")
    assert type(loaded["x"]) is Inert
    assert not loaded["x"]


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
        with_reduce("torch.hub", "load"),
        with_reduce("numpy.testing._private.utils", "runstring"),
        with_reduce("pip", "main"),
        with_reduce("subprocess", "Popen"),
        with_reduce("builtins", "getattr"),
        with_reduce("__builtin__", "getattr"),
        with_reduce("_operator", "or_"),
        with_reduce("functools", "reduce"),
        with_reduce("operator", "methodcaller"),
        with_reduce("somebodys.module", "function"),
        with_reduce("collections", "namedtuple"),
        b"\x80\x02cos\nsystem\n.",  # already the mention
        b"\x80\x02cbuiltins\ngetattr\ncsomebody\nPhase\nX\x01\x00\x00\x00a\x86R)R.",  # and calls the member
        b"\x80\x04\x8c\x08somebody\x8c\x0cA.__init__.B\x93.",
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


def test_an_odd_escape_in_a_name_warns_nobody() -> None:
    assert isinstance(load_pickle(b"\x80\x02csome\\ebody\nClass\n."), Symbol)


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
        load_pickle(b"\x80\x02](" + b"N" * 1_100_000 + b"e.")


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
