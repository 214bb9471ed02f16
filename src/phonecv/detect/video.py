"""Objects in videos and camera streams: a frame in, a frame out, so that any length fits into memory."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonecv.data.pictures.opening import MAX_PIXELS, printable
from phonecv.detect.finding import find, plain_detections
from phonecv.detect.opening import DetectRunner
from phonecv.detect.verbs import THRESHOLD
from phonecv.errors import UserError
from phonecv.files import atomic_path
from phonecv.options import Count, Share, taken
from phonecv.predicting import OnFrame, Prediction

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

#: Written times are multiples of 1 / this: fine enough for every frame rate, coarse enough for every encoder.
_TICKS = 60_000

#: The best encoder of those that a build of FFmpeg may have.
_ENCODERS = (("libx264", {"crf": "20", "preset": "veryfast"}), ("h264", {}), ("mpeg4", {"qscale": "4"}))

#: Parts of a file that are looked at where FFmpeg finds nothing.
_MOST_BOXES = 100

#: Damaged packets that are passed over before a file is given up.
_MOST_DAMAGED = 100


@dataclass(frozen=True, slots=True)
class VideoDetections(Prediction):
    """What became of a video.

    Attributes:
        path: file or camera.
        video: the annotated video, or None if no folder was given.
        lines: the file with a JSON line for each frame, or None.
        frames: how many were read.
        objects: detections by class name, summed over the frames.
        seconds: it took.
        error: why it ended before its end, or an empty text.
    """

    video: Path | None
    lines: Path | None
    frames: int
    objects: dict[str, int]
    seconds: float

    def said(self) -> str:
        """See `Prediction`."""
        counted = ", ".join(f"{count} {name}" for name, count in self.objects.items()) or "nothing"
        speed = self.frames / self.seconds if self.seconds > 0 else 0.0
        return f"{self.frames} frames ({speed:.1f} per second), {counted}"

    def __str__(self) -> str:
        text = f"{printable(self.path)}: {self.said()}"
        return f"{text}; {self.error}" if self.error else text

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `source` stands in the place of `path`."""
        return {"source": printable(self.path), **self.values(), "error": self.error}

    def values(self) -> dict[str, Any]:
        """See `Prediction`."""
        return {
            "video": None if self.video is None else str(self.video),
            "lines": None if self.lines is None else str(self.lines),
            "frames": self.frames,
            "objects": self.objects,
            "seconds": round(self.seconds, 3),
        }


class _Unreadable(Exception):
    """The decoder gave up."""


def is_video(source: Path | str) -> bool:
    """Whether a path is named like a video."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES


def predict_video(
    runner: DetectRunner,
    source: Path | str,
    *,
    camera: bool = False,
    out: Path | str | None = None,
    threshold: Share = THRESHOLD,
    limit: Count | None = None,
    file_name: str | None = None,
    on_frame: OnFrame | None = None,
) -> VideoDetections:
    """Find objects in every frame of a video or a camera, one after the other.

    Ctrl-C ends a stream, and what was written until then is kept; so does an error in the middle of a file.

    Args:
        runner: a detector that is open.
        source: a video file; or with `camera` its number, such as "0", or its device.
        camera: `source` is a camera.
        out: folder for ``NAME.mp4`` with the objects drawn (without sound) and ``NAME.jsonl`` with a line per frame:
            {"frame", "time" in seconds, "detections"}.
        threshold: least score.
        limit: only the first frames.
        file_name: of the files in `out`, without extension; None takes that of the source.
        on_frame: called with {"frame", "time" in seconds, "detections"} of every frame.

    Raises:
        UserError: no decoder is installed, the source cannot be opened, or a number is out of range.
    """
    threshold, limit = taken(threshold, Share, "threshold"), taken(limit, Count | None, "limit")
    av = _decoder()
    container = _open(av, str(source), camera=camera)
    counted: Counter[str] = Counter()
    frames, error = 0, ""
    with container:
        start = time.perf_counter()
        name = file_name or output_name(source, camera=camera)
        last = 0.0
        with _writer(av, out, name) as write:
            try:
                for number, (moment, picture) in enumerate(_frames(av, container)):
                    if limit is not None and number >= limit:
                        break
                    (found,) = find(runner, [picture], threshold)
                    entries = plain_detections(found, runner.classes)
                    counted.update(entry["category"] for entry in entries)
                    write(number, moment, picture, found, runner.classes, entries)
                    frames, last = frames + 1, moment
                    if on_frame is not None:
                        on_frame(frame_record(number, moment, entries))
            except KeyboardInterrupt:
                error = "" if camera else "stopped by Ctrl-C"
            except _Unreadable as problem:
                error = f"cannot be read further ({problem})"
            if not frames and not error:
                error = "holds no frame that can be decoded"
            if not error and limit is None and not camera:
                error = _missing_end(container, last)
            if not frames:
                raise UserError(f"{printable(str(source))}: {error}")
    folder = None if out is None else Path(out)
    return VideoDetections(
        Path(source),
        folder and folder / f"{name}.mp4",
        folder and folder / f"{name}.jsonl",
        frames,
        dict(counted.most_common()),
        time.perf_counter() - start,
        error=error,
    )


def frame_record(number: int, moment: float, detections: list[dict[str, Any]]) -> dict[str, Any]:
    """What is told of a frame, as a line of a file and as it comes."""
    return {"frame": number, "time": round(moment, 4), "detections": detections}


def output_name(source: Path | str, *, camera: bool = False) -> str:
    """What the files of a video are called, without extension.

    A video of the folder itself must not be overwritten by its own copy, hence the ending.
    """
    stem = f"camera-{Path(str(source)).name}" if camera else printable(Path(source).stem)[:80]
    return f"{stem}-detections"


def _missing_end(container: Any, last: float) -> str:
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


def _decoder() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise UserError(
            'videos and cameras need the extra "video": pip install "phonecv[video]" (it installs av)'
        ) from error
    return av


def _open(av: ModuleType, source: str, *, camera: bool) -> Any:
    """The opened container, with a video stream."""
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


def _frames(av: ModuleType, container: Any) -> Iterator[tuple[float, Tensor]]:
    """Seconds since the start and ``3 H W`` bytes of every frame, upright."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
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
                raise _Unreadable(_reason(error)) from error
            continue
        except av.error.FFmpegError as error:
            raise _Unreadable(_reason(error)) from error
        for frame in decoded:
            moment = number / rate if frame.time is None else float(frame.time)
            first = moment if first is None else first
            picture = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90) % 4)
            yield moment - first, torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
            number += 1


@contextmanager
def _writer(av: ModuleType, out: Path | str | None, name: str) -> Iterator[Callable[..., None]]:
    """A function that writes one frame and its line; without a folder it does nothing."""
    if out is None:
        yield lambda *_: None
        return
    from phonecv.detect.draw import draw_detections

    out = Path(out)
    with (
        atomic_path(out / f"{name}.mp4") as video_path,
        atomic_path(out / f"{name}.jsonl") as lines_path,
        lines_path.open("w", encoding="utf-8") as lines,
        av.open(str(video_path), "w", format="mp4") as video,
    ):
        stream: Any = None
        last = -1

        def write(
            number: int, moment: float, picture: Tensor, found: Any, classes: tuple[str, ...], entries: list[Any]
        ) -> None:
            nonlocal stream, last
            lines.write(json.dumps(frame_record(number, moment, entries)) + "\n")
            drawn = draw_detections(picture, found, classes).permute(1, 2, 0).contiguous().numpy()
            # The encoders want even sides: a missing line is filled by its neighbour.
            drawn = np.pad(drawn, ((0, drawn.shape[0] % 2), (0, drawn.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = _stream(av, video, drawn.shape[1], drawn.shape[0])
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            if (frame.width, frame.height) != (stream.width, stream.height):
                frame = frame.reformat(stream.width, stream.height)
            # Times of damaged files may stand still or go back; those of a video must rise.
            last = max(last + 1, math.floor(moment * _TICKS + 0.5))
            frame.pts, frame.time_base = last, Fraction(1, _TICKS)
            video.mux(stream.encode(frame))

        yield write
        if stream is not None:
            video.mux(stream.encode(None))


def _stream(av: ModuleType, video: Any, width: int, height: int) -> Any:
    """An output stream of the best encoder there is."""
    for codec, options in _ENCODERS:
        try:
            av.codec.Codec(codec, "w")
        except (av.codec.codec.UnknownCodecError, ValueError):
            continue
        stream = video.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
        return stream
    raise UserError("this build of av holds no encoder for MP4 videos; install av from PyPI")
