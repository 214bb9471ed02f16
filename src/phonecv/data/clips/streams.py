"""Videos and cameras, frame by frame: opening them safely, and saying what is wrong with those that cannot be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from phonecv.data.pictures.opening import MAX_PIXELS
from phonecv.errors import UserError
from phonecv.text import printable

#: Extensions taken for videos, in lower case.
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".3gp", ".wmv", ".flv", ".ogv",
)  # fmt: skip

#: How cameras are reached: FFmpeg's input format, and what camera number N is called.
_CAMERAS = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}:none"),
    "win32": ("dshow", "video={}"),
}

#: Parts of a file that are looked at where FFmpeg finds nothing.
_MOST_BOXES = 100

#: Damaged packets that are passed over before a file is given up.
_MOST_DAMAGED = 100


class Unreadable(Exception):
    """The decoder gave up."""


def is_video(source: Path | str) -> bool:
    """Whether a path is named like a video."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES


def missing_end(container: Any, last: float) -> str:
    """Whether a video ended long before the length that its header gives, or ""; sound may be longer."""
    stream = container.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        length = float(stream.duration * stream.time_base)
    elif len(container.streams) == 1 and container.duration is not None:
        length = container.duration / 1_000_000
    else:
        return ""
    slack = max(1.0, 0.02 * length, 3 / float(stream.average_rate or 30))
    return f"ended at {last:.1f} s of {length:.1f} s: it is cut off or damaged" if last < length - slack else ""


def decoder() -> ModuleType:
    """The package `av`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            'videos and cameras need the extra "video": pip install "phonecv[video]" (it installs av)'
        ) from error
    return av


def open_stream(av: ModuleType, source: str, *, camera: bool) -> Any:
    """The opened container, with a video stream.

    Raises:
        UserError: there is none at `source`, or it cannot be read.
    """
    options: dict[str, Any] = {}
    place = source
    if camera:
        kind, pattern = _CAMERAS.get(sys.platform, _CAMERAS["linux"])
        options = {"format": kind}
        place = pattern.format(source) if source.isdecimal() else source
    elif not Path(source).is_file():
        # Without this check FFmpeg would also open addresses of the network and its own virtual sources.
        raise UserError(f"{printable(source)}: {'a folder, not a video' if Path(source).is_dir() else 'no such file'}")
    else:
        place = f"file:{source}"
    try:
        container = av.open(place, **options)
    except (av.error.FFmpegError, ValueError) as error:
        what = "no camera that can be opened" if camera else _unreadable(Path(source))
        raise UserError(f"{printable(place.removeprefix('file:'))}: {what} ({_reason(error)})") from error
    try:
        if not container.streams.video:
            raise UserError(f"{printable(source)}: there is no picture in this file, only sound or data")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise UserError(
                f"{printable(source)}: its pictures are coded in a way that this build of av does not know; convert it"
                " to H.264, for example with `ffmpeg -i FILE new.mp4`"
            )
        if not stream.width * stream.height:
            raise UserError(f"{printable(source)}: its header gives pictures of no size; it may be cut off or damaged")
    except UserError:
        container.close()
        raise
    return container


def _unreadable(path: Path) -> str:
    """Why FFmpeg can't open a file, as far as its first bytes tell."""
    if not path.stat().st_size:
        return "an empty file"
    boxes = _boxes(path)
    if b"mdat" in boxes and b"moov" not in boxes:
        return (
            "the index of the video is missing (no moov box), so its recording or copy was cut off; copy it again, or"
            " mend it with a tool such as untrunc and a whole video of the same camera"
        )
    return "not a video that can be read"


def _boxes(path: Path) -> list[bytes]:
    """Names of the outermost parts of an MP4 or QuickTime file."""
    names: list[bytes] = []
    with path.open("rb") as file:
        while len(names) < _MOST_BOXES and len(head := file.read(16)) >= 8:
            size, name = int.from_bytes(head[:4], "big"), head[4:8]
            names.append(name)
            if size == 1 and len(head) == 16:
                size = int.from_bytes(head[8:], "big")
            if size < 8:  # up to the end of the file, or nonsense
                break
            file.seek(size - len(head), 1)
    return names


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).split("\n")[0]


def frames(av: ModuleType, container: Any, *, threads: str = "AUTO") -> Iterator[tuple[float, Any]]:
    """Seconds since the start, and the decoder's frame, of every frame; `uprighter` makes pixels of it.

    Raises:
        Unreadable: the file is damaged from here on.
        UserError: frames too large to be decoded.
    """
    stream = container.streams.video[0]
    stream.thread_type = threads
    if stream.width * stream.height > MAX_PIXELS:
        raise UserError(f"frames of {stream.width} x {stream.height} pixels exceed the limit of {MAX_PIXELS:,}")
    rate = float(stream.average_rate or 30)
    first: float | None = None
    damaged = 0
    number = 0
    packets = container.demux(stream)
    while True:
        try:
            decoded = next(packets).decode()
        except (StopIteration, av.error.EOFError):
            return
        except av.error.InvalidDataError as error:
            # A damaged spot: players go on behind it, and so does this, unless nothing else comes.
            damaged += 1
            if damaged > _MOST_DAMAGED:
                raise Unreadable(_reason(error)) from error
            continue
        except av.error.FFmpegError as error:
            raise Unreadable(_reason(error)) from error
        for frame in decoded:
            moment = number / rate if frame.time is None else float(frame.time)
            first = moment if first is None else first
            yield moment - first, frame
            number += 1


def uprighter(av: ModuleType) -> Callable[[Any], np.ndarray]:
    """What makes RGB, ``H W 3`` bytes, of a decoder's frames, turned as they are to be shown.

    One for all frames of a video: the converter is set up once, which for small frames takes longer than converting.
    """
    converter = av.video.reformatter.VideoReformatter()

    def upright(frame: Any) -> np.ndarray:
        pixels = converter.reformat(frame, format="rgb24").to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, k=round(frame.rotation / 90) % 4))

    return upright
