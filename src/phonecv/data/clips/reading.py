"""Chosen frames of a clip: a video file, or a folder that holds its frames as pictures."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from phonecv.data.clips.streams import Unreadable, decoder, frames, is_video, open_stream, uprighter
from phonecv.data.folders.class_names import natural_key
from phonecv.data.pictures.opening import ImageError, is_helper_folder, is_image_name, open_image
from phonecv.data.pictures.opening import Passed as Passed
from phonecv.errors import UserError
from phonecv.text import counted, printable

#: Frames that a video may have; longer ones are to be cut.
MOST_FRAMES = 1_000_000


def is_clip(path: Path) -> bool:
    """Whether a path is named like a video, or is a folder of frames."""
    return is_video(path) or (path.is_dir() and bool(frame_files(path)))


def frame_files(folder: Path) -> list[Path]:
    """The pictures that lie directly in a folder, as people count: 2 before 10."""
    names = [path.name for path in folder.iterdir() if is_image_name(path.name)]
    return [folder / name for name in sorted(names, key=natural_key)]


def frame_steps(files: Sequence[Path]) -> list[int] | None:
    """From one frame's number to the next; None where a name does not end in one."""
    numbers = [re.search(r"(\d+)$", frame.stem) for frame in files]
    found = [int(number[1]) for number in numbers if number]
    return [after - before for before, after in pairwise(found)] if len(found) == len(files) else None


def find_gap(files: Sequence[Path]) -> str:
    """Says which frames are missing between those of a folder, told by their numbers; empty where none are."""
    steps = frame_steps(files)
    if not steps or len(set(steps)) == 1:
        return ""
    usual = Counter(steps).most_common(1)[0][0]
    wide = [place for place, step in enumerate(steps) if step > usual > 0]
    if not wide or 2 * len(wide) > len(steps):  # numbered in no order
        return ""
    missing = sum(steps[place] // usual - 1 for place in wide)
    first, after = (files[wide[0] + more].name for more in (0, 1))
    what = counted(missing, "frames are")
    return f"{what} missing, the first after {printable(first)}, where {printable(after)} follows"


def scan_clips(folder: Path | str, passed: Passed | None = None) -> Iterator[str]:
    """Paths, relative to `folder` and in order, of the clips below it: videos, and folders that hold pictures."""
    top, passed = Path(folder), passed or Passed()
    seen: set[Path] = set()

    def walk(place: Path) -> Iterator[str]:
        real = place.resolve()
        if real in seen:  # a loop of links
            return
        seen.add(real)
        for path in sorted(place.iterdir(), key=lambda path: natural_key(path.name)):
            if path.is_dir() and is_helper_folder(path.name):
                passed.helpers[path.name] += 1
            elif path.is_dir() and frame_files(path):
                yield path.relative_to(top).as_posix()
            elif path.is_dir():
                yield from walk(path)
            elif is_video(path) and not path.name.startswith(".") and path.is_file():
                yield path.relative_to(top).as_posix()

    yield from walk(top)


def find_clips(source: Path | str) -> list[Path]:
    """Clips named by a path: a video, a folder of frames, or a folder of such.

    Raises:
        UserError: nothing there, or no clip in it.
    """
    path = Path(source)
    if path.is_file() or is_clip(path):
        return [path]
    if not path.exists():
        raise UserError(f"{printable(path)}: no such file or folder")
    found = [path / name for name in scan_clips(path)]
    if not found:
        raise UserError(f"{printable(path)}: no clips in this folder, neither videos nor folders of frames")
    return found


def places(count: int, wanted: int, *, shaken: bool) -> list[int]:
    """Which of `count` frames are taken: one of each of `wanted` equal parts (Wang et al. 2016, TSN, section 3.1).

    Args:
        count: frames of the clip; where they are fewer than the parts, some are taken twice.
        wanted: parts.
        shaken: anywhere in its part, for training; else the middle one.
    """
    part = count / wanted
    return [
        min(count - 1, int(number * part + (random.random() * part if shaken else part / 2)))
        for number in range(wanted)
    ]  # fmt: skip


def read_frames(path: Path, wanted: int, *, shaken: bool = False) -> list[Image.Image]:
    """So many frames of a clip, spread over its length, as RGB pictures of one size.

    Args:
        path: a video file or a folder of frames.
        wanted: frames.
        shaken: see `places`.

    Raises:
        ImageError: the clip cannot be used, or is cut off.
        UserError: no decoder of videos is installed.
    """
    if path.is_dir():
        files = frame_files(path)
        if not files:
            raise ImageError(path, "a folder without frames in it")
        pictures = [open_image(files[place]) for place in places(len(files), wanted, shaken=shaken)]
    else:
        pictures = _from_video(path, wanted, shaken=shaken)
    size = pictures[0].size
    # Some cameras turn, or change their resolution, in the middle.
    return [picture if picture.size == size else picture.resize(size) for picture in pictures]


def _from_video(path: Path, wanted: int, *, shaken: bool) -> list[Image.Image]:
    av = decoder()
    count = count_frames(path)
    chosen, upright = places(count, wanted, shaken=shaken), uprighter(av)
    found: dict[int, Image.Image] = {}
    with _opened(av, path) as container:
        try:
            for number, (_, frame) in enumerate(frames(av, container, threads="NONE")):
                if number in chosen:
                    found[number] = Image.fromarray(upright(frame))
                if number >= chosen[-1]:
                    break
        except Unreadable as error:
            raise ImageError(path, f"cannot be read further ({error})") from error
    if not found:
        raise ImageError(path, "holds no frame that can be decoded")
    if len(found) < len(set(chosen)):
        raise ImageError(path, f"{len(found)} of {len(set(chosen))} frames can be decoded: it is cut off or damaged")
    return [found[place] for place in chosen]


def count_frames(path: Path) -> int:
    """Frames of a clip, by its packets where the header of a video does not tell.

    Raises:
        ImageError: it cannot be opened, or has none.
    """
    if path.is_dir():
        return len(frame_files(path))
    av = decoder()
    with _opened(av, path) as container:
        stream = container.streams.video[0]
        try:
            count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        except av.error.FFmpegError as error:
            raise ImageError(path, f"cannot be read ({error.strerror})") from error
    if not 0 < count <= MOST_FRAMES:
        raise ImageError(path, f"has {count} frames; from 1 to {MOST_FRAMES:,} are read")
    return count


def _opened(av: Any, path: Path) -> Any:
    try:
        return open_stream(av, str(path), camera=False)
    except UserError as error:
        raise ImageError(path, str(error).removeprefix(f"{printable(str(path))}: ")) from error


def middle_frame(path: Path) -> Image.Image | None:
    """The frame in the middle of a clip, to show it; None if it cannot be read any more."""
    try:
        return read_frames(path, 1)[0]
    except UserError:
        return None


def resized(pictures: Sequence[Image.Image], short: int) -> np.ndarray:
    """Frames with a short side of so many pixels, ``T H W 3`` bytes."""
    width, height = pictures[0].size
    factor = short / min(width, height)
    size = max(short, math.floor(width * factor + 0.5)), max(short, math.floor(height * factor + 0.5))
    return np.stack([np.asarray(picture.resize(size, Image.Resampling.BILINEAR)) for picture in pictures])
