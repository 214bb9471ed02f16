"""Runners of a task by whatever names a model, with the way of inference that a test asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from phonecv.classify.opening import ClassifyRunner
from phonecv.detect.opening import DetectRunner
from phonecv.detect.verbs import OpeningOptions
from phonecv.opening import open_runner
from phonecv.segment import verbs as segment
from phonecv.segment.opening import SegmentRunner
from phonecv.verbs import Opening
from phonecv.weights import Loading


def open_classifier(
    model: Any, *, device: str | torch.device | None = None, amp: str = "none", loading: Loading | None = None
) -> ClassifyRunner:
    return open_runner(model, "classify", Opening(device, amp, loading or Loading()))


def open_detector(
    model: Any,
    *,
    device: str | torch.device | None = None,
    amp: str = "none",
    options: OpeningOptions | None = None,
    loading: Loading | None = None,
) -> DetectRunner:
    return open_runner(model, "detect", Opening(device, amp, loading or Loading()), options)


def open_segmenter(
    model: Any,
    *,
    device: str | torch.device | None = None,
    amp: str = "none",
    slide: tuple[int, int] | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    loading: Loading | None = None,
) -> SegmentRunner:
    options = segment.OpeningOptions(slide, tuple(scales), flip)
    return open_runner(model, "segment", Opening(device, amp, loading or Loading()), options)
