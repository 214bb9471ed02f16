"""Objects in videos and camera streams: a frame in, a frame out, so that any length fits into memory."""

from __future__ import annotations

import json
import math
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

from phonecv.data.clips.streams import Unreadable, decoder, missing_end, open_stream, uprighter
from phonecv.data.clips.streams import frames as stream_frames
from phonecv.data.pictures.opening import printable
from phonecv.detect.finding import find, plain_detections
from phonecv.detect.opening import DetectRunner
from phonecv.detect.verbs import THRESHOLD
from phonecv.errors import UserError
from phonecv.files import atomic_path
from phonecv.predicting import OnFrame, Prediction

#: Written times are multiples of 1 / this: fine enough for every frame rate, coarse enough for every encoder.
_TICKS = 60_000

#: The best encoder of those that a build of FFmpeg may have.
_ENCODERS = (("libx264", {"crf": "20", "preset": "veryfast"}), ("h264", {}), ("mpeg4", {"qscale": "4"}))


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


def predict_video(
    runner: DetectRunner,
    source: Path | str,
    *,
    camera: bool = False,
    out: Path | str | None = None,
    threshold: float = THRESHOLD,
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
        file_name: of the files in `out`, without extension; None takes that of the source.
        on_frame: called with {"frame", "time" in seconds, "detections"} of every frame.

    Raises:
        UserError: no decoder is installed, or the source cannot be opened.
    """
    av = decoder()
    container, upright = open_stream(av, str(source), camera=camera), uprighter(av)
    counted: Counter[str] = Counter()
    frames, error = 0, ""
    with container:
        start = time.perf_counter()
        name = file_name or output_name(source, camera=camera)
        last = 0.0
        with _writer(av, out, name) as write:
            try:
                for number, (moment, frame) in enumerate(stream_frames(av, container)):
                    picture = torch.from_numpy(np.ascontiguousarray(upright(frame).transpose(2, 0, 1)))
                    ((found, _),) = find(runner, [picture], threshold)
                    entries = plain_detections(found, runner.classes)
                    counted.update(entry["category"] for entry in entries)
                    write(number, moment, picture, found, runner.classes, entries)
                    frames, last = frames + 1, moment
                    if on_frame is not None:
                        on_frame(frame_record(number, moment, entries))
            except KeyboardInterrupt:
                error = "" if camera else "stopped by Ctrl-C"
            except Unreadable as problem:
                error = f"cannot be read further ({problem})"
            if not frames and not error:
                error = "holds no frame that can be decoded"
            if not error and not camera:
                error = missing_end(container, last)
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
