"""The verbs in Python: find out what a name, file or network is, open it once, and hand it to its task."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import torch

from phonecv.data.pictures.bit_depth import tell_depth
from phonecv.data.pictures.opening import find_images
from phonecv.errors import UserError
from phonecv.evaluating import EvaluationResult, ResultsRoom, evaluate_opened, evaluate_room, finished
from phonecv.generating import Generation, generate_room
from phonecv.opening import at_depth, open_runner, task_of
from phonecv.options import Count, taken, verbs_room
from phonecv.predicting import OnFrame, Prediction, predict_room
from phonecv.task import TASKS
from phonecv.verbs import Opening, Steps, settled

if TYPE_CHECKING:
    from phonecv.classify.opening import ClassifyRunner
    from phonecv.classify.result import ClassificationResult
    from phonecv.detect.base import Detector
    from phonecv.detect.opening import DetectRunner
    from phonecv.detect.predict import PictureDetections
    from phonecv.detect.result import DetectionResult
    from phonecv.generation.generate import Samples
    from phonecv.generation.network import Generator
    from phonecv.generation.opening import GenerateRunner
    from phonecv.generation.result import GenerationResult
    from phonecv.models import VisionModel
    from phonecv.segment.base import Segmenter
    from phonecv.segment.opening import SegmentRunner
    from phonecv.segment.predict import PictureClassMap
    from phonecv.segment.result import SegmentationResult
    from phonecv.whole.predict import PictureClasses

#: Where the pictures are.
Images = Path | str | Sequence[Path | str]

#: Options that the verbs take for every model.
_OPENING = ("device", "amp")
_PREDICT = ("out", "batch_size", "workers", *_OPENING, "on_progress", "on_frame")
_GENERATE = ("out", "batch_size", *_OPENING, "on_progress")
_EVALUATE = ("split", "out", "batch_size", "workers", *_OPENING, "limit", "on_progress")


@overload
def predict(model: VisionModel | ClassifyRunner, images: Images, **options: Any) -> list[PictureClasses]: ...
@overload
def predict(model: Detector | DetectRunner, images: Images, **options: Any) -> list[PictureDetections]: ...
@overload
def predict(model: Segmenter | SegmentRunner, images: Images, **options: Any) -> list[PictureClassMap]: ...
@overload
def predict(model: Any, images: Images, **options: Any) -> list[Any]: ...
def predict(
    model: Any,
    images: Images,
    *,
    out: Path | str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    on_progress: Callable[[int, int], None] | None = None,
    on_frame: OnFrame | None = None,
    **options: Any,
) -> list[Any]:
    """What a model says about pictures; what it is for decides how.

    A picture that cannot be read gets an error and the others go on.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights are used, "name:tag"
            chooses among them), the path of an exported file, or a runner.
        images: a picture, a folder (searched through), a pattern such as "photos/*.jpg", or several of them; for
            detectors also videos.
        out: folder for tables and pictures of the predictions.
        batch_size: pictures per step; None chooses. No result depends on it.
        workers: loader processes or threads; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        on_progress: called with (done, all) after every step.
        on_frame: called with a record of each frame of a video or camera.
        **options: of the model's task, fields of the `PredictOptions` in `phonecv.<task>.verbs`, such as ``topk=3`` or
            ``threshold=0.5``; and arguments of `load_checkpoint`, such as ``ema=True``.

    Returns:
        A `Prediction` of the task per picture, in the order found, then one per video and camera. Each prints itself,
        and has `path`, `error` and `to_dict()`.

    Raises:
        UserError: unusable model, no pictures, an unknown option or one of another task, a value out of range.
    """
    task = task_of(model)
    steps = Steps(batch_size, workers)
    own, loading = settled(task, "predict", _given(options), common=_PREDICT, model=model)
    room = predict_room(task)
    sources, streams = room.streams([images] if isinstance(images, Path | str) else list(images), own)
    paths = [path for source in sources for path in find_images(source)]
    if not paths and not streams:
        raise UserError("no pictures were named; give files, folders or patterns such as 'photos/*.jpg'")
    runner = open_runner(model, task, Opening(device, amp, loading), own.opening)
    folder = None if out is None else Path(out)
    said: list[Prediction] = []
    if paths:
        runner, depth = at_depth(runner, paths)
        tell_depth(depth)
        for step in room.predictions(runner, paths, steps, own, folder):
            said += step
            if on_progress is not None:
                on_progress(len(said), len(paths))
        if folder is not None:
            room.write_predictions(said, folder)
    return said + [stream(runner, out=folder, on_frame=on_frame) for stream in streams]


@overload
def generate(model: Generator | GenerateRunner, out: Path | str | None = ..., **options: Any) -> Samples: ...
@overload
def generate(model: Any, out: Path | str | None = ..., **options: Any) -> Any: ...
def generate(
    model: Any,
    out: Path | str | None = None,
    *,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    on_progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Generation:
    """Pictures that a model makes of nothing but noise and what is asked for.

    Args:
        model: a network, a checkpoint, the path of an exported file, or a runner.
        out: folder for the pictures, a grid of them, and how each was made (samples.json).
        batch_size: pictures per step; None chooses. No result depends on it.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        on_progress: called with (done, all) after every step.
        **options: of the model's task, fields of the `GenerateOptions` in `phonecv.<task>.verbs`, such as
            ``classes="3,7"`` or ``seed=1``; and arguments of `load_checkpoint`, such as ``ema=True``.

    Returns:
        A `Generation` of the task: it prints itself, and has `images` and `to_dict()`.

    Raises:
        UserError: unusable model, one that generates nothing, an unknown option, or a value out of range.
    """
    task, steps = task_of(model), Steps(batch_size)
    own, loading = settled(task, "generate", _given(options), common=_GENERATE, model=model)
    runner = open_runner(model, task, Opening(device, amp, loading), own.opening)
    made = generate_room(task).generated(runner, steps, own, on_progress)
    if out is not None:
        generate_room(task).write_generated(made, Path(out))
    return made


@overload
def evaluate(model: VisionModel | ClassifyRunner, data: Any, **options: Any) -> ClassificationResult: ...
@overload
def evaluate(model: Detector | DetectRunner, data: Any, **options: Any) -> DetectionResult: ...
@overload
def evaluate(model: Segmenter | SegmentRunner, data: Any, **options: Any) -> SegmentationResult: ...
@overload
def evaluate(model: Generator | GenerateRunner, data: Any, **options: Any) -> GenerationResult: ...
@overload
def evaluate(model: Any, data: Any, **options: Any) -> Any: ...
def evaluate(
    model: Any,
    data: Any,
    *,
    split: str = "val",
    out: Path | str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | torch.device | None = None,
    amp: str = "none",
    limit: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> EvaluationResult:
    """How good a model is on a data set; what it is for decides how.

    Classifiers give top-1 and top-5 on a folder per class or a list, detectors COCO's average precision on a data set
    in COCO's format, segmenters IoU on label maps.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights), the path of an
            exported file, or a runner. A ``.json`` file of COCO results stands for the detector that wrote it.
        data: a data folder, or a split that was read already.
        split: of a data folder.
        out: folder for tables, pictures and a page that shows them (report.html).
        batch_size: pictures per step; None chooses. No result depends on it.
        workers: loader processes or threads; None chooses.
        device: for PyTorch; None for a GPU if there is one.
        amp: "none" (float32), "bf16" or "fp16".
        limit: only the first pictures.
        on_progress: called with (done, all) after every step.
        **options: of the model's task, fields of the `EvaluateOptions` in `phonecv.<task>.verbs`, such as
            ``list_file="val.txt"``; and arguments of `load_checkpoint`, such as ``ema=True``.

    Returns:
        The `EvaluationResult` of the task. It prints its figures and has `summary()`.

    Raises:
        UserError: unusable model or data, classes that do not fit, no readable picture, an unknown option or one of
            another task, or a value out of range.
    """
    steps, limit = Steps(batch_size, workers), taken(limit, Count | None, "limit")
    results = _results_task(model)
    task = results or task_of(model)
    own, loading = settled(task, "evaluate", _given(options), common=_EVALUATE, model=model)
    if results is not None:
        what = verbs_room(task).RESULTS[Path(model).suffix.lower()]
        opening = {"device": device, "amp": None if amp == "none" else amp, "limit": limit}
        for name in [*_given(opening), *loading.given, *_given({"batch_size": batch_size, "workers": workers})]:
            raise UserError(f"{name} is for models; {str(model)!r} is {what}")
        start = time.perf_counter()
        room = cast(ResultsRoom, TASKS[task].room("evaluate"))
        return finished(room.evaluate_results(data, model, split, own), start, out)
    room = evaluate_room(task)
    runner = open_runner(model, task, Opening(device, amp, loading), own.opening)
    evaluation = room.evaluation(runner, data, split, limit, own)
    return evaluate_opened(evaluation, steps, out=out, on_progress=on_progress)


def _results_task(model: Any) -> str | None:
    """The task whose file of results this is, by its name; None for anything else."""
    if not isinstance(model, Path | str):
        return None
    suffix = Path(model).suffix.lower()
    return next((task for task in TASKS if suffix in verbs_room(task).RESULTS), None)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
