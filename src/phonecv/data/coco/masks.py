"""Masks as COCO writes them: polygons, and run lengths plain or compressed.

The library that rasterises and encodes is compiled code that trusts its input, so every mask is checked before it gets
there: a wrong length would make it write beyond its buffers, and a huge outline would take all memory. What passes is
packed into bytes, a tenth of the lists it came as, and becomes pixels only when it is asked for.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from phonecv.data.coco.shapes import segmentation_of
from phonecv.data.json_file import shown, whole

#: Longest outline of one mask, in pixels; rasterising takes about 100 bytes for each.
MAX_OUTLINE = 1_000_000

_POLYGONS, _RUNS = b"P", b"R"
#: No coordinate; larger whole numbers do not even become floats.
_HUGE = 1e300
#: Digits of 5 bits in one number of the compressed form: 30 bits hold every length in a picture that can be opened.
_MAX_DIGITS = 6


#: Height and width.
Size = tuple[int, int]


class MaskError(ValueError):
    """A mask that can't be used, and why."""


def compact(segmentation: Any) -> Any:
    """The lists of numbers in a segmentation as arrays, which take a quarter of the memory; the rest as it is."""
    try:
        if isinstance(segmentation, list):
            return [array("d", ring) if isinstance(ring, list) else ring for ring in segmentation]
        if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
            return segmentation | {"counts": array("q", segmentation["counts"])}
    except (TypeError, OverflowError):  # something else than numbers; `pack` says what
        pass
    return segmentation


def pack(segmentation: Any, height: int, width: int, mended: list[str] | None = None) -> bytes:
    """A checked segmentation (polygons or run lengths) of a picture of this size as bytes; empty if there is none.

    `mended` takes up what was written otherwise and could be read in one way only; without it that is refused.

    Raises:
        MaskError: it is not a mask of this picture.
    """
    if mended is not None:
        segmentation, how = segmentation_of(segmentation)
        if how:
            mended.append(f"segmentation is written as {how}")
    if segmentation is None or (isinstance(segmentation, list) and not segmentation):
        return b""
    if isinstance(segmentation, dict):
        return _RUNS + _pack_runs(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise MaskError(f"segmentation {shown(segmentation)} is neither polygons nor run lengths")
    try:
        return _POLYGONS + _pack_polygons(segmentation, height, width)
    except MaskError:
        good = [ring for ring in segmentation if _is_polygon(ring, height, width)]
        if mended is None or not good:
            raise
    mended.append(f"{len(segmentation) - len(good)} of {len(segmentation)} rings are no polygons and are left out")
    return _POLYGONS + _pack_polygons(good, height, width)


def to_rle(packed: bytes, height: int, width: int) -> dict[str, Any]:
    """A packed mask as the compressed run lengths that COCO's tools take: ``{"size": [h, w], "counts": str}``."""
    if packed[:1] == _RUNS:
        return {"size": [height, width], "counts": packed[1:].decode("ascii")}
    library = _library()
    merged = library.merge(library.frPyObjects(_polygons(packed), height, width))
    counts = merged["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def decode(packed: Sequence[bytes], height: int, width: int) -> np.ndarray:
    """Packed masks as ``N H W``, bool."""
    if not packed:
        return np.zeros((0, height, width), dtype=bool)
    lengths = [run_lengths(to_rle(one, height, width)["counts"]) for one in packed]
    # All masks in one call; the library writes byte by byte and takes ten times as long.
    values = np.concatenate([np.arange(len(runs)) & 1 for runs in lengths]).astype(bool)
    columns = np.repeat(values, np.concatenate(lengths)).reshape(len(packed), width, height)
    return np.ascontiguousarray(columns.transpose(0, 2, 1))


def box(packed: bytes, height: int, width: int) -> list[float]:
    """Left, top, width and height of what is drawn; polygons give the corners of their outline."""
    if packed[:1] == _POLYGONS:
        points = np.concatenate([np.array(ring) for ring in _polygons(packed)]).reshape(-1, 2)
        low, high = points.min(0).clip(0, (width, height)), points.max(0).clip(0, (width, height))
        return [*low.tolist(), *(high - low).tolist()]
    return np.asarray(_library().toBbox([to_rle(packed, height, width)]), dtype=np.float64).reshape(4).tolist()


def moved(
    packed: bytes, points: Callable[[np.ndarray], np.ndarray], pixels: Callable[[np.ndarray], np.ndarray], size: Size
) -> bytes:
    """A packed mask in a picture of `size` (height, width) that was resized or turned.

    `points` takes the corners of polygons, N x y, to their new places; `pixels` a mask, H W, to its new pixels.
    """
    if packed[:1] == _POLYGONS:
        rings = [points(np.array(ring).reshape(-1, 2)).ravel() for ring in _polygons(packed)]
        head = struct.pack(f"<{len(rings) + 1}I", len(rings), *map(len, rings))
        return _POLYGONS + head + b"".join(ring.astype(np.float64).tobytes() for ring in rings)
    return _RUNS + runs_of(pixels(decode([packed], *size)[0]))["counts"].encode("ascii")


def runs_of(mask: np.ndarray) -> dict[str, Any]:
    """A mask, H W, as compressed run lengths: ``{"size": [h, w], "counts": str}``."""
    counts = _library().encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": list(mask.shape), "counts": text}


def area(packed: bytes, height: int, width: int) -> int:
    """Pixels of a packed mask."""
    return int(run_lengths(to_rle(packed, height, width)["counts"])[1::2].sum())


def _library() -> Any:
    # Imported late, for only masks need it.
    from faster_coco_eval.core import mask

    return mask


def run_lengths(text: str | bytes) -> np.ndarray:
    """The lengths in COCO's compressed form: runs of 0, 1, 0, ... down the columns.

    Numbers are written in digits of 5 bits, lowest first, each with a bit that says whether more follow; from the
    fourth on they are differences to the number two places before.
    """
    try:
        codes = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, dtype=np.uint8)
    except UnicodeEncodeError as error:
        raise MaskError(f"run lengths {shown(text)} hold other letters than the compressed form has") from error
    codes = codes.astype(np.int64) - 48
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise MaskError(f"run lengths {shown(text)} are not in COCO's compressed form")
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    digits = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
    if digits.max() >= _MAX_DIGITS:
        raise MaskError(f"run lengths {shown(text)} hold a number too large for any picture")
    values = np.add.reduceat((codes & 31) << (5 * digits), starts)
    # The highest bit of the last digit is the sign.
    values -= ((codes[ends] & 16) >> 4) << (5 * (digits[ends] + 1))
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values


def _pack_runs(record: dict[str, Any], height: int, width: int) -> bytes:
    size, counts = record.get("size"), record.get("counts")
    if not isinstance(size, list) or [whole(side) for side in size] != [height, width]:
        raise MaskError(f"run-length mask of size {shown(size)}, but the picture has [{height}, {width}]")
    if isinstance(counts, str):
        _check_lengths(run_lengths(counts), height, width)
        return counts.encode("ascii")
    if not isinstance(counts, (list, array)) or not len(counts):
        raise MaskError(f"run lengths {shown(counts)} are neither a list of whole numbers nor text")
    if isinstance(counts, list) and not all(type(count) is int and abs(count) < 2**62 for count in counts):
        raise MaskError(f"run lengths {shown(counts)} are not all whole numbers")
    _check_lengths(np.asarray(counts, dtype=np.int64), height, width)
    library = _library()
    packed = library.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)["counts"]
    return packed if isinstance(packed, bytes) else packed.encode("ascii")


def _check_lengths(lengths: np.ndarray, height: int, width: int) -> None:
    if lengths.min() < 0:
        raise MaskError(f"negative run length {int(lengths.min())}")
    # Each of them first: their sum could wrap around.
    if lengths.max() > height * width or int(lengths.sum()) != height * width:
        raise MaskError(
            f"run lengths cover {sum(lengths.tolist()):,} pixels, but the picture has {height} x {width} ="
            f" {height * width:,}"
        )


def _pack_polygons(rings: list[Any], height: int, width: int) -> bytes:
    for ring in rings:
        if fault := _ring_fault(ring):
            raise MaskError(fault)
    arrays = [ring if isinstance(ring, array) else array("d", ring) for ring in rings]
    content = b"".join(ring.tobytes() for ring in arrays)
    values = np.frombuffer(content, dtype=np.float64)
    reach = max(height, width)
    # NaN fails every comparison. Outlines may stick out a little, not lie anywhere.
    if not (values.min() >= -reach and values.max() <= 2 * reach):
        raise MaskError(f"polygon with a value far outside the picture of {height} x {width}, or not finite")
    # No edge is longer than that, so the exact sum is seldom needed.
    if len(values) // 2 * 3 * reach > MAX_OUTLINE:
        outline = sum(_outline(np.frombuffer(ring)) for ring in arrays)
        if outline > MAX_OUTLINE:
            raise MaskError(f"polygons with an outline of {outline:,.0f} pixels; at most {MAX_OUTLINE:,} are drawn")
    return struct.pack(f"<{len(arrays) + 1}I", len(arrays), *map(len, arrays)) + content


def _is_polygon(ring: Any, height: int, width: int) -> bool:
    try:
        return bool(_pack_polygons([ring], height, width))
    except MaskError:
        return False


def _ring_fault(ring: Any) -> str:
    """What makes a ring no polygon, or nothing."""
    if not isinstance(ring, array):
        if not isinstance(ring, list) or not all(type(value) in (int, float) for value in ring):
            return f"polygon {shown(ring)} is not a list of numbers x1, y1, x2, y2, ..."
        if not all(-_HUGE < value < _HUGE for value in ring):  # NaN fails every comparison
            return f"polygon {shown(ring)} holds a number that is not finite"
    if len(ring) < 6 or len(ring) % 2:
        return f"polygon of {len(ring)} numbers; at least 6 and an even number of them are needed"
    return ""


def _outline(values: np.ndarray) -> float:
    points = values.reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(1).sum())


def _polygons(packed: bytes) -> list[list[float]]:
    (count,) = struct.unpack_from("<I", packed, 1)
    lengths = struct.unpack_from(f"<{count}I", packed, 5)
    values = np.frombuffer(packed, dtype=np.float64, offset=5 + 4 * count).tolist()
    ends = np.cumsum(lengths).tolist()
    return [values[end - length : end] for end, length in zip(ends, lengths, strict=True)]
