"""What a classifier of clips says about videos, folders of frames and a camera: names and probabilities."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from phonecv.data.clips.reading import find_clips, middle_frame, places
from phonecv.data.clips.streams import Unreadable, decoder, frames, open_stream, uprighter
from phonecv.data.clips.transforms import clip_pixels
from phonecv.errors import UserError
from phonecv.files import atomic_path
from phonecv.predicting import OnFrame, Prediction, Stream
from phonecv.text import printable
from phonecv.verbs import Steps
from phonecv.video.evaluate import clip_reader
from phonecv.video.opening import VideoRunner
from phonecv.video.verbs import PredictOptions
from phonecv.whole import predict
from phonecv.whole.predict import PictureClasses, best_classes

#: Frames per second that are kept of a camera's stream: a clip needs few of them.
KEPT = 15

find_samples = find_clips

write_predictions = partial(predict.write_predictions, show=middle_frame)


def streams(sources: Sequence[Path | str], options: PredictOptions) -> tuple[Sequence[Path | str], list[Stream]]:
    """A camera; videos are clips as folders of frames are. See `phonecv.predicting.PredictRoom`."""
    return sources, [] if options.camera is None else [partial(watch, options=options)]


def predictions(
    runner: VideoRunner, paths: Sequence[Path], steps: Steps, options: PredictOptions, out: Path | None
) -> Iterator[list[PictureClasses]]:
    """See `phonecv.predicting.PredictRoom`."""
    say = partial(best_classes, names=runner.classes, topk=options.topk)
    return predict.predictions(runner, paths, steps, clip_reader(runner), say)


@dataclass(frozen=True, slots=True)
class Watched(Prediction):
    """What became of a camera's stream.

    Attributes:
        lines: the file with a JSON line for each answer, or None.
        answers: how many were given.
        last: the last one, in words.
        seconds: it took.
    """

    lines: Path | None
    answers: int
    last: str
    seconds: float

    def said(self) -> str:
        """See `Prediction`."""
        speed = self.answers / self.seconds if self.seconds > 0 else 0.0
        return f"{self.answers} answers ({speed:.1f} per second), the last: {self.last}"

    def values(self) -> dict[str, Any]:
        """See `Prediction`."""
        lines = None if self.lines is None else str(self.lines)
        return {"lines": lines, "answers": self.answers, "seconds": round(self.seconds, 3)}


def watch(runner: VideoRunner, *, out: Path | None, on_frame: OnFrame | None, options: PredictOptions) -> Watched:
    """Say again and again what happened in the last seconds before a camera, until Ctrl-C or the stream's end.

    Raises:
        UserError: no decoder is installed, the camera cannot be opened, or it gives nothing.
    """
    av, source = decoder(), str(options.camera)
    container, upright = open_stream(av, source, camera=True), uprighter(av)
    lines = None if out is None else out / f"camera-{Path(source).name}-classes.jsonl"
    kept: deque[tuple[float, Image.Image]] = deque()
    answers, said, error, start, due, newest = 0, "", "", time.perf_counter(), options.span, float("-inf")
    with ExitStack() as stack:
        stack.enter_context(container)
        file = None if lines is None else stack.enter_context(stack.enter_context(atomic_path(lines)).open("w"))
        try:
            for number, (moment, frame) in enumerate(frames(av, container)):
                if moment - newest < 1 / KEPT:
                    continue
                newest = moment
                kept.append((moment, Image.fromarray(upright(frame))))
                while moment - kept[0][0] > options.span:
                    kept.popleft()
                if moment < due:
                    continue
                due = moment + options.every
                found = _answer(runner, [picture for _, picture in kept], source, options.topk)
                record = {"frame": number, "time": round(moment, 4), **found.values()}
                answers, said = answers + 1, found.said()
                if file is not None:
                    file.write(json.dumps(record) + "\n")
                if on_frame is not None:
                    on_frame(record)
        except KeyboardInterrupt:
            pass
        except Unreadable as problem:
            error = f"cannot be read further ({problem})"
        if not kept:
            raise UserError(f"{printable(source)}: {error or 'holds no frame that can be decoded'}")
    return Watched(Path(source), lines, answers, said, time.perf_counter() - start, error=error)


def _answer(runner: VideoRunner, pictures: Sequence[Image.Image], source: str, topk: int) -> PictureClasses:
    chosen = [pictures[place] for place in places(len(pictures), runner.frames, shaken=False)]
    reader = clip_reader(runner)
    clip = reader.normalise(clip_pixels(chosen, runner.preprocessing)[None])
    return best_classes(runner(clip).numpy(), [Path(source)], runner.classes, topk)[0]
