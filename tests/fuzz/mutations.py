"""Damage, structured and blind, and the rule that all of it has to obey: a result, or a message for people.

Every case has a name that is its seed, so that a failure can be repeated by itself. The environment variable
PHONECV_FUZZ sets how many cases each kind has.
"""

from __future__ import annotations

import copy
import os
import pickletools
import random
import time
import traceback
from collections.abc import Callable
from typing import Any

from phonecv.errors import UserError

#: Cases of each kind.
CASES = int(os.environ.get("PHONECV_FUZZ", "300"))

#: Processor time that one case may take.
SECONDS = 5.0

ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 255, 2**31, 2**63, -(2**63), 2**200, 0.5, -0.0, 1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"), "", " ", "a", "0", "-1", "1e9", "nan", "x" * 3000, "\ud800", "\u2028",
    "\x1b[31m", "\u202e", "a\nb", "../..", "/etc/passwd", "C:\\x", "=1+1", "\x00", "é", "e\u0301",
    [], {}, [[]], [None], [{}], {"": None}, {"a": {}}, [0] * 50, [1, "a", None], {"id": 1}, [-1, -1, -1, -1],
)  # fmt: skip

#: Whole numbers that stand at borders, as bytes.
_BORDERS = tuple(
    value.to_bytes(length, "little")
    for length in (1, 2, 4, 8)
    for value in (0, 1, 2 ** (8 * length) - 1, 2 ** (8 * length - 1))
)


def survive(kind: str, case: Callable[[random.Random], object], count: int | None = None) -> int:
    """Run the cases of a kind; how many of them ended in a message.

    Raises:
        AssertionError: with the first cases that ended otherwise, or took too long.
    """
    refused, bad = 0, []
    for number in range(CASES if count is None else count):
        seed = f"{kind} {number}"
        start = time.process_time()
        try:
            case(random.Random(seed))
        except UserError as error:
            refused += 1
            if len(str(error)) > 5000:
                bad.append(f"{seed}: a message of {len(str(error))} characters: {str(error)[:200]!r}")
        except Exception:
            bad.append(f"{seed}:\n{traceback.format_exc(limit=-4)[:3000]}")
        took = time.process_time() - start
        if took > SECONDS:
            bad.append(f"{seed} took {took:.1f} s")
    assert not bad, f"{len(bad)} cases\n" + "\n".join(bad[:5])
    return refused


def _places(value: Any, most: int = 2000) -> list[tuple[Any, Any]]:
    """Containers and keys of everything within a value."""
    places: list[tuple[Any, Any]] = []
    todo = [value]
    while todo and len(places) < most:
        inner = todo.pop()
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner))) if isinstance(inner, list) else []
        for key in keys:
            places.append((inner, key))
            todo.append(inner[key])
    return places


def mutated(rng: random.Random, value: Any, odd: tuple[Any, ...] = ODD, most: int = 3) -> Any:
    """A copy of nested lists and mappings with some places changed."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, most)):
        places = _places(value)
        if not places or rng.random() < 0.02:
            return copy.deepcopy(rng.choice(odd))
        container, key = rng.choice(places)
        what = rng.randrange(8)
        if what < 3:
            container[key] = copy.deepcopy(rng.choice(odd))
        elif what == 3:
            del container[key]
        elif what == 4 and isinstance(container, list):
            container += container[: 1 + rng.randrange(len(container))]
        elif what == 4:
            container[rng.choice([text for text in odd if isinstance(text, str)])] = container.pop(key)
        elif what == 5:
            container[key] = rng.choice([[container[key]], {"a": container[key]}, str(container[key])[:100]])
        elif what == 6:
            other, from_key = rng.choice(places)
            if from_key in other if isinstance(other, dict) else from_key < len(other):
                container[key] = copy.deepcopy(other[from_key])
        elif isinstance(container[key], int | float):
            container[key] = rng.choice(
                [-container[key], container[key] + 1, container[key] * 1000, f"{container[key]}"]
            )
    return value


def damaged(rng: random.Random, data: bytes, most: int = 4) -> bytes:
    """Bytes with some of them changed, lost, doubled or cut off; mostly in the first and last thousand."""
    made = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not made:
            return bytes(made)
        end = len(made)
        place = rng.choice([rng.randrange(end), rng.randrange(min(1000, end)), end - 1 - rng.randrange(min(1000, end))])
        length = rng.choice([1, 1, 2, 4, 8, 16])
        what = rng.randrange(6)
        if what == 0:
            made[place] = rng.randrange(256)
        elif what == 1:
            made[place : place + length] = rng.choice(_BORDERS)
        elif what == 2:
            del made[place : place + length]
        elif what == 3:
            made[place:place] = made[place : place + length]
        elif what == 4:
            made[place:place] = rng.randbytes(length)
        elif rng.random() < 0.3:
            del made[place:]
    return bytes(made)


def damaged_pickle(rng: random.Random, data: bytes, most: int = 4) -> bytes:
    """A pickle with some instructions lost, doubled, moved or replaced, and at times blind damage on top."""
    starts = [position for _, _, position in pickletools.genops(data) if position is not None]
    pieces = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(rng.randint(1, most)):
        place, other = rng.randrange(1, len(pieces)), rng.randrange(1, len(pieces))
        what = rng.randrange(6)
        if what == 0:
            del pieces[place]
        elif what == 1:
            pieces.insert(place, pieces[other])
        elif what == 2:
            pieces[place], pieces[other] = pieces[other], pieces[place]
        elif what == 3:
            pieces[place] = rng.choice(_INSTRUCTIONS)
        else:
            pieces.insert(place, rng.choice(_INSTRUCTIONS))
        if len(pieces) < 3:
            break
    made = b"".join(pieces)
    return damaged(rng, made, 1) if rng.random() < 0.2 else made


_INSTRUCTIONS = (
    b"N", b"\x88", b"\x89", b"K\x00", b"K\xff", b"J\xff\xff\xff\xff", b"\x8a\x09" + b"\xff" * 9, b"]", b"}", b")",
    b"\x8f", b"(", b"0", b"1", b"t", b"l", b"d", b"\x91", b"\x90", b"e", b"a", b"s", b"u", b"R", b"\x81", b"\x92",
    b"b", b"\x85", b"\x86", b"\x87", b"q\x00", b"h\x00", b"h\x01", b"h\x02", b"h\x05", b"\x94", b"Q", b"Pa\n", b"\x93",
    b"X\x01\x00\x00\x00a", b"\x8c\x01a", b"C\x04abcd", b"B\x04\x00\x00\x00abcd", b"G" + b"\x7f\xf8" + bytes(6),
    b"ccollections\nOrderedDict\n", b"cnumpy\ndtype\n", b"cnumpy._core.multiarray\n_reconstruct\n",
    b"cnumpy._core.multiarray\nscalar\n", b"cnumpy._core.numeric\n_frombuffer\n", b"c_codecs\nencode\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_tensor_v3\n", b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nSize\n", b"cargparse\nNamespace\n", b"cpathlib\nPosixPath\n",
    b"csomebody\nClass\n", b"cbuiltins\ngetattr\n", b"ctorch._tensor\n_rebuild_from_type_v2\n",
)  # fmt: skip
