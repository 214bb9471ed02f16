"""The verbs in Python: find out what a name, file or network is, open it once, and hand it to its task."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, cast, overload

from phonecv.data.pictures.bit_depth import tell_depth
from phonecv.data.splitting.lists import own_list
from phonecv.errors import UserError
from phonecv.evaluating import (
    EvaluationResult,
    ResultsRoom,
    evaluate_opened,
    evaluate_room,
    finished,
    own_list_told,
    unlisted,
)
from phonecv.generating import GenerateRoom, Generation
from phonecv.opening import AnyRunner, Runner, at_depth, open_runner, task_of
from phonecv.options import verbs_room
from phonecv.predicting import Prediction, PredictRoom
from phonecv.sharing import share
from phonecv.task import TASKS
from phonecv.verbs import ALONE, Opening, Steps, Together, settled
from phonecv.weights.loading import Loading

if TYPE_CHECKING:
    from phonecv.classify import verbs as classify
    from phonecv.classify.opening import ClassifyRunner
    from phonecv.classify.result import ClassificationResult
    from phonecv.detect import verbs as detect
    from phonecv.detect.base import Detector
    from phonecv.detect.opening import DetectRunner
    from phonecv.detect.predict import PictureDetections
    from phonecv.detect.result import DetectionResult
    from phonecv.generation import verbs as generation
    from phonecv.generation.generate import Samples
    from phonecv.generation.network import Generator
    from phonecv.generation.opening import GenerateRunner
    from phonecv.generation.result import GenerationResult
    from phonecv.models import VisionModel
    from phonecv.segment import verbs as segment
    from phonecv.segment.base import Segmenter
    from phonecv.segment.opening import SegmentRunner
    from phonecv.segment.predict import PictureClassMap
    from phonecv.segment.result import SegmentationResult
    from phonecv.video import verbs as video
    from phonecv.video.network import VideoClassifier
    from phonecv.video.opening import VideoRunner
    from phonecv.video.result import VideoResult
    from phonecv.whole.predict import PictureClasses

#: Where the pictures are.
Images = Path | str | Sequence[Path | str]

Classify = ParamSpec("Classify")
Detect = ParamSpec("Detect")
Segment = ParamSpec("Segment")
Generate = ParamSpec("Generate")
Video = ParamSpec("Video")


class Predict(Protocol[Classify, Detect, Segment, Video]):
    """`predict` for type checkers: a network or a runner says what comes, a path or name does not."""

    @overload
    def __call__(
        self, model: VisionModel | ClassifyRunner, images: Images, /, *_: Classify.args, **options: Classify.kwargs
    ) -> list[PictureClasses]: ...
    @overload
    def __call__(
        self, model: Detector | DetectRunner, images: Images, /, *_: Detect.args, **options: Detect.kwargs
    ) -> list[PictureDetections]: ...
    @overload
    def __call__(
        self, model: Segmenter | SegmentRunner, images: Images, /, *_: Segment.args, **options: Segment.kwargs
    ) -> list[PictureClassMap]: ...
    @overload
    def __call__(
        self, model: VideoClassifier | VideoRunner, images: Images, /, *_: Video.args, **options: Video.kwargs
    ) -> list[PictureClasses]: ...
    @overload
    def __call__(self, model: Path | str, images: Images, /, **options: Any) -> list[SomePrediction]: ...


class Evaluate(Protocol[Classify, Detect, Segment, Generate, Video]):
    """`evaluate` for type checkers, likewise."""

    @overload
    def __call__(
        self, model: VisionModel | ClassifyRunner, data: Any, /, *_: Classify.args, **options: Classify.kwargs
    ) -> ClassificationResult: ...
    @overload
    def __call__(
        self, model: Detector | DetectRunner, data: Any, /, *_: Detect.args, **options: Detect.kwargs
    ) -> DetectionResult: ...
    @overload
    def __call__(
        self, model: Segmenter | SegmentRunner, data: Any, /, *_: Segment.args, **options: Segment.kwargs
    ) -> SegmentationResult: ...
    @overload
    def __call__(
        self, model: Generator | GenerateRunner, data: Any, /, *_: Generate.args, **options: Generate.kwargs
    ) -> GenerationResult: ...
    @overload
    def __call__(
        self, model: VideoClassifier | VideoRunner, data: Any, /, *_: Video.args, **options: Video.kwargs
    ) -> VideoResult: ...
    @overload
    def __call__(self, model: Path | str, data: Any, /, **options: Any) -> SomeResult: ...


class Make(Protocol[Generate]):
    """`generate` for type checkers, likewise."""

    @overload
    def __call__(
        self, model: Generator | GenerateRunner, /, *_: Generate.args, **options: Generate.kwargs
    ) -> Samples: ...
    @overload
    def __call__(self, model: Path | str, /, **options: Any) -> SomeGeneration: ...


def predict_model(model: Any, images: Images, /, **options: Any) -> Any:
    """What a model says about pictures; what it is for decides how.

    A picture that cannot be read gets an error and the others go on.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights are used, "name:tag"
            chooses among them), the path of an exported file, or a runner.
        images: a picture, a folder (searched through), a pattern such as "photos/*.jpg", or several of them; for
            detectors also videos; for video classifiers videos and folders of frames.
        **options: fields of the `PredictOptions` in `phonecv.<task>.verbs` of the model's task, such as ``topk=3`` or
            ``threshold=0.5``, and of `phonecv.options.PredictOptions`, such as ``out="found"``; and arguments of
            `load_checkpoint`, such as ``ema=True``.

    Returns:
        A `Prediction` of the task per picture, in the order found, then one per video and camera. Each prints itself,
        and has `path`, `error` and `to_dict()`.

    Raises:
        UserError: unusable model, no pictures, an unknown option or one of another task, a value out of range.
    """
    task = task_of(model)
    own, loading = settled(task, "predict", options, model=model)
    _check_runtime(own, model)
    if own.devices > 1:
        return share("phonecv.api:_predicted", model, images, own, loading, task)
    return _predicted(model, images, own, loading, task)


def _predicted(model: Any, images: Images, own: Any, loading: Loading, task: str, world: Together = ALONE) -> Any:
    room = cast(PredictRoom, TASKS[task].room("predict"))
    sources, streams = room.streams([images] if isinstance(images, Path | str) else list(images), own)
    if streams and world.size > 1:
        raise UserError(f"devices={world.size}: videos and cameras are looked at by one process; leave devices out")
    paths = [path for source in sources for path in room.find_samples(source)]
    if not paths and not streams:
        raise UserError("no pictures were named; give files, folders or patterns such as 'photos/*.jpg'")
    runner = open_runner(model, task, Opening(own.device, own.amp, loading), own.opening)
    folder = None if own.out is None else Path(own.out)
    said: list[Prediction] = []
    if not isinstance(model, Runner):
        runner, told = _sped_up(runner, own, len(paths))
        tell_depth(told)
    if paths:
        runner, depth = at_depth(runner, paths)
        tell_depth(depth)
        for step in room.predictions(runner, paths, Steps(own.batch_size, own.workers, world), own, folder):
            said += step
            if own.on_progress is not None:
                own.on_progress(len(said), len(paths))
        shares = world.gather(said)
        if world.size > 1:
            said = [shares[place % world.size][place // world.size] for place in range(len(paths))]
        if folder is not None and world.rank == 0:
            room.write_predictions(said, folder)
    return said + [stream(runner, out=folder, on_frame=own.on_frame) for stream in streams]


def generate_model(model: Any, /, **options: Any) -> Any:
    """Pictures that a model makes of nothing but noise and what is asked for.

    Args:
        model: a network, a checkpoint, the path of an exported file, or a runner.
        **options: fields of the `GenerateOptions` in `phonecv.<task>.verbs` of the model's task, such as
            ``classes="3,7"`` or ``seed=1``, and of `phonecv.options.GenerateOptions`, such as ``out="made"`` (a folder
            for the pictures, a grid of them, and samples.json: how each was made); and arguments of `load_checkpoint`,
            such as ``ema=True``.

    Returns:
        A `Generation` of the task: it prints itself, and has `images` and `to_dict()`.

    Raises:
        UserError: unusable model, one that generates nothing, an unknown option, or a value out of range.
    """
    task = task_of(model)
    own, loading = settled(task, "generate", options, model=model)
    runner = open_runner(model, task, Opening(own.device, own.amp, loading), own.opening)
    room = cast(GenerateRoom, TASKS[task].room("generate"))
    made = room.generated(runner, Steps(own.batch_size), own, own.on_progress)
    if own.out is not None:
        room.write_generated(made, Path(own.out))
    return made


def evaluate_model(model: Any, data: Any, /, **options: Any) -> Any:
    """How good a model is on a data set; what it is for decides how.

    Classifiers of pictures or clips give top-1 and top-5 on a folder per class or a list, detectors COCO's average
    precision on a data set in COCO's format, segmenters IoU on label maps.

    Args:
        model: a network, a checkpoint path of any layout, a catalog name (its public weights), the path of an
            exported file, or a runner. A ``.json`` file of COCO results stands for the detector that wrote it.
        data: a data folder, or a split that was read already.
        **options: fields of the `EvaluateOptions` in `phonecv.<task>.verbs` of the model's task, such as
            ``list_file="val.txt"``, and of `phonecv.options.EvaluateOptions`, such as ``split="test"``; and arguments
            of `load_checkpoint`, such as ``ema=True``.

    Returns:
        The `EvaluationResult` of the task. It prints its figures and has `summary()`.

    Raises:
        UserError: unusable model or data, classes that do not fit, no readable picture, an unknown option or one of
            another task, or a value out of range.
    """
    results = _results_task(model)
    task = results or task_of(model)
    own, loading = settled(task, "evaluate", options, model=model)
    if results is not None:
        what = verbs_room(task).RESULTS[Path(model).suffix.lower()]
        plain = type(own)()
        for name in ("device", "amp", "limit", "batch_size", "workers", "runtime"):
            if getattr(own, name) != getattr(plain, name):
                raise UserError(f"{name} is for models; {str(model)!r} is {what}")
        for name in loading.given:
            raise UserError(f"{name} is for models; {str(model)!r} is {what}")
        start = time.perf_counter()
        room = cast(ResultsRoom, TASKS[task].room("evaluate"))
        return finished(room.evaluate_results(data, model, own.split, own), start, own.out)
    _check_runtime(own, model)
    if own.devices > 1:
        return share("phonecv.api:_evaluated", model, data, own, loading, task)
    return _evaluated(model, data, own, loading, task)


def _evaluated(model: Any, data: Any, own: Any, loading: Loading, task: str, world: Together = ALONE) -> Any:
    room = evaluate_room(task)
    runner = open_runner(model, task, Opening(own.device, own.amp, loading), own.opening)
    listed = own_list(model, data, own.split) if own.list_file is None else None
    if listed is not None:
        own = replace(own, list_file=listed)
    evaluation = room.evaluation(runner, data, own.split, own.limit, own)
    evaluation.notes += [own_list_told(listed, own.split)] if listed is not None else unlisted(model, data, own)
    if not isinstance(model, Runner):
        evaluation.runner, told = _sped_up(runner, own, len(evaluation.paths))
        evaluation.notes += [told] if told else []
    steps = Steps(own.batch_size, own.workers, world)
    return evaluate_opened(evaluation, steps, out=own.out, on_progress=own.on_progress)


def _check_runtime(own: Any, model: Any) -> None:
    if own.runtime != type(own)().runtime:  # what looks for one takes torch
        from phonecv.accelerating.running import check_runtime

        check_runtime(own.runtime, model, own.amp)


def _sped_up(runner: AnyRunner, own: Any, count: int) -> tuple[AnyRunner, str]:
    if runner.placed is None:
        return runner, ""
    from phonecv.accelerating.running import sped_up

    return sped_up(runner, own.opening, own.runtime, count)


def _results_task(model: Any) -> str | None:
    """The task whose file of results this is, by its name; None for anything else."""
    if not isinstance(model, Path | str):
        return None
    suffix = Path(model).suffix.lower()
    return next((task for task in TASKS if suffix in verbs_room(task).RESULTS), None)


if TYPE_CHECKING:

    class SomePrediction(Prediction):
        """Of a model that a path or name stands for: what every prediction has, and whatever its task's has."""

        def __getattr__(self, name: str) -> Any: ...

    class SomeResult(EvaluationResult):
        """Likewise of an evaluation."""

        def __getattr__(self, name: str) -> Any: ...

    class SomeGeneration(Generation):
        """Likewise of what was generated."""

        def __getattr__(self, name: str) -> Any: ...

    def _predict(
        classify: Callable[Classify, Any],
        detect: Callable[Detect, Any],
        segment: Callable[Segment, Any],
        video: Callable[Video, Any],
        /,
    ) -> Predict[Classify, Detect, Segment, Video]: ...

    def _evaluate(
        classify: Callable[Classify, Any],
        detect: Callable[Detect, Any],
        segment: Callable[Segment, Any],
        generate: Callable[Generate, Any],
        video: Callable[Video, Any],
        /,
    ) -> Evaluate[Classify, Detect, Segment, Generate, Video]: ...

    def _generate(generate: Callable[Generate, Any], /) -> Make[Generate]: ...

    predict = _predict(classify.PredictOptions, detect.PredictOptions, segment.PredictOptions, video.PredictOptions)
    evaluate = _evaluate(
        classify.EvaluateOptions,
        detect.EvaluateOptions,
        segment.EvaluateOptions,
        generation.EvaluateOptions,
        video.EvaluateOptions,
    )
    generate = _generate(generation.GenerateOptions)
else:
    predict, evaluate, generate = predict_model, evaluate_model, generate_model
