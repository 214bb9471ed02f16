"""Evaluating a classifier of clips: the probabilities of several crops are averaged."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from phonecv.data.clips.listing import read_clips
from phonecv.data.clips.transforms import EvalClips
from phonecv.data.folders.listing import Listing
from phonecv.video.opening import VideoRunner
from phonecv.video.result import VideoResult
from phonecv.video.verbs import EvaluateOptions
from phonecv.whole.evaluate import WholeEvaluation, evaluation_of


def evaluation(
    runner: VideoRunner, data: Listing | Path | str, split: str, limit: int | None, options: EvaluateOptions
) -> WholeEvaluation:
    """See `phonecv.evaluating.EvaluateRoom`."""
    listing = data if isinstance(data, Listing) else read_clips(data, split, list_file=options.list_file)
    reader, trust = partial(clip_reader, views=options.crops), options.list_file is not None
    return evaluation_of(runner, listing, limit, trust_labels=trust, reader=reader, kind=VideoResult)


def clip_reader(runner: VideoRunner, views: int = 1) -> EvalClips:
    """What reads clips for a model."""
    return EvalClips(runner.preprocessing, runner.frames, views)
